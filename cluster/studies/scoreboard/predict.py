"""Runs the scenarios of points, one after another, on machines that are assembled once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from cluster.api.serving import Run, assemble_any, simulate_on
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import Machine
from cluster.studies.scoreboard.points import Point
from cluster.studies.sweep.input_cache import Library
from cluster.studies.sweep.lru import LruCache
from workloads.trace import write_trace

Predicted: TypeAlias = Mapping[str, float | None]
"""By metric as ``Point.measured``, and ``j_per_output_token``."""
Predict: TypeAlias = Callable[[Point], Predicted]


def predictor() -> Predict:
    """A function that runs points and keeps the machines of the last few plans."""
    library, machines = Library(), LruCache[Machine](8)

    def predict(point: Point) -> Predicted:
        if point.requests is None:
            return _run(dict(point.scenario), library, machines)
        with TemporaryDirectory() as folder:
            trace = Path(folder) / "requests.parquet"
            write_trace(point.requests, trace)
            workload = {"trace": str(trace), "format": "parquet"}
            return _run({**point.scenario, "workload": workload}, library, machines)

    return predict


def _run(scenario: dict[str, Any], library: Library, machines: LruCache[Machine]) -> Predicted:
    resolved = resolve(load(scenario), library.openers)
    machine = machines.get(resolved.machine_id, lambda: assemble_any(resolved))
    return _metrics(simulate_on(machine, resolved))


def _metrics(run: Run) -> Predicted:
    summary = run.summary
    ttft_s = np.asarray(run.requests["ttft_s"], np.float64)
    e2e_s = np.asarray(run.requests["e2e_s"], np.float64)
    finished = e2e_s[np.isfinite(e2e_s)]
    p99 = {} if not finished.size else {
        "ttft_p99_ms": 1e3 * float(np.nanpercentile(ttft_s, 99)),
        "e2e_p99_ms": 1e3 * float(np.percentile(finished, 99)),
    }  # fmt: skip
    return {
        "ttft_ms": summary["mean_ttft_ms"],
        "tpot_ms": summary["mean_tpot_ms"],
        "e2e_ms": summary["mean_e2el_ms"],
        "j_per_output_token": summary["joules_per_output_token"],
        **p99,
    }


def attempted(point: Point, predict: Predict) -> tuple[Predicted, str]:
    """What is predicted for a point, or why nothing is."""
    if point.refused:
        return {}, point.refused
    try:
        return predict(point), ""
    except ValueError as error:
        if getattr(error, "exit_code", None) is None:
            raise
        return {}, str(error).splitlines()[0]
