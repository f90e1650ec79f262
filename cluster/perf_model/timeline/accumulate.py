"""Accumulates the step log of a run into time bins, window by window."""

from typing import ClassVar

import numpy as np

from cluster.perf_model.tables import (
    STEP,
    PriceTables,
    Records,
    alike_attention,
    as_integers,
    without_drafting,
)
from cluster.perf_model.timeline.bins import Bins
from cluster.perf_model.timeline.columns import (
    KV_COLUMNS,
    bins_of,
    columns_of,
    head_rows,
    price_rows,
)
from cluster.perf_model.timeline.kernel import accumulate, attention_rows, flush
from cluster.perf_model.timeline.work import STAGE, add_kv_blocks
from corsair_common.units import Integers

FIRST_BIN_PS = 1_000_000_000
"""1 ms; bins double when the run exceeds them."""

ROWS_AT_ONCE = 1 << 12
"""Log rows whose attention is priced together, so that it fits a core's own cache."""


class AccountError(RuntimeError):
    """The step log and the prices disagree: a fault of the engine or of the accounts."""

    exit_code: ClassVar[int] = 1


class Account:
    """Accumulates the step log window by window; sums do not depend on the windows.

    A step occupies each stage in turn, ``start[k] = max(end[k-1] + send, free[k])``. Work that
    crosses a bin's edge is split so that each bound's parts sum to the whole and each bin's parts
    to the time in it: up to a share x/w of the work, the bounds 0..k together have
    ``floor(total of 0..k * x / w)``, and every bound is the difference of two such sums.

    A bin's edges are whole multiples of its length, so two merged bins equal one of twice the
    length. KV blocks count as in use from a step's start to the replica's next start, or to the end
    of its last step in flight, whichever is earlier.

    The first bin begins at ``begin_ps``; work before it is not counted.
    """

    def __init__(self, prices: PriceTables, *, max_bins: int = 1000, begin_ps: int = 0) -> None:
        if prices.draft_apart:  # of other cards
            prices = without_drafting(prices)
        if not 2 <= max_bins <= 1000:
            raise ValueError(f"max_bins is 2 to 1000, got {max_bins!r}")
        self._prices = prices
        self._columns = columns_of(prices)
        self._by_tokens = price_rows(prices, self._columns)
        self._head = head_rows(prices, self._columns)
        classes, alike = np.unique(alike_attention(prices), return_inverse=True)
        self._attends = [(prices.attention[c], prices.far_block_ps[c]) for c in classes]
        self._stages = np.zeros(prices.stage_class.shape, STAGE)
        self._stages["price_class"] = prices.stage_class
        self._stages["attention"] = alike[prices.stage_class]
        self._stages["drafts"][:, prices.stages :] = 1
        for stage in range(prices.stage_class.shape[1]):
            for name, kind in (("first", "price_class"), ("attends", "attention")):
                same = self._stages[kind] == self._stages[kind][:, stage : stage + 1]
                self._stages[name][:, stage] = same.argmax(axis=1)
        self._stages["ahead"] = prices.ahead
        self._stages["free_ps"] = self._stages["kv_since_ps"] = -begin_ps
        self._begin_ps = begin_ps  # all other times of an account are relative to this
        places = (
            *prices.stage_class.shape,
            1 + max_bins // 2 * 2,
        )  # the first is the time before the window
        self._sums = np.zeros((*places, self._columns.sums), np.int64)
        shape = (prices.replicas, 2 * prices.stage_class.shape[1], self._columns.sums)
        self._pending = np.zeros(shape, np.int64)
        self._room = np.zeros(self._columns.sums, np.int64)
        shape = (len(self._attends), ROWS_AT_ONCE, self._columns.attention)
        self._attention = np.empty(shape, np.int64)
        self._lent = False
        self._bin_ps = FIRST_BIN_PS
        self._last_end_ps = self._end_ps = 0
        self._reset_bins()

    def add(self, steps: Records) -> None:
        """Account for one window of the log (dtype STEP, in start order per replica).

        A window without rows changes nothing (but compiles the kernel).

        Raises
        ------
        AccountError
            A step starts before its stage is free, or its end disagrees with the prices.
        """
        first = 0
        while True:
            last = _whole_cycles(steps["followers"], first + ROWS_AT_ONCE)
            self._add(np.ascontiguousarray(steps[first:last], STEP))
            if last >= len(steps):
                return
            first = last

    def attention(self, rows: int) -> Integers | None:
        """[class of attention, row, bounds | total ps, fetch ps] of the window added last, of so
        many rows, until the next is added; None if it was added in several pieces."""
        if rows > ROWS_AT_ONCE:
            return None
        return self._attention[:, :rows, len(self._columns.measures) :]

    def reach(self, end_ps: int) -> None:
        """Extend the bins to ``end_ps``, a lower bound of the run's end, so that later steps need
        not extend them."""
        self._keep_lent()
        self._end_ps = max(self._end_ps, end_ps - self._begin_ps)
        while self._end_ps // self._bin_ps >= self._sums.shape[2] - 1:
            self._double()

    def bins(self) -> Bins:
        """Return the bins so far; more may be added afterwards."""
        self._flush()
        used = max(1, -(-self._end_ps // self._bin_ps))
        kv = self._sums[:, 0, : 1 + used, -KV_COLUMNS:].copy()
        stages = self._stages.copy()
        for replica in range(len(stages)):
            add_kv_blocks(stages[replica], kv[replica], self._end_ps, self._bin_ps)
        self._lent = True
        inside = self._sums[:, :, 1 : 1 + used, :-KV_COLUMNS]
        found = bins_of(
            inside, kv[:, 1:], self._begin_ps, self._bin_ps, self._columns, self._prices
        )
        return found.joined() if self._prices.draft_stages else found

    def _keep_lent(self) -> None:
        """Leave sums that bins were returned of as they are; copies of a large run take seconds."""
        if self._lent:
            self._sums, self._lent = self._sums.copy(), False

    def _add(self, rows: Records) -> None:
        end_ps = int((rows["end_ps"] + rows["more"] * rows["period_ps"]).max(initial=0))
        self.reach(end_ps)
        self._last_end_ps = max(self._last_end_ps, end_ps - self._begin_ps)
        log = as_integers(rows)
        for (products, far_block_ps), out in zip(self._attends, self._attention, strict=True):
            attention_rows(
                products, far_block_ps, log, self._columns.measures, self._columns.bounds, out
            )
        bad = accumulate(
            rows,
            self._by_tokens,
            self._head,
            self._attention,
            self._pending,
            self._room,
            self._stages,
            self._sums,
            self._begin_ps,
            self._bin_ps,
            self._columns.bounds,
            self._prices.far_bound,
        )
        if bad >= 0:
            free_ps = self._stages[rows[bad]["replica"]]["free_ps"] + self._begin_ps
            raise AccountError(
                "the step log does not agree with the prices: "
                + ", ".join(f"{name} {rows[bad][name]}" for name in STEP.names or ())
                + f"; stages are free at {free_ps.tolist()}"
            )

    def _double(self) -> None:
        """Merge neighbouring bins up to the last used one; peaks are the maximum."""
        self._flush()
        half = -(-self._last_end_ps // (2 * self._bin_ps))
        for sums in self._sums[:, :, 1 : 1 + 2 * half]:  # replicas, each of which fits a cache
            one, other = sums[:, 0::2], sums[:, 1::2]
            joined = one + other
            joined[..., -1] = np.maximum(one[..., -1], other[..., -1])
            sums[:, :half], sums[:, half:] = joined, 0
        self._bin_ps *= 2
        self._reset_bins()

    def _flush(self) -> None:
        """Add what is pending to the present bins."""
        for own in zip(self._stages, self._pending, self._sums, strict=True):
            flush(self._by_tokens, self._head, *own)

    def _reset_bins(self) -> None:
        """Set every stage to before the window, so that its next work finds its bin again."""
        self._stages["edge_ps"] = self._stages["kv_edge_ps"] = 0
        self._stages["bin"] = self._stages["kv_bin"] = -1


def _whole_cycles(followers: Integers, last: int) -> int:
    """The largest number of rows up to ``last`` that ends with a whole cycle."""
    if last >= len(followers):
        return len(followers)
    while followers[last - 1] > 0:
        last -= 1
    return last
