"""Logs of requests as points, one for each run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cluster.studies.scoreboard.fitted import scored_requests
from cluster.studies.scoreboard.machines import machine, named
from cluster.studies.scoreboard.point import Point, ScoreError, SetKey
from cluster.studies.scoreboard.recipe import scheduler_of
from corsair_common.units import PS_PER_S
from workloads.measured import Measured
from workloads.requests import Requests


def logs_of(measured: Measured, models: Path | None, *, fitted: bool = False) -> Iterator[Point]:
    """A point for each run of a request log; ``fitted``: of the requests that it was fitted on."""
    for run in dict.fromkeys(measured["run"].tolist()):
        chosen = np.flatnonzero(measured["run"] == run)
        ordered = chosen[np.argsort(measured["queued_s"][chosen], kind="stable")]
        yield _log(measured, run, ordered, models, fitted)


def _log(measured: Measured, run: str, chosen: Any, models: Path | None, of_fit: bool) -> Point:
    system, _, path = run.partition("/")
    device, model, refused = named(system, path, models)
    settings = _settings(measured.path)
    scheduler = scheduler_of("vllm", str(settings.get("vllm_version", "")), 1)
    engine = settings.get("engine_kwargs", {})
    scheduler |= {
        name: engine[name] for name in ("max_num_seqs", "max_num_batched_tokens") if name in engine
    }
    formats = dict.fromkeys(("weights", "activations", "kv", "wire"), "bf16")
    ranks = int(engine.get("tensor_parallel_size", 1))
    scored = scored_requests(device, run, measured["request"][chosen])
    fitted = of_fit or not scored.any()
    scored = ~scored if of_fit else scored | fitted
    evidence = chosen[scored]
    columns = {name: measured[f"{name}_ms"][evidence] for name in ("ttft", "tpot", "e2e")}
    return Point(
        key=SetKey(device or system, "vllm", model or path, "bf16", "log"),
        row={
            "run": run,
            "path": str(measured.path),
            "requests": int(chosen.size),
            "scored_requests": int(evidence.size),
        },
        measured={
            "ttft_ms": float(columns["ttft"].mean()),
            "tpot_ms": _mean(columns["tpot"]),
            "e2e_ms": float(columns["e2e"].mean()),
            "ttft_p99_ms": float(np.percentile(columns["ttft"], 99)),
            "e2e_p99_ms": float(np.percentile(columns["e2e"], 99)),
        },
        scenario={}
        if refused
        else {
            "name": run,
            **machine(device, model, ranks, 1, 1),
            "formats": formats,
            "scheduler": scheduler,
            "hardware_set": {"engine.request_s": 0.0},  # its times count from the engine's queue
        },
        requests=Requests(
            arrival_ps=np.rint(measured.si("queued_s")[chosen] * PS_PER_S).astype(np.int64),
            prompt_tokens=measured["input_toks"][chosen],
            output_tokens=measured["output_toks"][chosen],
        ),
        refused=refused,
        fitted=fitted,
        scored=scored,
    )


def _mean(values: Any) -> float | None:
    """Of the values that there are; None where there is none."""
    found = values[np.isfinite(values)]
    return float(found.mean()) if found.size else None


def _settings(path: Path) -> Mapping[str, Any]:
    """What ``vllm_meta.json`` beside a log says of its engine; nothing where there is none."""
    beside = path.with_name("vllm_meta.json")
    if not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ScoreError(f"{beside}: not readable JSON ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("engine_kwargs", {}), dict):
        raise ScoreError(f"{beside}: expected an object with engine_kwargs")
    return found
