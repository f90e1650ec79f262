"""The schedules of a collective on a group, and their time for many payloads and chunk counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives.algorithms import CollectiveError, candidates
from cluster.perf_model.collectives.algorithms.rounds import HALVES, Round
from cluster.perf_model.collectives.fabric import CARD_TIERS
from cluster.perf_model.collectives.group import Group
from cluster.perf_model.collectives.round_cost import RoundCost, round_cost
from corsair_common.lru import LruCache
from corsair_common.units import Floats, Integers

CHUNKS = (1, 2, 4, 8, 16)
"""The chunk counts that ``auto`` tries."""
ROUNDING = 1e-12
"""Of sums in another order, relative; not a difference."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """Rounds summed up; a payload of B bytes in c chunks takes ``seconds([B], [c])``."""

    rounds: tuple[tuple[Round, RoundCost], ...]
    fixed_s: float
    """Latencies and message overheads of the first chunk."""
    serial_s_per_byte: float
    """All rounds in sequence, including additions."""
    busy_s: Floats
    """[line] fixed cost of one further chunk, per resource that can be the bottleneck."""
    busy_s_per_byte: Floats
    """[line] its cost per byte of the chunk."""
    tier_bytes: Floats
    """[tier] bytes per card and byte of payload."""
    tier_s: Floats
    """[2, tier] the split of ``fixed_s`` and ``serial_s_per_byte``."""
    busiest_tier: int
    """Of the link that has most to carry in all rounds: the bottleneck of further chunks."""

    def seconds(self, payload_bytes: Floats, chunks: Sequence[int]) -> Floats:
        """[chunks, n] the first chunk passes every round; each further one adds the time of the
        bottleneck."""
        counts = np.asarray(chunks)[:, None]
        chunk_bytes = payload_bytes / counts
        total: Floats = self.fixed_s + self.serial_s_per_byte * chunk_bytes
        if counts.max() > 1:
            busiest = np.zeros_like(chunk_bytes)
            for fixed, slope in zip(self.busy_s, self.busy_s_per_byte, strict=True):
                np.maximum(busiest, fixed + slope * chunk_bytes, out=busiest)
            total += (counts - 1) * busiest
        return total


@lru_cache(maxsize=64)
def schedules(group: Group, collective: str, algorithm: str) -> tuple[Schedule, ...]:
    """Every schedule that the choice allows; ``auto`` allows all. Cached.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    key = (group.cost_key, collective, algorithm)
    return _FOUND.get(key, lambda: _schedules(group, collective, algorithm))


_FOUND: LruCache[tuple[Schedule, ...]] = LruCache(64)
"""By content: machines that differ in no figure of the network share them."""


def _schedules(group: Group, collective: str, algorithm: str) -> tuple[Schedule, ...]:
    layout, costs = group.fabric.layout_key, dict[Round, RoundCost]()

    def cost_of(one: Round) -> RoundCost:
        if one not in costs:
            costs[one] = round_cost(group.fabric, layout, one)
        return costs[one]

    sizes = tuple(tier.members for tier in group.tiers)
    return _useful(
        [
            _schedule(group, [(one, cost_of(one)) for one in rounds])
            for rounds in candidates(collective, algorithm, group.ranks, sizes)
        ]
    )


def _useful(found: Sequence[Schedule]) -> tuple[Schedule, ...]:
    """Those that ``cheapest`` can choose: none before them is as fast, and no other one faster,
    whatever the payload and the chunks."""
    return tuple(
        one
        for place, one in enumerate(found)
        if not any(
            _as_fast(other, one) and (at < place or _sooner(other, one))
            for at, other in enumerate(found)
            if at != place
        )
    )


def _as_fast(one: Schedule, other: Schedule) -> bool:
    """Whether no term of ``one`` is larger than that of ``other``."""
    if one.fixed_s > other.fixed_s or one.serial_s_per_byte > other.serial_s_per_byte:
        return False
    return all(
        bool(np.any((fixed <= other.busy_s) & (slope <= other.busy_s_per_byte)))
        for fixed, slope in zip(one.busy_s, one.busy_s_per_byte, strict=True)
    )


def _sooner(one: Schedule, other: Schedule) -> bool:
    return one.fixed_s < other.fixed_s or one.serial_s_per_byte < other.serial_s_per_byte


def cheapest(
    found: Sequence[Schedule], payload: Floats, chunks: int | str
) -> tuple[Floats, Integers]:
    """[n] seconds of the fastest schedule and chunk count for each payload, and its index."""
    counts = _chunk_counts(chunks)
    best_s = np.full(payload.size, np.inf)
    which = np.zeros(payload.size, np.int64)
    for index, schedule in enumerate(found):
        seconds = schedule.seconds(payload, counts).min(axis=0)
        better = seconds < best_s
        best_s[better], which[better] = seconds[better], index
    return best_s, which


