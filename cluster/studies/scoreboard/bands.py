"""Bands of errors that hold nine of ten points which nothing was fitted on."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cluster.studies.scoreboard.board import METRICS, error_of
from cluster.studies.scoreboard.recipe import MAX_NUM_SEQS
from corsair_common.units import Floats

Rows = Sequence[Mapping[str, Any]]

_ROUNDED = 5e-4
"""Bands are written to a tenth of a per cent."""

SHARE = 0.9
"""Of the points, that a band holds."""


def evidence(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of vLLM that were run and that nothing was fitted on, of as many users as have a seat.

    Another engine's errors say nothing of the device; with more users than seats the number of
    seats rules, which no file says.
    """
    return [
        row
        for row in rows
        if not row["fitted"]
        and not row["refused"]
        and row["set"]["engine"] == "vllm"
        and (row.get("concurrency") or 0) <= MAX_NUM_SEQS
    ]


def errors_of(rows: Rows, metric: str) -> Floats:
    """Signed errors of a metric where it is scored."""
    scored = [row for row in rows if metric != "ttft" or row["scores_ttft"]]
    return np.array([e for row in scored if (e := error_of(row, metric)) is not None])


def band_of(rows: Rows) -> dict[str, dict[str, float]]:
    """``low`` and ``high`` by metric: the 5th and 95th percentile of signed errors, and ``n``."""
    tail = (1 - SHARE) / 2
    bands = {}
    for metric in METRICS:
        errors = errors_of(rows, metric)
        if errors.size:
            low, high = np.quantile(errors, [tail, 1 - tail])
            bands[metric] = {
                "low": round(float(low), 3),
                "high": round(float(high), 3),
                "n": int(errors.size),
            }
    return bands


def held(rows: Rows, band: Mapping[str, Mapping[str, float]], metric: str) -> float | None:
    """The share of the errors that lie within a band; None without one."""
    errors = errors_of(rows, metric)
    if metric not in band or not errors.size:
        return None
    low, high = band[metric]["low"] - _ROUNDED, band[metric]["high"] + _ROUNDED
    return float(np.mean((errors >= low) & (errors <= high)))


def held_elsewhere(rows: Rows, metric: str) -> float | None:
    """The share that bands hold when each is made without every fifth row, of these rows.

    Rows take turns, so that each is judged once by a band that it had no part in.
    """
    turns = [
        (rows[turn::5], [row for at, row in enumerate(rows) if at % 5 != turn]) for turn in range(5)
    ]
    shares = [
        (held(left_out, band_of(others), metric), errors_of(left_out, metric).size)
        for left_out, others in turns
    ]
    known = [(share, size) for share, size in shares if share is not None and size]
    total = sum(size for _, size in known)
    return math.fsum(share * size for share, size in known) / total if total else None
