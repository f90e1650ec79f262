"""Reduces a run's tables to few points: a figure of a million requests has a few thousand rows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Integers
from results.api import Run
from results.errors import ResultsError

MOST_BINS = 160
"""Time bins of a figure."""


def numbers(run: Run, table: str, column: str) -> Floats:
    """A column as float64; null becomes NaN."""
    found: Floats = np.asarray(run.table(table)[column].to_numpy(zero_copy_only=False), np.float64)
    return found


def words(run: Run, table: str, column: str) -> npt.NDArray[Any]:
    """A column of names as objects; null becomes None."""
    found = run.table(table)[column]
    if found.null_count == len(found):  # Arrow cannot convert it: there are no values
        return np.full(len(found), None, object)
    return np.asarray(found.to_numpy(zero_copy_only=False), object)


def codes(run: Run, table: str, column: str) -> Integers:
    """A column of positions; null becomes -1."""
    found = numbers(run, table, column)
    return np.where(np.isnan(found), -1, found).astype(np.int64)


def time_edges(run: Run, bins: int = MOST_BINS) -> Floats:
    """[bins + 1] edges from the first arrival to the last event, in seconds.

    Raises
    ------
    ResultsError
        No time passed in this run.
    """
    ends = [numbers(run, "requests", name) for name in ("arrival_s", "finish_s")]
    known = [end for end in ends if np.isfinite(end).any()]
    first = min((float(np.nanmin(end)) for end in known), default=0.0)
    last = max((float(np.nanmax(end)) for end in known), default=0.0)
    if not last > first:
        raise ResultsError(f"{run.path}: the run has no duration, so there is nothing to draw")
    return np.linspace(first, last, bins + 1)


def count_at(moments: Floats, edges: Floats) -> Floats:
    """The number of ``moments`` (NaN: never) at or before each edge."""
    known = np.sort(moments[np.isfinite(moments)])
    return np.searchsorted(known, edges, side="right").astype(np.float64)


def spread_at(amount: Floats, begin: Floats, end: Floats, edges: Floats) -> Floats:
    """Cumulative amount at each edge, where ``amount`` flows evenly from begin to end.

    A flow of zero length is counted at its time. O(n log n): sums of straight lines that start
    at ``begin`` and stop at ``end``, by prefix sums.
    """
    known = np.isfinite(begin) & np.isfinite(end)
    amount, begin, end = amount[known], begin[known], end[known]
    at_once = end <= begin
    rate = amount[~at_once] / (end[~at_once] - begin[~at_once])
    flowing = _ramps(rate, begin[~at_once], edges) - _ramps(rate, end[~at_once], edges)
    order = np.argsort(begin[at_once])
    steps = np.concatenate([[0.0], np.cumsum(amount[at_once][order])])
    inputs: Floats = flowing + steps[np.searchsorted(begin[at_once][order], edges, side="right")]
    return inputs


def _ramps(rate: Floats, start: Floats, edges: Floats) -> Floats:
    """Sum over i of rate[i] x max(0, edge - start[i])."""
    order = np.argsort(start)
    rates = np.concatenate([[0.0], np.cumsum(rate[order])])
    moments = np.concatenate([[0.0], np.cumsum(rate[order] * start[order])])
    upto = np.searchsorted(start[order], edges, side="right")
    summed: Floats = edges * rates[upto] - moments[upto]
    return summed


def percentiles_by_bin(
    values: Floats, when: Floats, edges: Floats, percents: tuple[float, ...]
) -> Floats:
    """[bin, percent] of ``values`` by the bin of ``when``; NaN where a bin has none."""
    known = np.isfinite(values) & np.isfinite(when)
    values, where = values[known], np.digitize(when[known], edges[1:-1])
    order = np.lexsort((values, where))
    values, where = values[order], where[order]
    first = np.searchsorted(where, np.arange(len(edges) - 1))
    count = np.searchsorted(where, np.arange(len(edges) - 1), side="right") - first
    found = np.full((len(edges) - 1, len(percents)), np.nan)
    for index, percent in enumerate(percents):
        rank = first + np.round((count - 1) * percent / 100).astype(np.int64)
        some = count > 0
        found[some, index] = values[rank[some]]
    return found


def quantiles(values: Floats, points: int = 200) -> tuple[Floats, Floats]:
    """Shares from 0 to 1, finer towards 1, and the values below which they lie."""
    known = values[np.isfinite(values)]
    upper = 1 - np.logspace(0, -3, points // 2)  # 0 ... 0.999
    shares = np.unique(np.concatenate([np.linspace(0, 1, points // 2), upper]))
    return shares, np.quantile(known, shares) if len(known) else np.empty(0)
