"""Collectives between plain endpoints, round by round: who sends which part of the payload to whom.

A payload is the whole vector, as in ``cluster.machine.collective``: a reduce-scatter leaves 1/n of
it on each of n ranks, an all-gather starts from 1/n, an all-to-all sends 1/n to each other rank.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cluster.machine.fabric.transfers import FabricError
from cluster.machine.tables import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """Messages that start together; each carries the same part of the payload."""

    source: Integers
    """[f] position in the group."""
    target: Integers
    share: float


def rounds_of(collective: str, algorithm: str, ranks: int) -> list[Round]:
    """Every round of an algorithm over ``ranks`` endpoints; none for a single one or a barrier.

    Raises
    ------
    FabricError
        There is no such collective, or it has no such algorithm.
    """
    known = algorithms_of(collective)
    if algorithm not in known:
        raise FabricError(f"{collective} has no algorithm {algorithm!r}; it has {', '.join(known)}")
    return _KNOWN[collective][algorithm](ranks) if ranks > 1 else []


def algorithms_of(collective: str) -> tuple[str, ...]:
    """The names of its algorithms; an unknown collective is a FabricError."""
    if collective not in _KNOWN:
        near = difflib.get_close_matches(collective, _KNOWN, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise FabricError(f"there is no collective {collective!r}, but {', '.join(_KNOWN)}{hint}")
    return tuple(_KNOWN[collective])


def nested_rounds(collective: str, sizes: Sequence[int], algorithms: Sequence[str]) -> list[Round]:
    """A collective dimension by dimension, each with an algorithm of its own.

    Position = index in the first dimension + its size x index in the second, and so on. An
    all-reduce scatters up the dimensions and gathers down again, with ever smaller vectors; an
    all-to-all exchanges everything in each dimension in turn.
    """
    halves = {"all_reduce": ("reduce_scatter", "all_gather")}.get(collective, (collective,))
    total, strides = int(np.prod(sizes)), np.cumprod([1, *sizes])
    found: list[Round] = []
    for half in halves:
        order = range(len(sizes))[:: -1 if half == "all_gather" else 1]
        for d in order:
            stride = int(strides[d])
            held = 1.0 if half == "all_to_all" else 1 / stride
            first = np.arange(total)[np.arange(total) // stride % sizes[d] == 0]
            for one in rounds_of(half, algorithms[d], sizes[d]):
                source = (first[:, None] + stride * one.source).ravel()
                target = (first[:, None] + stride * one.target).ravel()
                found.append(Round(source=source, target=target, share=one.share * held))
    return found


def _everyone(ranks: int) -> list[Round]:
    pairs = np.array([(a, (a + k) % ranks) for a, k in product(range(ranks), range(1, ranks))])
    return [Round(source=pairs[:, 0], target=pairs[:, 1], share=1 / ranks)]


def _around(ranks: int) -> list[Round]:
    rank = np.arange(ranks)
    return [Round(source=rank, target=(rank + 1) % ranks, share=1 / ranks)] * (ranks - 1)


def _core(ranks: int) -> int:
    """The largest power of two among the ranks; those beyond fold onto a partner."""
    return 1 << (ranks.bit_length() - 1)


def _halving(ranks: int) -> list[Round]:
    """Halves to the nearest partner, quarters to the next, and so on."""
    rank = np.arange(_core(ranks))
    return [
        Round(source=rank, target=rank ^ (1 << k), share=0.5 ** (k + 1))
        for k in range(rank.size.bit_length() - 1)
    ]


def _folded(ranks: int, enter: float, core: list[Round], leave: float) -> list[Round]:
    further = np.arange(_core(ranks), ranks)
    if not further.size:
        return core
    partner = further - _core(ranks)
    before = Round(source=further, target=partner, share=enter)
    return [before, *core, Round(source=partner, target=further, share=leave)]


def _climb(ranks: int) -> list[Round]:
    """The whole vector up a binomial tree to rank 0."""
    found = []
    for k in range((ranks - 1).bit_length()):
        child = np.arange(1 << k, ranks, 2 << k)
        found.append(Round(source=child, target=child - (1 << k), share=1.0))
    return found


def _descend(ranks: int) -> list[Round]:
    return [
        Round(source=one.target, target=one.source, share=1.0) for one in reversed(_climb(ranks))
    ]


_KNOWN: dict[str, dict[str, Callable[[int], list[Round]]]] = {
    "all_reduce": {
        "direct": lambda n: _everyone(n) * 2,
        "ring": lambda n: _around(n) * 2,
        "halving_doubling": lambda n: _folded(n, 1.0, [*_halving(n), *_halving(n)[::-1]], 1.0),
        "tree": lambda n: [*_climb(n), *_descend(n)],
    },
    "reduce_scatter": {
        "direct": _everyone,
        "ring": _around,
        "halving_doubling": lambda n: _folded(n, 1.0, _halving(n), 1 / n),
    },
    "all_gather": {
        "direct": _everyone,
        "ring": _around,
        "halving_doubling": lambda n: _folded(n, 1 / n, _halving(n)[::-1], 1.0),
    },
    "all_to_all": {"direct": _everyone},
    "broadcast": {"tree": _descend},
    "barrier": {"direct": lambda _: []},
}
