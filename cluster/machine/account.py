"""What every stage did when: the step log and the prices, summed into time bins."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cluster.compiled import compiled
from cluster.machine.attention import attention_by_bound, kv_column
from cluster.machine.collective import TIERS
from cluster.machine.energy.counts import COUNTS
from cluster.machine.tables import BOUNDS, MEASURES, STEP, Integers, PriceTables, Records

FIRST_BIN_PS = 1_000_000_000
"""1 ms; bins double from there whenever the run outgrows them."""

ROWS_AT_ONCE = 1 << 16
"""Log rows whose attention is priced together."""

_BOUNDS, _TIERS = len(BOUNDS), len(TIERS)
_LPDDR, _NETWORK = BOUNDS.index("lpddr"), BOUNDS.index("network")

# What a piece of work moves and counts, in this order: bytes by tier, counts, attention measures.
_COUNTED, _MEASURED = len(COUNTS), len(MEASURES)
_LOADS = _TIERS + _COUNTED + _MEASURED
# Columns of the price rows: the bounds, then these, the bytes by tier and the counts.
_FLOOR, _SEND_PS, _SEND_BYTES, _TIER_BYTES = range(_BOUNDS, _BOUNDS + 4)
_COUNT = _TIER_BYTES + _TIERS
# Columns of a step's attention: the bounds, then these.
_FETCH, _AHEAD = _BOUNDS, _BOUNDS + 1
# Columns of the books: busy time by bound, loads, then these; the last two at stage 0 only.
_TIER = _BOUNDS
_SENT, _TOKENS, _STEPS, _BLOCK_NS, _PEAK = range(_TIER + _LOADS, _TIER + _LOADS + 5)
_COLUMNS = _PEAK + 1

STAGE = np.dtype(
    [
        ("price_class", np.int64),
        ("free_ps", np.int64),  # when the stage has done all work so far
        ("held_since_ps", np.int64),  # the replica's KV blocks have been as many since then
        ("held_blocks", np.int64),
    ]
)
"""State of a stage between log windows; the KV fields of a replica are those of its stage 0."""


class AccountError(RuntimeError):
    """The step log and the prices disagree: a fault of the engine or of the accounts."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Sums per replica, stage and bin; bin b spans ``[b bin_ps, (b + 1) bin_ps)``."""

    bin_ps: int
    busy_ps: Integers
    """[replica, stage, bin, 6] by bound; what is missing to ``bin_ps`` was idle."""
    tokens: Integers
    """[replica, stage, bin] of the steps that the stage began in the bin."""
    steps: Integers
    """[replica, stage, bin] begun in the bin."""
    tier_bytes: Integers
    """[replica, stage, bin, tier] bytes that each card of the stage put on each tier."""
    send_bytes: Integers
    """[replica, stage, bin] bytes that each card sent on; in the bin in which the work ended."""
    counts: Integers
    """[replica, stage, bin, COUNTS] of each card of the stage (``cluster.machine.energy``)."""
    kv_block_ns: Integers
    """[replica, bin] KV blocks x nanoseconds: divided by the bin's length, the mean occupancy."""
    peak_blocks: Integers
    """[replica, bin]"""


