"""The file of bands and of what was measured, which every run's trust is read from."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cluster.studies.scoreboard.bands import evidence
from cluster.studies.scoreboard.recipe import formats_of
from workloads.model import load_model

RANGES = {
    "tp": "tp_size",
    "pp": "pp_size",
    "prompt_tokens": "isl",
    "output_tokens": "osl",
    "users": "concurrency",
}
"""Ranges of a set, and the columns that they come from."""


def measured_sets(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sets of vLLM's closed-loop points, with the ranges of their plans, lengths and users."""
    members: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in evidence(rows):
        if row["set"]["mode"] == "agg":
            weights = formats_of(row, row["set"]["device"], row["set"]["model"])["weights"]
            key = (row["set"]["device"], row["set"]["model"], weights)
            members.setdefault(key, []).append(row)
    return [
        {
            "device": device,
            "model": model,
            "weights": weights,
            "experts": any(layer.mlp.kind != "dense" for layer in load_model(model).layers),
            "n": len(found),
            **{name: _range(found, column) for name, column in RANGES.items()},
        }
        for (device, model, weights), found in members.items()
    ]


def _range(rows: Sequence[Mapping[str, Any]], column: str) -> list[int]:
    """Least and most; an empty users' column is the batch's size."""
    values = [int(row[column] or row.get("batch_size") or 1) for row in rows]
    if column in ("tp_size", "pp_size"):
        values = [max(1, int(row[column])) for row in rows]
    return [min(values), max(values)]


def trust_yaml(
    bands: Mapping[str, Mapping[str, Mapping[str, float]]],
    sets: Sequence[Mapping[str, Any]],
    operations: Iterable[str],
) -> str:
    """The text of ``cluster/bundled/trust.yaml``; ``operations``: devices with such tables."""
    devices = ", ".join(sorted(set(operations)))
    return "\n".join([*_lines(bands, sets), f"operations: [{devices}]", ""])


def _lines(
    bands: Mapping[str, Mapping[str, Mapping[str, float]]], sets: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    yield "# Written by benchmarks/scoreboard.py (docs/scoreboard.md) from end-to-end rows of"
    yield "# NVIDIA's aiconfigurator-core 0.12.0 (Apache-2.0) and a log of LLMServingSim (MIT)."
    yield "# Errors are predicted over measured, less one; low and high hold nine of ten."
    yield "bands:"
    for name, metrics in bands.items():
        yield f"  {name}:"
        yield from (f"    {metric}: {_flow(band)}" for metric, band in metrics.items())
    yield "sets:"
    yield from (f"  - {_flow(one)}" for one in sets)


def _flow(values: Mapping[str, Any]) -> str:
    """A mapping of one line."""
    return "{" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in values.items()) + "}"
