"""Two orders of the levels at once: half of every vector goes by one, half by the other.

While one half is on the links of one level, the other is on those of another (Themis, Rashidi et
al., ISCA 2022, orders chunks so; here both halves take their rounds together). Ranks end with the
same parts as by one order.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from cluster.perf_model.collectives.algorithms.hierarchical import ordered_rounds
from cluster.perf_model.collectives.algorithms.rounds import HALVES, Algorithm, Round


def _candidates(collective: str, ranks: int, sizes: Sequence[int]) -> Iterator[list[Round]]:
    """Pairs of orders that are bottom-up but for at most two neighbouring levels each."""
    upward = tuple(range(len(sizes)))
    swapped = [(*upward[:level], level + 1, level, *upward[level + 2 :]) for level in upward[:-1]]
    found = [ordered_rounds(collective, ranks, sizes, order) for order in (upward, *swapped)]
    if len(found) == 1:
        yield found[0]
    for one, other in combinations(found, 2):
        if len(one) == len(other):  # else only one of them has a top of two members
            yield [_both(*pair) for pair in zip(one, other, strict=True)]


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
