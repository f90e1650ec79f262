"""Rows of end-to-end files as points; logs come from their own module."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.studies.scoreboard.fitted import is_fitted
from cluster.studies.scoreboard.logs import logs_of
from cluster.studies.scoreboard.machines import machine, named
from cluster.studies.scoreboard.operations import LAYOUTS
from cluster.studies.scoreboard.point import Point, ScoreError, SetKey
from cluster.studies.scoreboard.recipe import (
    EXPERTS,
    ROUNDS,
    client_of,
    figures_of,
    formats_of,
    scheduler_of,
)
from workloads.measured import Measured, find_measured, read_measured


def points_of(
    folder: str | Path, models: Path | None = None, *, fitted: bool = False
) -> list[Point]:
    """Every end-to-end point and log below a folder, whatever its files are called.

    ``models`` is a folder of Hugging Face configs by name, for models that are not bundled. With
    ``fitted`` only what figures of the hardware were fitted on.

    Raises
    ------
    TraceError
        A file of a known layout is wrong.
    ScoreError
        No file holds anything end to end, nor operations.
    """
    points: list[Point] = []
    found = find_measured(folder)
    for path, layout in found:
        if layout.name == "silicon":
            points += _rows(read_measured(path, layout), models)
        elif layout.name == "requests":
            points += logs_of(read_measured(path, layout), models, fitted=fitted)
    if not points and not any(layout.name in LAYOUTS for _, layout in found):
        raise ScoreError(
            f"{folder}: holds no end-to-end points, no request logs and no operation tables "
            "(workloads.measured names the columns of each)"
        )
    return [point for point in points if point.fitted] if fitted else points


def _rows(measured: Measured, models: Path | None) -> Iterator[Point]:
    for number in range(len(measured)):
        row = measured.row(number)
        yield _point(row, models)


def _point(row: Mapping[str, Any], models: Path | None) -> Point:
    """A row of an end-to-end file."""
    device, model, refused = named(str(row["system"]), str(row["model_path"]), models)
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
        fitted=is_fitted({**row, **key._asdict(), "users": users_of(row)}),
    )


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
        **machine(device, model, ranks, stages, max(1, row["moe_ep_size"])),
        "hardware_set": figures_of(str(row["backend"])),
        "formats": formats_of(row, device, model),
        "experts": EXPERTS,
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
