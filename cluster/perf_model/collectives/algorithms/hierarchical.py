"""Level by level: reduce-scatter upward, all-gather downward, with ever smaller vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.collectives.algorithms import rounds_of
from cluster.perf_model.collectives.algorithms.rounds import (
    HALVES,
    Algorithm,
    Round,
    all_pairs,
    halves,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """A level of the hierarchy: ranks whose positions differ in exactly one digit exchange."""

    stride: int
    """Ranks of all levels below: the stride of the digit."""
    members: int
    held: float
    """Part of the payload on a rank at the start of the level, upward."""
    algorithm: str = ""
    """None: every member sends to all others at once."""


def nested_rounds(collective: str, sizes: Sequence[int], algorithms: Sequence[str]) -> list[Round]:
    """A collective dimension by dimension, each with its own algorithm.

    Position = index in the first dimension + its size x index in the second, and so on. An
    all-to-all exchanges the whole payload in each dimension in turn.
    """
    strides = [int(stride) for stride in np.cumprod([1, *sizes])]
    order = [
        _Level(stride=stride, members=size, held=1 / stride, algorithm=algorithm)
        for stride, size, algorithm in zip(strides, sizes, algorithms, strict=False)
    ]
    return _climb(collective, order, strides[-1])


def _candidates(collective: str, ranks: int, sizes: Sequence[int]) -> Iterator[list[Round]]:
    """Bottom-up, with each level in turn as the top."""
    for order in tops(len(sizes)):
        yield ordered_rounds(collective, ranks, sizes, order)
        if collective == "all_to_all":  # the order of the levels makes no difference
            return


def tops(levels: int) -> list[tuple[int, ...]]:
    """Orders of the levels that are bottom-up but for the last."""
    upward = tuple(range(levels))
    return [(*upward[:top], *upward[top + 1 :], top) for top in upward[::-1]]


def ordered_rounds(
    collective: str, ranks: int, sizes: Sequence[int], order: Sequence[int]
) -> list[Round]:
    """The rounds of one order of the levels.

    A top of two members exchanges its part in one round of an all-reduce: as many bytes as a
    reduce-scatter and an all-gather, one latency less.
    """
    strides = np.cumprod([1, *sizes]).tolist()
    levels, held = [], 1.0
    for place in order:
        levels.append(_Level(stride=strides[place], members=sizes[place], held=held))
        held /= sizes[place]
    rounds = _climb(collective, levels, ranks)
    if collective == "all_reduce" and levels[-1].members == 2:
        whole, middle = levels[-1].held, len(levels) - 1
        swap = replace(rounds[middle], share=whole, added=whole)
        return [*rounds[:middle], swap, *rounds[middle + 2 :]]
    return rounds


def _climb(collective: str, order: Sequence[_Level], ranks: int) -> list[Round]:
    if collective == "all_to_all":
        levels = [replace(level, held=1.0) for level in order]
        return [one for level in levels for one in _level("all_to_all", level, ranks)]
    scatter = [one for level in order for one in _level("reduce_scatter", level, ranks)]
    gather = [one for level in order[::-1] for one in _level("all_gather", level, ranks)]
    return halves(collective, scatter, gather)


def _level(collective: str, level: _Level, ranks: int) -> list[Round]:
    """The rounds of one level, in all its sets of members at once."""
    rank = np.arange(ranks)
    first = rank[rank // level.stride % level.members == 0][:, None]
    return [
        replace(
            one,
            source=(first + level.stride * one.source).ravel(),
            target=(first + level.stride * one.target).ravel(),
        )
        for one in _members(collective, level)
    ]


def _members(collective: str, level: _Level) -> list[Round]:
    """The rounds of one set of members."""
    if level.algorithm:
        return [
            replace(one, share=one.share * level.held, added=one.added * level.held)
            for one in rounds_of(collective, level.algorithm, level.members)
        ]
    source, target = all_pairs(level.members)
    share = level.held * (level.members - 1) / level.members
    added = share if collective == "reduce_scatter" else 0.0
    spread = level.members - 1
    return [Round(source=source, target=target, share=share, added=added, spread=spread)]


ALGORITHM = Algorithm(collectives=(*HALVES, "all_to_all"), candidates=_candidates, by_level=True)
