"""Column layout of sums, and of rows of prices and attention.

Tiers, counts and measures that are zero in all prices of a run are omitted, to avoid adding zeros::

    sums       measures | bounds | tiers, counts | sent, tokens, steps | KV block ns, peak
    attention  measures | bounds |                                       total ps, fetch ps
    price                 bounds | tiers, counts | sent, tokens, steps | total, floor, send ps
    head                  bounds | tiers, counts | 0,    0,      0     | total ps

The rows of attention, price and head of a step add up to its sums at a stage, except for the time
that it waits for LPDDR.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import PriceTables
from cluster.perf_model.timeline.bins import Bins
from corsair_common.units import Integers

UNSPLIT = 3
"""Columns that are not split over time: bytes sent, tokens, steps."""
KV_COLUMNS = 2
"""Last columns of the sums, at stage 0 only: the replica's KV blocks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Columns in addition to the time by bound: increasing positions of measures, tiers and
    counts."""

    bounds: int
    """Number of bounds."""
    measures: Integers
    tiers: Integers
    counts: Integers

    @property
    def sums(self) -> int:
        """Columns of the sums."""
        return (
            len(self.measures)
            + self.bounds
            + len(self.tiers)
            + len(self.counts)
            + UNSPLIT
            + KV_COLUMNS
        )

    @property
    def attention(self) -> int:
        """Columns of a row of attention."""
        return len(self.measures) + self.bounds + 2


def columns_of(prices: PriceTables) -> Columns:
    """Find the columns that these prices can fill."""
    counts = _filled(prices.token_counts) | _filled(prices.head_counts)
    return Columns(
        bounds=len(prices.bounds),
        measures=np.flatnonzero(prices.attention_counts.any(axis=(0, 2))),
        tiers=np.flatnonzero(_filled(prices.collective_bytes)),
        counts=np.flatnonzero(counts),
    )


def _filled(table: Integers) -> npt.NDArray[np.bool_]:
    """[column] whether any row of any class is not zero."""
    filled: npt.NDArray[np.bool_] = np.count_nonzero(table, axis=(0, 1)) > 0
    return filled


def price_rows(prices: PriceTables, columns: Columns) -> Integers:
    """[class, tokens, column] sums of a step by tokens, without its attention."""
    bounds = prices.linear_by_bound_ps.copy()
    bounds[..., prices.bounds.index("network")] += prices.collective_ps
    tokens = np.broadcast_to(np.arange(bounds.shape[1]), bounds.shape[:2])
    return _rows(
        bounds,
        prices.collective_bytes[..., columns.tiers],
        prices.token_counts[..., columns.counts],
        prices.send_bytes,
        tokens,
        np.ones_like(tokens),
        bounds.sum(axis=-1),
        prices.floor_ps,
        prices.send_ps,
    )


def head_rows(prices: PriceTables, columns: Columns) -> Integers:
    """[class, emitting rows, column] additional sums of the last stage."""
    bounds = prices.head_by_bound_ps
    return _rows(
        bounds,
        np.zeros((*bounds.shape[:2], len(columns.tiers)), np.int64),
        prices.head_counts[..., columns.counts],
        np.zeros((*bounds.shape[:2], UNSPLIT), np.int64),
        bounds.sum(axis=-1),
    )


def _rows(*parts: Integers) -> Integers:
    """Concatenate the parts; those of two dimensions are one column."""
    return np.concatenate(
        [part if part.ndim == 3 else part[..., None] for part in parts], axis=-1, dtype=np.int64
    )


def bins_of(
    sums: Integers,
    kv: Integers,
    start_ps: int,
    bin_ps: int,
    columns: Columns,
    prices: PriceTables,
) -> Bins:
    """Bins from sums ``[replica, stage, bin, column]`` and, apart, those of KV ``[replica, bin,
    column]``; absent counts are zero."""
    widths = len(columns.measures), columns.bounds, len(columns.tiers), len(columns.counts)
    measured, busy_ps, tiers, counted, unsplit = np.split(sums, np.cumsum(widths), axis=-1)
    tier_bytes = np.zeros((*sums.shape[:3], prices.collective_bytes.shape[-1]), np.int64)
    tier_bytes[..., columns.tiers] = tiers
    counts = np.zeros((*sums.shape[:3], prices.token_counts.shape[-1]), np.int64)
    each = prices.attention_counts[prices.stage_class][:, :, None]
    for replica, own in enumerate(counts):  # one at a time: they fit a core's own cache
        own[..., columns.counts] = counted[replica]
        for place, measure in enumerate(columns.measures):
            own += measured[replica, ..., place, None] * each[replica, ..., measure, :]
    return Bins(
        bin_ps=bin_ps,
        start_ps=start_ps,
        busy_ps=busy_ps,
        tokens=unsplit[..., 1],
        steps=unsplit[..., 2],
        tier_bytes=tier_bytes,
        send_bytes=unsplit[..., 0],
        counts=counts,
        kv_block_ns=kv[..., 0],
        peak_blocks=kv[..., 1],
    )
