"""How sums stand side by side in memory: rows of prices, of attention, and of the books.

Tiers, counts and measures that no price of a run knows are left out, so that nobody adds zeros::

    books      measures | bounds | tiers, counts | sent, tokens, steps | KV block ns, peak
    attention  measures | bounds |                                       total ps, fetch ps
    price                 bounds | tiers, counts | sent, tokens, steps | total, floor, send ps
    head                  bounds | tiers, counts | 0,    0,      0     | total ps

A row of attention and one of a price and of a head add up to what a step books at a stage, but for
the time that it waits for LPDDR.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import PriceTables
from cluster.perf_model.timeline.bins import Bins
from corsair_common.units import Integers

ONCE = 3
"""Columns that no time is shared out over: bytes sent on, tokens, steps."""
HELD = 2
"""Last columns of the books, at stage 0 only: what the replica's KV blocks were."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """What is booked beside the time by bound: positions of measures, tiers and counts, rising."""

    bounds: int
    """How many there are."""
    measures: Integers
    tiers: Integers
    counts: Integers

    @property
    def books(self) -> int:
        """Columns of the books."""
        return len(self.measures) + self.bounds + len(self.tiers) + len(self.counts) + ONCE + HELD

    @property
    def attention(self) -> int:
        """Columns of a row of attention."""
        return len(self.measures) + self.bounds + 2


def columns_of(prices: PriceTables) -> Columns:
    """Find what these prices can fill."""
    counts = _filled(prices.token_counts) | _filled(prices.head_counts)
    return Columns(
        bounds=len(prices.bounds),
        measures=np.flatnonzero(prices.attention_counts.any(axis=(0, 2))),
        tiers=np.flatnonzero(_filled(prices.collective_bytes)),
        counts=np.flatnonzero(counts),
    )


def _filled(table: Integers) -> npt.NDArray[np.bool_]:
    """[column] whether any row of any class has something in it."""
    filled: npt.NDArray[np.bool_] = np.count_nonzero(table, axis=(0, 1)) > 0
    return filled


def price_rows(prices: PriceTables, columns: Columns) -> Integers:
    """[class, tokens, column] all that a step of so many tokens needs but for its attention."""
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
    """[class, emitting rows, column] what is added at the last stage."""
    bounds = prices.head_by_bound_ps
    return _rows(
        bounds,
        np.zeros((*bounds.shape[:2], len(columns.tiers)), np.int64),
        prices.head_counts[..., columns.counts],
        np.zeros((*bounds.shape[:2], ONCE), np.int64),
        bounds.sum(axis=-1),
    )


def _rows(*parts: Integers) -> Integers:
    """The parts side by side; those of two dimensions are one column."""
    return np.concatenate(
        [part if part.ndim == 3 else part[..., None] for part in parts], axis=-1, dtype=np.int64
    )


def bins_of(
    books: Integers, start_ps: int, bin_ps: int, columns: Columns, prices: PriceTables
) -> Bins:
    """Read books of ``[replica, stage, bin, column]``; what nobody counted is zero."""
    widths = len(columns.measures), columns.bounds, len(columns.tiers), len(columns.counts)
    measured, busy_ps, tiers, counted, once, held = np.split(
        books, np.cumsum([*widths, ONCE]), axis=-1
    )
    tier_bytes = np.zeros((*books.shape[:3], prices.collective_bytes.shape[-1]), np.int64)
    tier_bytes[..., columns.tiers] = tiers
    counts = np.zeros((*books.shape[:3], prices.token_counts.shape[-1]), np.int64)
    counts[..., columns.counts] = counted
    each = prices.attention_counts[prices.stage_class]
    for place, measure in enumerate(columns.measures):
        counts += measured[..., place, None] * each[:, :, None, measure]
    return Bins(
        bin_ps=bin_ps,
        start_ps=start_ps,
        busy_ps=busy_ps,
        tokens=once[..., 1],
        steps=once[..., 2],
        tier_bytes=tier_bytes,
        send_bytes=once[..., 0],
        counts=counts,
        kv_block_ns=held[:, 0, :, 0],
        peak_blocks=held[:, 0, :, 1],
    )
