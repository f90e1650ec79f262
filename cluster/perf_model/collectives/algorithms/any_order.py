"""The levels in other orders than bottom-up, or half of every vector by each of two orders at once.

A level has the less to move the later it comes: slow links of a card come after fast ones between
cards. Where each order fills another link, half of the bytes by each fill both less (Themis,
Rashidi et al., ISCA 2022, orders chunks so; here both halves take their rounds together). Ranks end
with the same parts as by one order.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from cluster.perf_model.collectives.algorithms.hierarchical import ordered_rounds, tops
from cluster.perf_model.collectives.algorithms.rounds import HALVES, Algorithm, Round


def _candidates(collective: str, ranks: int, sizes: Sequence[int]) -> Iterator[list[Round]]:
    """Each level at every other place but the top, then pairs of orders with at most two
    neighbouring levels swapped in each."""
    upward = tuple(range(len(sizes)))

    def rounds(order: tuple[int, ...]) -> list[Round]:
        return ordered_rounds(collective, ranks, sizes, order)

    yield from (rounds(order) for order in _moved(upward))
    swapped = [(*upward[:level], level + 1, level, *upward[level + 2 :]) for level in upward[:-1]]
    found = [rounds(order) for order in (upward, *swapped)]
    if len(found) == 1:
        yield found[0]
    for one, other in combinations(found, 2):
        if len(one) == len(other):  # else only one of them has a top of two members
            yield [_both(*pair) for pair in zip(one, other, strict=True)]


def _moved(upward: tuple[int, ...]) -> list[tuple[int, ...]]:
    known = tops(len(upward))
    moved = [
        (*rest[:place], level, *rest[place:])
        for level in upward
        for rest in [[each for each in upward if each != level]]
        for place in upward
    ]
    return [order for order in dict.fromkeys(moved) if order not in known]


def _both(one: Round, other: Round) -> Round:
    """A round of both halves; their messages may be of unequal size."""
    added = (one.added + other.added) / 2
    if np.array_equal(one.source, other.source) and np.array_equal(one.target, other.target):
        mean = (one.message_share + other.message_share) / 2
        return Round(source=one.source, target=one.target, share=mean, added=added)
    unit = one.message_share / 2
    weights = [each.message_share / 2 / unit for each in (one, other)]
    return Round(
        source=np.concatenate([one.source, other.source]),
        target=np.concatenate([one.target, other.target]),
        share=unit,
        added=added,
        weight=np.repeat(weights, [one.source.size, other.source.size]),
    )


ALGORITHM = Algorithm(collectives=HALVES, candidates=_candidates, by_level=True)
