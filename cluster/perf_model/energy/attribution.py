"""Attributes the energy of every step to its requests.

The work of a step that grows with its tokens (and KV from LPDDR) is shared by token, attention by
its decode rows and prompt chunks, and the LM head by the emitting rows. So all decode rows of a
slot have an equal share of each step, and a request's decode energy is the difference of a running
sum between its first token and its last. Prompts of a replica are computed in the order of
admission: a request's part of that sum is as long as its prompt. If the shares do not sum to the
joules spent (recomputation after preemption, concurrent prefills, or a step without room for all of
its rows), all of them are scaled by one factor.

Only dynamic energy is shared; static power is not attributed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.compiled import compiled, prepared
from cluster.perf_model.attention import WIDTH
from cluster.perf_model.energy.coefficients import Joules, costing
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    FAR_BLOCKS,
    MEASURED,
    STEP,
    PriceTables,
    Records,
    as_integers,
    without_drafting,
)
from corsair_common.units import Floats, Integers

POINTS = 1 << 21
"""Points of all running sums together; with more steps every second point is dropped, repeatedly,
and values between points are interpolated."""

_DECODE, _PREFILL = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestColumns:
    """The requests of some replicas, one row each; refused ones have no slot (-1)."""

    replica: Integers
    """Position among the replicas of the sums."""
    slot: Integers
    first_scheduled_ps: Integers
    first_token_ps: Integers
    finish_ps: Integers
    prefilled: Integers
    """Computed prompt tokens."""


class SlotJoules:
    """Running sums of energy, of decodes by slot and of prompts by replica.

    The step log is added window by window. Sums are accumulated row by row, so they do not depend
    on the windows.
    """

    def __init__(self, prices: PriceTables, joules: Joules, replicas: Integers) -> None:
        whole = joules.link_j.shape[0] * prices.stages
        points = max(64, min(POINTS, POINTS // whole))
        slots = len(replicas) * prices.stages
        local = np.full(joules.link_j.shape[0], -1, np.int64)
        local[replicas] = np.arange(len(replicas))
        self._stages = prices.stages
        prices = without_drafting(prices) if prices.draft_apart else prices
        self._at = np.zeros((2, slots, points), np.int64)
        self._sum = np.zeros((2, slots, points))
        self._count = np.zeros((2, slots, 4), np.int64)  # points, stride, steps seen, last place
        self._count[:, :, 1] = 1
        self._total = np.zeros((3, slots))  # current sums, and all decode energy
        tables, sums = _tables(prices, joules, replicas), (self._at, self._sum, self._count)
        self._feed = prepared(_feed, local, *tables, *sums, self._total)
        self.add(np.zeros(0, STEP))

    def add(self, window: Records) -> None:
        """Add one window of the log; rows of other replicas are ignored."""
        self._feed(window, as_integers(window))

    def of(self, requests: RequestColumns) -> Floats:
        """[n] joules of each request."""
        spent = np.zeros(len(requests.slot))
        accepted = requests.slot >= 0
        slot = np.where(accepted, requests.replica * self._stages + requests.slot, -1)
        for where, rows in _grouped(slot, requests.first_scheduled_ps):
            spent[rows] += self._decoded(where, requests, rows)
        replica = np.where(accepted, requests.replica * self._stages, -1)
        for where, rows in _grouped(replica, requests.first_scheduled_ps):
            spent[rows] += self._prefilled(where, requests, rows)
            slots = slice(where, where + self._stages)
            whole = float(self._total[2, slots].sum() + self._total[_PREFILL, where])
            spent[rows] = _scaled(spent[rows], whole)  # an empty slot has joules as well
        return spent

    def _curve(self, kind: int, slot: int) -> tuple[Floats, Floats]:
        """Positions and values of the running sum, from zero to its current value."""
        points = int(self._count[kind, slot, 0])
        at = np.concatenate([[0], self._at[kind, slot, :points], [self._count[kind, slot, 3]]])
        sums = np.concatenate([[0.0], self._sum[kind, slot, :points], [self._total[kind, slot]]])
        return at.astype(np.float64), sums

    def _decoded(self, slot: int, requests: RequestColumns, rows: Integers) -> Floats:
        at, sums = self._curve(_DECODE, slot)
        first, last = requests.first_token_ps[rows], requests.finish_ps[rows]
        raw = np.interp(last.astype(np.float64), at, sums)
        raw -= np.interp(first.astype(np.float64), at, sums)
        return _scaled(raw, float(self._total[2, slot]))

    def _prefilled(self, slot: int, requests: RequestColumns, rows: Integers) -> Floats:
        at, sums = self._curve(_PREFILL, slot)
        ends = np.cumsum(requests.prefilled[rows]).astype(np.float64)
        whole = float(ends[-1])
        if whole == 0:
            return _scaled(np.ones(len(rows)), float(sums[-1]))
        ends *= at[-1] / whole
        raw: Floats = np.diff(np.interp(ends, at, sums), prepend=0.0)
        return _scaled(raw, float(sums[-1]))


def _grouped(place: Integers, first_ps: Integers) -> Iterator[tuple[int, Integers]]:
    """Each place that is not -1, and its rows in order of ``first_ps``."""
    order = np.lexsort((first_ps, place))
    there = place[order]
    edges = np.flatnonzero(there[1:] != there[:-1]) + 1
    for rows in np.split(order, edges):
        if len(rows) and (where := int(place[rows[0]])) >= 0:
            yield where, rows


def _scaled(raw: Floats, total: float) -> Floats:
    """``raw`` scaled to sum to ``total``; equal parts if ``raw`` is zero."""
    found = float(raw.sum())
    if found <= 0.0:
        return np.full(len(raw), total / len(raw))
    return raw * (total / found)


def _tables(
    prices: PriceTables, joules: Joules, replicas: Integers
) -> tuple[Integers, *tuple[Floats, ...]]:
    """Joules of a step at all stages together, by tokens, rows and attention measures.

    Returns kind[replica] and [kind, t], [kind, s] of rows of the LM head and of requests drafted
    for, [kind, measure]: replicas with equal prices and equal links are of one kind.
    """
    count_j = joules.cards_per_stage * joules.count_j.sum(axis=-1, keepdims=True)
    link_j = joules.cards_per_stage * joules.link_j.sum(axis=-1, keepdims=True)
    kinds: dict[bytes, int] = {}
    kind = np.zeros(len(replicas), np.int64)
    by_tokens: list[Floats] = []
    head, drafts, attention = [], [], []
    for position, replica in enumerate(replicas.tolist()):
        classes = prices.stage_class[replica]
        key = classes.tobytes() + link_j[replica].tobytes()
        kind[position] = kinds.setdefault(key, len(kinds))
        if kind[position] < len(by_tokens):
            continue
        spent = np.zeros(prices.linear_ps.shape[1])
        for place, number in enumerate(classes.tolist()):
            stage = min(place, prices.stages - 1)  # drafts are made on the last one's cards
            spent += costing(prices.token_counts[number], count_j)[:, 0]
            spent += costing(prices.collective_bytes[number], link_j[replica, stage, :-1])[:, 0]
            spent += prices.send_bytes[number] * link_j[replica, stage, -1, 0]
        by_tokens.append(spent)
        model, drafting = np.split(prices.head_counts[classes], [prices.stages])
        head.append(costing(model.sum(axis=0), count_j)[:, 0])
        drafts.append(costing(drafting.sum(axis=0), count_j)[:, 0])
        attention.append(costing(prices.attention_counts[classes].sum(axis=0), count_j)[:, 0])
    tables = (by_tokens, head, drafts, attention)
    return kind, *(np.stack(table) for table in tables)


@compiled
def _feed(  # noqa: PLR0913 - a compiled loop takes arrays
    local: Any,
    kinds: Any,
    by_tokens: Any,
    head: Any,
    drafts: Any,
    attention: Any,
    at: Any,
    sums: Any,
    count: Any,
    total: Any,
    rows: Any,
    columns: Any,
) -> None:
    """Attribute every row, and add it to the sums of its slot."""
    stages = at.shape[1] // len(kinds)
    for i in range(len(rows)):
        row = rows[i]
        replica = local[row["replica"]]
        if replica < 0:
            continue
        kind, slot = kinds[replica], replica * stages + row["slot"]
        tokens, prefill, emitted = row["tokens"], row["prefill_tokens"], row["emitted"]
        decode = tokens - prefill
        linear_j, head_j, each = by_tokens[kind, tokens], head[kind, emitted], attention[kind]
        decode_j, prefill_j, far_j = _attention_j(each, columns[i, MEASURED:])
        sharing = decode  # rows, each of a request
        if row["drafting"] > 0:
            sharing -= emitted - row["drafting"]  # drafts that they verify, as chunks do
            head_j += drafts[kind, row["drafting"]]
            verified = decode / tokens if sharing > 0 else 0.0  # padding is of prompts
            decode_j += prefill_j * verified
            prefill_j *= 1.0 - verified
            if sharing == 0:
                prefill_j += decode_j
        linear_j += far_j
        if sharing > 0:
            share = decode / tokens
            decode_j += linear_j * share + head_j * (decode / emitted)
            prefill_j += linear_j * (1.0 - share) + head_j * (1.0 - decode / emitted)
            total[_DECODE, slot] += decode_j / sharing
            total[2, slot] += decode_j
        else:
            prefill_j += linear_j + head_j
        if emitted > 0:  # a first or a last token may be emitted now
            count[_DECODE, slot, 3] = row["end_ps"]
            _keep(at[_DECODE, slot], sums[_DECODE, slot], count[_DECODE, slot], total[0, slot])
        left = row["more"]  # of decode rows only
        while left > 0:  # up to the next point that is kept
            run = min(
                left, count[_DECODE, slot, 1] - count[_DECODE, slot, 2] % count[_DECODE, slot, 1]
            )
            each_j = decode_j / decode
            now_j, whole_j = total[_DECODE, slot], total[2, slot]
            for _ in range(run):  # not a product, whose rounding differs
                now_j += each_j
                whole_j += decode_j
            total[_DECODE, slot], total[2, slot] = now_j, whole_j
            count[_DECODE, slot, 3] += run * row["period_ps"]
            count[_DECODE, slot, 2] += run - 1
            _keep(at[_DECODE, slot], sums[_DECODE, slot], count[_DECODE, slot], now_j)
            left -= run
        if prefill > 0:
            first = replica * stages  # prompts belong to the whole replica
            total[_PREFILL, first] += prefill_j
            count[_PREFILL, first, 3] += prefill
            _keep(
                at[_PREFILL, first], sums[_PREFILL, first], count[_PREFILL, first], total[1, first]
            )


@compiled
def _attention_j(each: Any, measures: Any) -> tuple[float, float, float]:
    """Joules of decode rows, of prompt chunks, and of blocks from the far memory."""
    decode_j = prefill_j = far_j = 0.0
    for k in range(len(each) // WIDTH):
        for place in range(k * WIDTH, (k + 1) * WIDTH):
            spent_j = each[place] * measures[place]
            if place == k * WIDTH + DECODE_BLOCKS:
                decode_j += spent_j
            elif place == k * WIDTH + FAR_BLOCKS:
                far_j += spent_j
            else:
                prefill_j += spent_j
    return decode_j, prefill_j, far_j


@compiled
def _keep(at: Any, sums: Any, count: Any, now_j: float) -> None:
    """Append a point of the sum; if there is no room, drop every second point."""
    count[2] += 1
    if count[2] % count[1] != 0:
        return
    if count[0] == len(at):
        half = len(at) // 2
        for point in range(half):
            at[point], sums[point] = at[2 * point + 1], sums[2 * point + 1]
        count[0] = half
        count[1] *= 2
        if count[2] % count[1] != 0:
            return
    at[count[0]], sums[count[0]] = count[3], now_j
    count[0] += 1
