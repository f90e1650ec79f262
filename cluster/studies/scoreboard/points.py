"""Measured points as scenarios: rows of end-to-end files, and logs of requests."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cluster.studies.scoreboard.names import device_of, model_of, nearest
from cluster.studies.scoreboard.recipe import (
    ROUNDS,
    client_of,
    figures_of,
    formats_of,
    scheduler_of,
)
from corsair_common.units import PS_PER_S
from topology.catalog import list_hardware, load_hardware
from workloads.measured import Measured, find_measured, read_measured
from workloads.model import list_models
from workloads.requests import Requests


class ScoreError(ValueError):
    """Measurements that cannot be scored."""

    exit_code: ClassVar[int] = 2


class SetKey(NamedTuple):
    """What the points of one set have in common."""

    device: str
    engine: str
    model: str
    precision: str
    mode: str
    """agg, disagg, or log: the requests of one log, a row for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured point, and what to run for it."""

    key: SetKey
    row: Mapping[str, Any]
    """Its columns as the file has them."""
    measured: Mapping[str, float | None]
    """Milliseconds by metric: ``ttft_ms``, ``tpot_ms``; of a log also p99 and end to end."""
    scenario: Mapping[str, Any] = field(default_factory=dict)
    """As ``load`` takes it; empty where the point is refused."""
    requests: Requests | None = None
    """Of a log, in place of generated ones."""
    refused: str = ""
    """Why it is not run."""
    scores_ttft: bool = True


def points_of(folder: str | Path, models: Path | None = None) -> list[Point]:
    """Every end-to-end point and log below a folder, whatever its files are called.

    ``models`` is a folder of Hugging Face configs by name, for models that are not bundled.

    Raises
    ------
    TraceError
        A file of a known layout is wrong.
    ScoreError
        No file holds anything end to end.
    """
    points: list[Point] = []
    for path, layout in find_measured(folder):
        if layout.name == "silicon":
            points += _rows(read_measured(path, layout), models)
        elif layout.name == "requests":
            points += _logs(read_measured(path, layout), models)
    if not points:
        raise ScoreError(
            f"{folder}: holds no end-to-end points and no request logs (workloads.measured names "
            "the columns of both)"
        )
    return points


def _rows(measured: Measured, models: Path | None) -> Iterator[Point]:
    for number in range(len(measured)):
        row = measured.row(number)
        yield _point(row, models)


def _point(row: Mapping[str, Any], models: Path | None) -> Point:
    """A row of an end-to-end file."""
    device, model, refused = _named(str(row["system"]), str(row["model_path"]), models)
    client = client_of(str(row["provenance"]))
    key = SetKey(
        device=device or str(row["system"]),
        engine=str(row["backend"]),
        model=model or str(row["model_path"]),
        precision=str(row["precision"]) or "bf16",
        mode=str(row["mode"]),
    )
    refused = refused or _not_simulated(row)
    return Point(
        key=key,
        row=row,
        measured={"ttft_ms": row["silicon_ttft_ms"], "tpot_ms": row["silicon_tpot_ms"]},
        scenario={} if refused or not device or not model else _scenario(row, device, model),
        refused=refused,
        scores_ttft=client.known and row["silicon_ttft_ms"] is not None,
    )


def _named(system: str, path: str, models: Path | None) -> tuple[str, str, str]:
    """Our names of a device and a model, and why there is none."""
    gpus = _gpus()
    device = device_of(system, gpus) or ""
    model = model_of(path, list_models(), models) or ""
    refused = ""
    if not device:
        refused = f"no hardware file for {system!r}{nearest(system, gpus)}"
    elif not model:
        refused = f"no bundled model is {path!r}{nearest(path, list_models())}"
    return device, model, refused


@cache
def _gpus() -> tuple[str, ...]:
    return tuple(name for name in list_hardware() if load_hardware(name).kind == "gpu")


def _not_simulated(row: Mapping[str, Any]) -> str:
    """What of a row's plan cannot be run; empty where all can."""
    if row["mode"] == "disagg":
        return "separate prefill and decode pools take no closed loop of users"
    if row["attention_dp_size"] > 1:
        return f"attention data parallelism ({row['attention_dp_size']}) is not simulated"
    if not users_of(row):
        return "neither concurrency nor batch_size says how many users there are"
    ranks = max(1, row["tp_size"])
    if row["moe_ep_size"] > 1 and ranks % row["moe_ep_size"]:
        return f"moe_ep_size {row['moe_ep_size']} does not divide tp_size {ranks}"
    return ""


def users_of(row: Mapping[str, Any]) -> int:
    """Users of the closed loop; ``batch_size`` is of each replica of the attention."""
    return int(row["concurrency"] or row["batch_size"] * max(1, row["attention_dp_size"]))


def _scenario(row: Mapping[str, Any], device: str, model: str) -> dict[str, Any]:
    users, stages = users_of(row), max(1, row["pp_size"])
    client = client_of(str(row["provenance"]))
    ranks = max(1, row["tp_size"])
    return {
        "name": str(row["id"]) or "point",
        **_machine(device, model, ranks, stages, max(1, row["moe_ep_size"])),
        "hardware_set": figures_of(str(row["backend"])),
        "formats": formats_of(row, model),
        "scheduler": scheduler_of(str(row["backend"]), str(row["backend_version"]), stages),
        "workload": {
            "synthetic": {
                "requests": users * ROUNDS,
                "arrivals": {"concurrency": users},
                "prompt_tokens": _lengths(row["isl"], client.shortest),
                "output_tokens": _lengths(row["osl"], client.shortest),
            }
        },
    }


def _lengths(nominal: int, shortest: float) -> dict[str, Any]:
    return {"uniform": {"low": max(1, int(nominal * shortest)), "high": nominal}}


def _machine(device: str, model: str, ranks: int, stages: int, experts: int) -> dict[str, Any]:
    """As many servers as the plan's cards fill."""
    cards, most = ranks * stages, load_hardware(device).count("server.cards")
    return {
        "hardware": device,
        "cluster": {"servers_per_rack": -(-cards // most), "cards_per_server": min(cards, most)},
        "model": model,
        "plan": {
            "tensor_parallel_size": ranks,
            "pipeline_parallel_size": stages,
            "expert_parallel_size": experts,
            "replicas": 1,
        },
    }


def _logs(measured: Measured, models: Path | None) -> Iterator[Point]:
    """A point for each run of a request log."""
    for run in dict.fromkeys(measured["run"].tolist()):
        chosen = np.flatnonzero(measured["run"] == run)
        yield _log(measured, run, chosen[np.argsort(measured["queued_s"][chosen], kind="stable")],
                   models)  # fmt: skip


def _log(measured: Measured, run: str, chosen: Any, models: Path | None) -> Point:
    system, _, path = run.partition("/")
    device, model, refused = _named(system, path, models)
    settings = _settings(measured.path)
    scheduler = scheduler_of("vllm", str(settings.get("vllm_version", "")), 1)
    engine = settings.get("engine_kwargs", {})
    scheduler |= {
        name: engine[name] for name in ("max_num_seqs", "max_num_batched_tokens") if name in engine
    }
    formats = dict.fromkeys(("weights", "activations", "kv", "wire"), "bf16")
    ranks = int(engine.get("tensor_parallel_size", 1))
    columns = {name: measured[f"{name}_ms"][chosen] for name in ("ttft", "tpot", "e2e")}
    return Point(
        key=SetKey(device or system, "vllm", model or path, "bf16", "log"),
        row={"run": run, "path": str(measured.path), "requests": int(chosen.size)},
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
            **_machine(device, model, ranks, 1, 1),
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
