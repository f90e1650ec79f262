"""Figures of sessions: how long they last, and what their turns find in the prefix cache."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import PS_PER_S, Integers

KEYS: Mapping[str, tuple[str, str]] = {
    "sessions": ("sessions", "Sessions with a completed request."),
    "mean_turns": ("requests", "Completed requests of a session, in the mean."),
    "mean_session_s": ("s", "Mean time from a session's first arrival to its last finish."),
    "median_session_s": ("s", "Median of that time."),
    "p99_session_s": ("s", "99th percentile of that time."),
    "mean_first_turn_ttft_ms": ("ms", "Mean time to first token of first turns."),
    "mean_later_turn_ttft_ms": ("ms", "Mean time to first token of later turns."),
    "p99_later_turn_ttft_ms": ("ms", "99th percentile of that time."),
    "first_turn_hit_rate": ("1", "Share of the prompt tokens of first turns found in the cache."),
    "later_turn_hit_rate": ("1", "Share of the prompt tokens of later turns found in the cache."),
}
"""Keys of the summary with units and meanings; all null without sessions."""


def session_summary(done: Mapping[str, Integers]) -> dict[str, Any]:
    """The KEYS of completed requests, with ``session`` and ``turn`` if there are sessions."""
    if "session" not in done or not len(done["session"]):
        return dict.fromkeys(KEYS)
    _, index, turns = np.unique(done["session"], return_inverse=True, return_counts=True)
    first_ps = np.full(len(turns), np.iinfo(np.int64).max)
    last_ps = np.zeros(len(turns), np.int64)
    np.minimum.at(first_ps, index, done["arrival_ps"])
    np.maximum.at(last_ps, index, done["finish_ps"])
    lasted_s = (last_ps - first_ps) / PS_PER_S
    ttft_ms = (done["first_token_ps"] - done["arrival_ps"]) / (PS_PER_S / 1e3)
    first = done["turn"] == 0
    cached, prompts = done["cached_tokens"], done["prompt_tokens"]
    return {
        "sessions": len(turns),
        "mean_turns": float(turns.mean()),
        "mean_session_s": float(lasted_s.mean()),
        "median_session_s": float(np.median(lasted_s)),
        "p99_session_s": float(np.percentile(lasted_s, 99)),
        "mean_first_turn_ttft_ms": _mean(ttft_ms[first]),
        "mean_later_turn_ttft_ms": _mean(ttft_ms[~first]),
        "p99_later_turn_ttft_ms": float(np.percentile(ttft_ms[~first], 99))
        if not first.all()
        else None,
        "first_turn_hit_rate": _share(cached[first], prompts[first]),
        "later_turn_hit_rate": _share(cached[~first], prompts[~first]),
    }


def by_turn(requests: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Figures of completed requests by their turn, from columns of the table ``requests``.

    A row for each turn (``turn``, from 0): ``requests``, ``mean_prompt_tokens``, ``hit_rate``,
    ``mean_ttft_s``, ``p99_ttft_s`` and ``mean_e2e_s``. Raises KeyError without sessions.
    """
    turn = np.ma.filled(np.ma.asarray(requests["turn"], np.float64), np.nan)
    if np.isnan(turn).all():
        raise KeyError("the run has no sessions: its requests have no turn")
    done = np.isfinite(np.asarray(requests["ttft_s"], np.float64)) & ~np.isnan(turn)
    turns, index = np.unique(turn[done].astype(np.int64), return_inverse=True)
    columns = {
        name: np.asarray(requests[name], np.float64)[done]
        for name in ("prompt_tokens", "cached_tokens", "ttft_s", "e2e_s")
    }
    counts = np.bincount(index)
    sums = {name: np.bincount(index, column) for name, column in columns.items()}
    p99 = [np.percentile(columns["ttft_s"][index == row], 99) for row in range(len(turns))]
    return {
        "turn": turns,
        "requests": counts,
        "mean_prompt_tokens": sums["prompt_tokens"] / counts,
        "hit_rate": sums["cached_tokens"] / sums["prompt_tokens"],
        "mean_ttft_s": sums["ttft_s"] / counts,
        "p99_ttft_s": np.array(p99),
        "mean_e2e_s": sums["e2e_s"] / counts,
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _share(part: Integers, whole: Integers) -> float | None:
    total = int(whole.sum())
    return int(part.sum()) / total if total else None
