"""Rounds of an algorithm, in which ranks send parts of the payload to each other.

A payload is the whole vector of B bytes. Over n ranks a reduce-scatter leaves B/n on each, an
all-gather starts from B/n, an all-to-all sends B/n from each rank to each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from corsair_common.units import Floats, Integers

HALVES = ("all_reduce", "reduce_scatter", "all_gather")
"""The collectives that ``halves`` composes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """f messages that start together, repeated ``times`` times."""

    source: Integers
    """[f] position in the group."""
    target: Integers
    share: float
    """Part of the payload that a source sends to each ``spread`` of its targets."""
    added: float = 0.0
    """Part of the payload that each rank adds to its own afterwards; 0 without a reduction."""
    times: int = 1
    spread: int = 1
    weight: Floats | None = None
    """[f] size of each message in units of ``share / spread``; None: 1."""

    @property
    def message_share(self) -> float:
        """Part of the payload in each message."""
        return self.share / self.spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An algorithm of some collectives."""

    collectives: tuple[str, ...]
    candidates: Callable[[str, int, Sequence[int]], Iterable[list[Round]]]
    """``candidates(collective, ranks, sizes)``: schedules to choose among, for ranks that are
    nested in levels of these sizes, bottom-up."""
    by_level: bool = False
    """Whether it needs more than one level."""


def flat(collectives: Sequence[str], rounds: Callable[[str, int], list[Round]]) -> Algorithm:
    """An algorithm with one schedule, whatever the levels."""
    return Algorithm(
        collectives=tuple(collectives), candidates=lambda name, ranks, _: [rounds(name, ranks)]
    )


def halves(collective: str, scatter: list[Round], gather: list[Round]) -> list[Round]:
    """An all-reduce is a reduce-scatter, then an all-gather."""
    return {
        "all_reduce": [*scatter, *gather],
        "reduce_scatter": scatter,
        "all_gather": gather,
    }[collective]


def scatter_of(rounds: Iterable[Round], ranks: int) -> list[Round]:
    """What is left of a reduce-scatter if only position 0 has anything: a scatter from there."""
    holds, kept = np.arange(ranks) == 0, []
    for one in (each for each in rounds for _ in range(each.times)):
        sends = holds[one.source]
        if sends.any():
            source, target = one.source[sends], one.target[sends]
            kept.append(replace(one, source=source, target=target, added=0.0, times=1))
            holds[target] = True
    return kept


def all_pairs(ranks: int) -> tuple[Integers, Integers]:
    """Source and target of every pair of different ranks, sources rising."""
    source = np.repeat(np.arange(ranks), ranks - 1)
    return source, (source + np.tile(np.arange(1, ranks), ranks)) % max(1, ranks)