def fastest(
    group: Group, collective: str, payload: Floats, algorithm: str, chunks: int | str
) -> tuple[list[tuple[Schedule, ...]], Floats, Integers]:
    """Schedules that run one after another, [n] seconds of the fastest such for each payload, and
    [n] its index.

    An automatic all-reduce may be a reduce-scatter and an all-gather with their own algorithms and
    chunks.
    """
    alone = schedules(group, collective, algorithm)
    found: list[tuple[Schedule, ...]] = [(one,) for one in alone]
    best_s, which = cheapest(alone, payload, chunks)
    if collective != "all_reduce" or algorithm != "auto":
        return found, best_s, which
    halves = [schedules(group, half, algorithm) for half in HALVES[1:]]
    (first_s, first), (second_s, second) = (cheapest(half, payload, chunks) for half in halves)
    better = np.flatnonzero(first_s + second_s < best_s * (1 - ROUNDING))
    pairs, index = np.unique(first[better] * len(halves[1]) + second[better], return_inverse=True)
    which[better] = len(found) + index
    best_s[better] = (first_s + second_s)[better]
    found += [
        (halves[0][pair // len(halves[1])], halves[1][pair % len(halves[1])]) for pair in pairs
    ]
    return found, best_s, which


def _chunk_counts(chunks: int | str) -> tuple[int, ...]:
    if chunks == "auto":
        return CHUNKS
    if isinstance(chunks, str) or chunks < 1:
        raise CollectiveError(f"chunks is auto or a whole number of at least 1, got {chunks!r}")
    return (chunks,)


def _schedule(group: Group, rounds: Sequence[tuple[Round, RoundCost]]) -> Schedule:
    """Sum the rounds per resource; upward and downward rounds of a tier share its links."""
    busy_s, slope = np.zeros((2, rounds[0][1].busy_s_per_byte.size + 1))
    tier_bytes, tier_s = np.zeros(group.fabric.tiers), np.zeros((2, group.fabric.tiers))
    fixed_s, serial = 0.0, 0.0
    for one, cost in rounds:
        issue_s, busy = cost.messages * group.message_s, cost.busy_s_per_byte
        add_s_per_byte = one.added * group.add_s_per_byte
        fixed_s += one.times * (cost.latency_s + issue_s)
        top = int(np.flatnonzero(cost.tier_bytes).max(initial=0))
        tier_s[0, top] += one.times * (cost.latency_s + issue_s)
        bytes_s = one.share * float(busy.max()) + add_s_per_byte
        tier_s[1, _tier_of(cost, int(busy.argmax()), top)] += one.times * bytes_s
        serial += one.times * (one.share * float(busy.max()) + add_s_per_byte)
        busy_s[:-1] += one.times * issue_s * cost.issues
        slope[:-1] += one.times * one.share * busy
        slope[-1] += one.times * add_s_per_byte
        tier_bytes += one.times * one.share * cost.tier_bytes
    lines = _upper_lines(busy_s, slope)
    inside = len(CARD_TIERS)
    beyond = inside + int(tier_s[1, inside:].argmax()) if len(tier_s[1]) > inside else 0
    return Schedule(
        rounds=tuple(rounds),
        fixed_s=fixed_s,
        serial_s_per_byte=serial,
        busy_s=lines[:, 0],
        busy_s_per_byte=lines[:, 1],
        tier_bytes=tier_bytes,
        tier_s=tier_s,
        busiest_tier=_tier_of(rounds[0][1], int(slope[:-1].argmax()), beyond),
    )


def _tier_of(cost: RoundCost, resource: int, beyond: int) -> int:
    """The tier of a resource: one of the card's two, else ``beyond``."""
    edges = np.cumsum([cost.d2d.size + cost.package.size, cost.out.size + cost.into.size])
    place = int(np.searchsorted(edges, resource, side="right"))
    return place if place < len(edges) else beyond


def tier_seconds(
    found: Sequence[tuple[Schedule, ...]], which: Integers, payload: Floats, chunks: int | str
) -> Floats:
    """[n, tier] seconds of the schedules that ``fastest`` chose, by tier; further chunks count for
    the tier whose links are the busiest."""
    counts = _chunk_counts(chunks)
    split = np.zeros((payload.size, found[0][0].tier_bytes.size))
    for index in np.unique(which).tolist():
        rows = np.flatnonzero(which == index)
        for one in found[index]:
            taken = one.seconds(payload[rows], counts)
            best = taken.argmin(axis=0)
            each = payload[rows] / np.asarray(counts)[best]
            own = one.tier_s[0] + one.tier_s[1] * each[:, None]
            own[:, one.busiest_tier] += taken.min(axis=0) - own.sum(axis=1)
            split[rows] += own
    return split


def _upper_lines(fixed: Floats, slope: Floats) -> npt.NDArray[np.float64]:
    """[line, 2] the upper envelope of the lines (payloads are positive)."""
    order = np.lexsort((fixed, slope))[::-1]
    fixed, slope = fixed[order], slope[order]
    keep = np.concatenate([[True], fixed[1:] > np.maximum.accumulate(fixed)[:-1]])
    return np.stack([fixed[keep], slope[keep]], axis=1)