class Account:
    """Takes the step log window by window; the sums do not depend on where windows are cut.

    A step occupies each stage in turn, ``start[k] = max(end[k-1] + send, free[k])``. Work that
    crosses a bin's edge is split so that each bound's parts sum to the whole and each bin's parts
    to the time in it: up to a share x/w of the work, the bounds 0..k together have had
    ``floor(total of 0..k * x / w)``, and every bound is the difference of two such sums.

    A bin's edges are whole multiples of its length, so two bins joined hold what one of twice the
    length would have been given. KV blocks count as held from a step's start to the replica's next
    start, or to the end of its last step in flight, whichever is sooner.
    """

    def __init__(self, prices: PriceTables, *, max_bins: int = 1000) -> None:
        if not 2 <= max_bins <= 1000:
            raise ValueError(f"max_bins is 2 to 1000, got {max_bins!r}")
        self._prices = prices
        self._by_tokens = _price_rows(prices)
        self._head = np.ascontiguousarray(
            np.concatenate([prices.head_by_bound_ps, prices.head_counts], axis=-1)
        )
        self._stages = np.zeros(prices.stage_class.shape, STAGE)
        self._stages["price_class"] = prices.stage_class
        self._books = np.zeros((*prices.stage_class.shape, max_bins // 2 * 2, _COLUMNS), np.int64)
        self._bin_ps = FIRST_BIN_PS
        self._end_ps = 0

    def add(self, steps: Records) -> None:
        """Account for one window of the log (dtype STEP, in start order per replica).

        A window without rows changes nothing (but makes sure that all is compiled).

        Raises
        ------
        AccountError
            A step starts before its stage is free, or ends at another time than the prices say.
        """
        for first in range(0, max(1, len(steps)), ROWS_AT_ONCE):
            self._add(steps[first : first + ROWS_AT_ONCE])

    def reach(self, end_ps: int) -> None:
        """Make room up to ``end_ps``: where the whole ends of which these replicas are a part."""
        self._end_ps = max(self._end_ps, end_ps)
        while self._end_ps // self._bin_ps >= self._books.shape[2]:
            self._double()

    def bins(self) -> Bins:
        """Return everything so far; more may be added afterwards."""
        books = self._books.copy()
        stages = self._stages.copy()
        for replica in range(len(stages)):
            _hold(stages[replica], books[replica, 0], self._end_ps, self._bin_ps)
        used = max(1, -(-self._end_ps // self._bin_ps))
        books = books[:, :, :used]
        return Bins(
            bin_ps=self._bin_ps,
            busy_ps=books[..., :_BOUNDS],
            tokens=books[..., _TOKENS],
            steps=books[..., _STEPS],
            tier_bytes=books[..., _TIER : _TIER + _TIERS],
            send_bytes=books[..., _SENT],
            counts=self._counts(books),
            kv_block_ns=books[:, 0, :, _BLOCK_NS],
            peak_blocks=books[:, 0, :, _PEAK],
        )

    def _counts(self, books: Integers) -> Integers:
        """[replica, stage, bin, COUNTS] attention's share is so much for each of its measures."""
        counted = _TIER + _TIERS
        counts = books[..., counted : counted + _COUNTED].copy()
        measured = books[..., counted + _COUNTED : counted + _COUNTED + _MEASURED]
        each = self._prices.attention_counts[self._prices.stage_class]
        for measure in range(_MEASURED):
            counts += measured[..., measure, None] * each[:, :, None, measure]
        return counts

    def _add(self, steps: Records) -> None:
        self.reach(int(steps["end_ps"].max(initial=0)))
        rows = np.ascontiguousarray(steps, STEP)
        measures = np.stack([rows[name] for name in MEASURES], axis=1)
        attention = _attention(self._prices, measures)
        bad = _walk(
            rows,
            self._by_tokens,
            self._head,
            attention,
            measures,
            np.zeros(_BOUNDS + _LOADS, np.int64),
            self._stages,
            self._books,
            self._bin_ps,
        )
        if bad >= 0:
            raise AccountError(
                "the step log does not agree with the prices: "
                + ", ".join(f"{name} {rows[bad][name]}" for name in STEP.names or ())
                + f"; stages are free at {self._stages[rows[bad]['replica']]['free_ps'].tolist()}"
            )

    def _double(self) -> None:
        """Join neighbouring bins; the peaks are the higher of two."""
        books, half = self._books, self._books.shape[2] // 2
        peaks = np.maximum(books[:, :, 0::2, _PEAK], books[:, :, 1::2, _PEAK])
        joined = books[:, :, 0::2] + books[:, :, 1::2]
        joined[..., _PEAK] = peaks
        books[:, :, :half], books[:, :, half:] = joined, 0
        self._bin_ps *= 2


def _price_rows(prices: PriceTables) -> Integers:
    """[class, tokens, 28] all that a step of so many tokens needs, side by side in memory."""
    classes, tokens = prices.linear_ps.shape
    rows = np.zeros((classes, tokens, _COUNT + _COUNTED), np.int64)
    rows[..., :_BOUNDS] = prices.linear_by_bound_ps
    rows[..., _NETWORK] += prices.collective_ps
    rows[..., _FLOOR] = prices.floor_ps
    rows[..., _SEND_PS] = prices.send_ps
    rows[..., _SEND_BYTES] = prices.send_bytes
    rows[..., _TIER_BYTES:_COUNT] = prices.collective_bytes
    rows[..., _COUNT:] = prices.token_counts
    return rows


def _attention(prices: PriceTables, measures: Integers) -> Integers:
    """[class, row, 8] by bound, then fetched KV and whether that is done ahead of use.

    Classes of the same shape are priced once.
    """
    priced: dict[bytes, Integers] = {}
    for shapes in prices.attention:
        if shapes.tobytes() not in priced:
            split = attention_by_bound(shapes, measures)
            fetch = kv_column(shapes, measures)
            ahead = np.full_like(fetch, int(shapes[0]["ahead"]))
            priced[shapes.tobytes()] = np.column_stack([split, fetch, ahead])
    return np.stack([priced[shapes.tobytes()] for shapes in prices.attention])


@compiled
def _walk(  # noqa: PLR0913 - a compiled loop takes arrays
    rows: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    measures: Any,
    room: Any,
    stages: Any,
    books: Any,
    bin_ps: int,
) -> int:
    """Book every row; the index of the first that does not agree with the prices, else -1.

    ``room`` is scratch for one piece of work.
    """
    parts, loads = room[:_BOUNDS], room[_BOUNDS:]
    for i in range(len(rows)):
        row = rows[i]
        replica, ready_ps = row["replica"], row["start_ps"]
        if ready_ps < stages[replica, 0]["free_ps"] or ready_ps > row["end_ps"]:
            return i
        _hold(stages[replica], books[replica, 0], ready_ps, bin_ps)
        stages[replica, 0]["held_blocks"] = row["used_blocks"]
        end_ps = ready_ps
        for k in range(stages.shape[1]):
            stage = stages[replica, k]
            kind = stage["price_class"]
            price = by_tokens[kind, row["tokens"]]
            last = head[kind, row["emitted"]]
            work_ps = _work(price, last, attention[kind, i], parts)
            _load(price, last, measures[i], loads)
            start_ps = max(ready_ps, stage["free_ps"])
            end_ps = start_ps + work_ps
            if end_ps > row["end_ps"]:
                return i
            sent_bin = _book(books[replica, k], loads, parts, start_ps, end_ps, bin_ps)
            books[replica, k, sent_bin, _SENT] += price[_SEND_BYTES]
            books[replica, k, start_ps // bin_ps, _TOKENS] += row["tokens"]
            stage["free_ps"] = end_ps
            ready_ps = end_ps + price[_SEND_PS]
        if end_ps != row["end_ps"]:
            return i
    return -1


@compiled
def _work(price: Any, head: Any, attention: Any, parts: Any) -> int:
    """Fill ``parts`` with the step's time by bound and return their sum."""
    work_ps = 0
    for bound in range(_BOUNDS):
        parts[bound] = price[bound] + attention[bound]
        work_ps += parts[bound]
    floor_ps, fetch_ps = price[_FLOOR], attention[_FETCH]
    if attention[_AHEAD] == 0:
        parts[_LPDDR] += fetch_ps
        work_ps += fetch_ps
    else:
        floor_ps += fetch_ps
    if floor_ps > work_ps:
        parts[_LPDDR] += floor_ps - work_ps
        work_ps = floor_ps
    for bound in range(_BOUNDS):
        parts[bound] += head[bound]
        work_ps += head[bound]
    return work_ps


@compiled
def _load(price: Any, head: Any, measures: Any, loads: Any) -> None:
    """Fill ``loads`` with what the step moves and counts."""
    for i in range(_TIERS + _COUNTED):
        loads[i] = price[_TIER_BYTES + i]
    for i in range(_COUNTED):
        loads[_TIERS + i] += head[_BOUNDS + i]
    for i in range(_MEASURED):
        loads[_TIERS + _COUNTED + i] = measures[i]


@compiled
def _book(books: Any, loads: Any, parts: Any, start_ps: int, end_ps: int, bin_ps: int) -> int:
    """Add one piece of work to ``books[bin]``, split where it crosses an edge; its last bin."""
    first = start_ps // bin_ps
    last = max(first, (end_ps - 1) // bin_ps)
    books[first, _STEPS] += 1
    if first == last:
        for bound in range(_BOUNDS):
            books[first, bound] += parts[bound]
        for i in range(_LOADS):
            books[first, _TIER + i] += loads[i]
        return int(last)
    work_ps = end_ps - start_ps
    before_ps = 0
    for b in range(first, last + 1):
        until_ps = min((b + 1) * bin_ps, end_ps) - start_ps
        taken = 0
        total = 0
        for bound in range(_BOUNDS):
            total += parts[bound]
            share = _part(total, until_ps, work_ps) - _part(total, before_ps, work_ps)
            books[b, bound] += share - taken
            taken = share
        for i in range(_LOADS):
            whole = loads[i]
            books[b, _TIER + i] += _part(whole, until_ps, work_ps) - _part(
                whole, before_ps, work_ps
            )
        before_ps = until_ps
    return int(last)


@compiled
def _part(total: int, until_ps: int, work_ps: int) -> int:
    """Of ``total``, what the first ``until_ps`` of ``work_ps`` have had: whole and non-decreasing.

    The product overflows int64 beyond 3 ms, so it is made in float64, where rounding keeps order;
    the ends, and the whole of the work itself, come out exactly.
    """
    if until_ps >= work_ps:
        return total
    if until_ps == 0:
        return 0
    if total == work_ps:
        return until_ps
    share = int(total * (until_ps / work_ps))
    return min(share, until_ps) if total < work_ps else share


@compiled
def _hold(stages: Any, books: Any, now_ps: int, bin_ps: int) -> None:
    """Book the KV blocks that a replica has held until now, or until its last step ended."""
    held = stages[0]["held_blocks"]
    at_ps = stages[0]["held_since_ps"]
    until_ps = min(now_ps, stages[len(stages) - 1]["free_ps"])
    while at_ps < until_ps:
        b = at_ps // bin_ps
        edge_ps = min((b + 1) * bin_ps, until_ps)
        books[b, _BLOCK_NS] += held * (edge_ps // 1000 - at_ps // 1000)
        books[b, _PEAK] = max(books[b, _PEAK], held)
        at_ps = edge_ps
    stages[0]["held_since_ps"] = now_ps
