"""Runs the scenarios of points, one after another, on machines that are assembled once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.api.serving import Run, assemble_any, simulate_on
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import Machine
from cluster.studies.scoreboard.point import Point
from cluster.studies.sweep.input_cache import Library
from corsair_common.lru import LruCache
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
            return _run({**point.scenario, "workload": workload}, library, machines, point.scored)

    return predict


def _run(
    scenario: dict[str, Any],
    library: Library,
    machines: LruCache[Machine],
    scored: npt.NDArray[np.bool_] | None = None,
) -> Predicted:
    resolved = resolve(load(scenario), library.openers)
    machine = machines.get(resolved.machine_id, lambda: assemble_any(resolved))
    run = simulate_on(machine, resolved)
    if scored is None:
        summary = run.summary
        return {
            "ttft_ms": summary["mean_ttft_ms"],
            "tpot_ms": summary["mean_tpot_ms"],
            "j_per_output_token": summary["joules_per_output_token"],
        }
    return _of_requests(run, scored)


def _of_requests(run: Run, scored: npt.NDArray[np.bool_]) -> Predicted:
    """Means and percentiles over some requests; energy is that of the whole run."""
    found = {
        name: 1e3 * np.asarray(run.requests[f"{name}_s"], np.float64)[scored]
        for name in ("ttft", "tpot", "e2e")
    }
    finished = {name: ms[np.isfinite(ms)] for name, ms in found.items()}
    return {
        **{f"{name}_ms": float(ms.mean()) if ms.size else None for name, ms in finished.items()},
        **{
            f"{name}_p99_ms": float(np.percentile(ms, 99)) if ms.size else None
            for name, ms in finished.items()
        },
        "j_per_output_token": run.summary["joules_per_output_token"],
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
