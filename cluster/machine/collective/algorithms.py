"""The phases of each collective under each algorithm, and the schedules to choose among.

A payload is the whole vector of B bytes. Over n ranks a reduce-scatter leaves B/n on each, an
all-gather starts from B/n, an all-to-all sends B/n from each rank to each other.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.fabric import Floats, step_of
from cluster.machine.collective.group import ALGORITHMS, CollectiveError, Group, Tier
from cluster.machine.collective.schedule import Phase, Schedule, schedule_of

Ranks: TypeAlias = npt.NDArray[np.int64]

AVAILABLE = {
    "all_reduce": ("direct", "ring", "halving_doubling", "tree", "hierarchical"),
    "reduce_scatter": ("direct", "ring", "halving_doubling", "hierarchical"),
    "all_gather": ("direct", "ring", "halving_doubling", "hierarchical"),
    "all_to_all": ("direct", "hierarchical"),
}
"""Which algorithms each collective knows."""


@lru_cache(maxsize=64)
def schedules(group: Group, collective: str, algorithm: str) -> tuple[Schedule, ...]:
    """Every schedule that the choice allows; ``auto`` allows all. Made once for the same group.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    return tuple(
        schedule_of(group, ALGORITHMS.index(name), phases)
        for name, phases in patterns(group, collective, algorithm)
    )


def patterns(group: Group, collective: str, algorithm: str) -> list[tuple[str, list[Phase]]]:
    """(algorithm, phases) of every schedule, in the order of ``schedules``.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    known = AVAILABLE[collective]
    if algorithm not in (*known, "auto"):
        allowed = ", ".join(("auto", *known))
        raise CollectiveError(f"{collective} has no algorithm {algorithm!r}; it has {allowed}")
    names = known if algorithm == "auto" else (algorithm,)
    return [(name, phases) for name in names for phases in _CANDIDATES[name](group, collective)]


def _halves(collective: str, scatter: list[Phase], gather: list[Phase]) -> list[Phase]:
    """An all-reduce is a reduce-scatter, then an all-gather."""
    return {
        "all_reduce": [*scatter, *gather],
        "reduce_scatter": scatter,
        "all_gather": gather,
    }[collective]


def _direct(group: Group, collective: str) -> Iterator[list[Phase]]:
    """Every rank sends a part to every other at once."""
    ranks = group.ranks
    everyone = step_of(group.fabric, 1.0 - np.eye(ranks))
    part, added = 1 / ranks, (ranks - 1) / ranks
    gather = [Phase(step=everyone, share=part, add_share=0.0)]
    if collective == "all_to_all":
        yield gather
    else:
        yield _halves(collective, [Phase(step=everyone, share=part, add_share=added)], gather)


def _ring(group: Group, collective: str) -> Iterator[list[Phase]]:
    """n - 1 steps to the neighbour, in the order of the map."""
    ranks = group.ranks
    step = step_of(group.fabric, np.roll(np.eye(ranks), 1, axis=1))
    part, times = 1 / ranks, ranks - 1
    scatter = [Phase(step=step, share=part, add_share=part, times=times)]
    gather = [Phase(step=step, share=part, add_share=0.0, times=times)]
    yield _halves(collective, scatter, gather)


def _halving_doubling(group: Group, collective: str) -> Iterator[list[Phase]]:
    """Halves to the nearest partner first, quarters to the next, and back.

    Ranks beyond the largest power of two hand what they have to a partner before, and are handed
    what they need after.
    """
    ranks = group.ranks
    rounds = ranks.bit_length() - 1
    rank = np.arange(1 << rounds)
    scatter, gather = [], []
    for k in range(rounds):
        step, share = step_of(group.fabric, _flows(ranks, rank, rank ^ (1 << k))), 0.5 ** (k + 1)
        scatter.append(Phase(step=step, share=share, add_share=share))
        gather.append(Phase(step=step, share=share, add_share=0.0))
    core = _halves(collective, scatter, gather[::-1])
    if rank.size == ranks:
        yield core
        return
    further, partner = np.arange(rank.size, ranks), np.arange(ranks - rank.size)
    enter = 1 / ranks if collective == "all_gather" else 1.0
    leave = 1 / ranks if collective == "reduce_scatter" else 1.0
    added = 0.0 if collective == "all_gather" else 1.0
    to_partner = step_of(group.fabric, _flows(ranks, further, partner))
    from_partner = step_of(group.fabric, _flows(ranks, partner, further))
    before = Phase(step=to_partner, share=enter, add_share=added)
    yield [before, *core, Phase(step=from_partner, share=leave, add_share=0.0)]


def _tree(group: Group, collective: str) -> Iterator[list[Phase]]:
    """The whole vector up a binomial tree, and down again."""
    ranks = group.ranks
    up, down = [], []
    for k in range((ranks - 1).bit_length()):
        child = np.arange(1 << k, ranks, 2 << k)
        parent = child - (1 << k)
        up.append(
            Phase(
                step=step_of(group.fabric, _flows(ranks, child, parent)), share=1.0, add_share=1.0
            )
        )
        down.append(
            Phase(
                step=step_of(group.fabric, _flows(ranks, parent, child)), share=1.0, add_share=0.0
            )
        )
    yield _halves(collective, up, down[::-1])


def _hierarchical(group: Group, collective: str) -> Iterator[list[Phase]]:
    """Reduce-scatter tier by tier upward, all-gather downward; each tier in turn as the top.

    Inside a tier every rank sends to all its peers at once. A top of two members exchanges what it
    holds in one step: as many bytes as a reduce-scatter and an all-gather, one latency less.
    """
    tiers = group.tiers
    if collective == "all_to_all":
        yield [
            Phase(step=tier.step, share=(tier.members - 1) / tier.members, add_share=0.0)
            for tier in tiers
        ]
        return
    for top in reversed(range(len(tiers))):
        yield _nested([*tiers[:top], *tiers[top + 1 :], tiers[top]], collective)


def _nested(order: list[Tier], collective: str) -> list[Phase]:
    scatter, gather = [], []
    held = 1.0
    for tier in order:
        sent = held * (tier.members - 1) / tier.members
        scatter.append(Phase(step=tier.step, share=sent, add_share=sent))
        gather.append(Phase(step=tier.step, share=sent, add_share=0.0))
        held /= tier.members
    if collective == "all_reduce" and order[-1].members == 2:
        held *= 2
        scatter[-1] = Phase(step=order[-1].step, share=held, add_share=held)
        gather.pop()
    return _halves(collective, scatter, gather[::-1])


def _flows(ranks: int, sources: Ranks, destinations: Ranks) -> Floats:
    flows = np.zeros((ranks, ranks))
    flows[sources, destinations] = 1.0
    return flows


_CANDIDATES: dict[str, Callable[[Group, str], Iterator[list[Phase]]]] = {
    "direct": _direct,
    "ring": _ring,
    "halving_doubling": _halving_doubling,
    "tree": _tree,
    "hierarchical": _hierarchical,
}
