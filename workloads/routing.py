"""Mixture-of-experts routing: active experts of a batch, and load of the hottest rank.

Every count 0..max_tokens is enumerated, none interpolated. Uniform routing to one rank has closed
forms. Otherwise a draw routes tokens one after another, and the first m of them are the batch of m;
a token's experts depend on its number, the draw and the seed alone. So no column falls as a batch
grows, and a longer table begins as a shorter one. Limits on a rank's tokens and group-limited
routing are not modelled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from corsair_common.units import Floats, Integers

DRAWS = 32
"""Independent batches that a table averages over; eight moved prices by up to 0.3 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Parameters of the routing of tokens to experts."""

    experts: int
    top_k: int
    ranks: int
    """Expert-parallel ranks, each with as many neighbouring experts."""
    max_tokens: int
    ridge: int
    """Vectors that overlap with the loading of the next tile: a tile with fewer takes as long."""
    skew: float = 0.0
    """Exponent of a Zipf law over experts in a random order; 0 is uniform."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTable:
    """The rank whose tiles are busy longest with a batch of m tokens.

    Running maxima of means; whole numbers are rounded half-even.
    """

    active: Integers
    """[m] experts with at least one token."""
    rows: Integers
    """[m] token-expert pairs, of the rank with most."""
    held: Floats
    """[m] vectors that a tile of an active expert waits for: the mean of max(ridge, rows)."""

    def crossing(self, tokens: Integers | int, copies: int, ranks: int) -> Integers:
        """Tokens of a dispatch or combine over all ranks, if each has as many as the hottest.

        A token goes to at most ``copies`` ranks, and counts once on each of them.
        """
        hottest = np.minimum(tokens, self.rows[tokens])
        most: Integers = np.maximum(np.multiply(tokens, copies), ranks * hottest)
        return most


@lru_cache(maxsize=32)
def expert_table(routing: Routing) -> ExpertTable:
    """Tabulate the load of the rank whose experts are busy longest, for every m."""
    if _is_plain(routing):
        active, rows, busy = _expected(routing)
    else:
        draws = (_hottest(routing, choices) for choices, _ in _draws(routing))
        active, rows, busy = sum(draws, np.zeros((3, routing.max_tokens + 1))) / DRAWS
    held = np.full(len(busy), float(routing.ridge))
    np.divide(busy, active, out=held, where=active > 0)
    rising = [np.maximum.accumulate(column) for column in (active, rows, held)]
    table = ExpertTable(
        active=np.rint(rising[0]).astype(np.int64),
        rows=np.rint(rising[1]).astype(np.int64),
        held=rising[2],
    )
    for column in (table.active, table.rows, table.held):
        column.flags.writeable = False
    return table


def _is_plain(routing: Routing) -> bool:
    """Whether all experts are alike and on one rank."""
    return routing.ranks == 1 and not routing.skew


def _expected(routing: Routing) -> tuple[Floats, Floats, Floats]:
    """[m] mean active experts, pairs and busy vectors of one rank with uniform routing.

    An expert has a token with probability p = top_k / experts, so binomially many of m: none with
    (1 - p)^m. One more token adds p P(rows >= ridge) to the mean of its rows beyond the ridge.
    """
    share = routing.top_k / routing.experts
    few = np.zeros(routing.ridge)  # [j] probability of j rows
    few[0] = 1.0
    none, full = np.ones(routing.max_tokens + 1), np.zeros(routing.max_tokens + 1)
    for tokens in range(1, routing.max_tokens + 1):
        full[tokens] = 1.0 - few.sum()
        few[1:] = few[1:] * (1.0 - share) + few[:-1] * share
        few[0] *= 1.0 - share
        none[tokens] = few[0]
    beyond: Floats = share * np.cumsum(np.maximum(full, 0.0))
    active = routing.experts * (1.0 - none)
    rows = routing.top_k * np.arange(routing.max_tokens + 1, dtype=np.float64)
    return active, rows, routing.ridge * active + routing.experts * beyond


def cold_experts(routing: Routing, hot: Integers, tokens: Integers) -> Integers:
    """[hot, tokens] active experts besides each rank's ``hot`` most popular ones; the worst rank.

    Means, rounded half-even, for these numbers of hot experts and of tokens: the experts of a batch
    that are not resident. The number never rises with more hot experts.
    """
    if _is_plain(routing):
        none = np.cumprod(np.full(int(tokens.max(initial=0)), 1 - routing.top_k / routing.experts))
        woken = 1.0 - np.concatenate([[1.0], none])[tokens]
        return np.rint(np.multiply.outer(routing.experts - hot, woken)).astype(np.int64)
    per_rank = -(-routing.experts // routing.ranks)
    total = np.zeros((len(hot), len(tokens)))
    for choices, rank in _draws(routing):
        first = np.full(per_rank * routing.ranks, routing.max_tokens + 1)
        token = np.repeat(np.arange(1, routing.max_tokens + 1), routing.top_k)
        np.minimum.at(first, choices.ravel(), token)
        popular = np.full(len(first), np.inf)
        popular[: routing.experts] = rank
        by_rank = (routing.ranks, per_rank)
        order = np.argsort(popular.reshape(by_rank), axis=1)
        woken = np.take_along_axis(first.reshape(by_rank), order, axis=1)
        for row, count in enumerate(hot.tolist()):
            cold = np.sort(woken[:, count:], axis=1)
            total[row] += np.max(
                [np.searchsorted(each, tokens, side="right") for each in cold], axis=0
            )
    means: Integers = np.rint(total / DRAWS).astype(np.int64)
    return means


@lru_cache(maxsize=256)
def cold_table(routing: Routing, hot: int) -> Integers:
    """[m] ``cold_experts`` for every count of tokens."""
    tokens = np.arange(routing.max_tokens + 1)
    table: Integers = cold_experts(routing, np.array([hot]), tokens)[0]
    table.flags.writeable = False
    return table


def _draws(routing: Routing) -> Iterator[tuple[Integers, Floats]]:
    """Of each draw [token, top_k] distinct experts, those that come first in an exponential race.

    And [expert] its rank in popularity, from 1.
    """
    for draw in range(DRAWS):
        rng = np.random.default_rng(np.random.SeedSequence([routing.seed, 0x4D6F45, draw]))
        rank: Floats = rng.permutation(routing.experts).astype(np.float64) + 1.0
        shape = routing.max_tokens, routing.experts
        slower = (rank**routing.skew).astype(np.float32)
        arrivals = rng.standard_exponential(shape, np.float32) * slower
        top = np.argpartition(arrivals, routing.top_k - 1, axis=1)[:, : routing.top_k]
        yield top.astype(np.int64), rank


def _hottest(routing: Routing, choices: Integers) -> Floats:
    """[3, m]: active experts of the busiest rank, most rows of a rank, the busiest's vectors."""
    per_rank = -(-routing.experts // routing.ranks)
    hits = np.zeros((routing.max_tokens + 1, per_rank * routing.ranks), np.int32)
    np.put_along_axis(hits[1:], choices, 1, axis=1)
    rows = np.cumsum(hits, axis=0, dtype=np.int32)
    busy = np.where(rows > 0, np.maximum(rows, routing.ridge), 0)
    by_rank = (len(rows), routing.ranks, per_rank)
    busy_of_rank = busy.reshape(by_rank).sum(axis=2)
    busiest = np.argmax(busy_of_rank, axis=1)[:, None]
    active = (rows > 0).reshape(by_rank).sum(axis=2)
    return np.array(
        [
            np.take_along_axis(active, busiest, axis=1)[:, 0],
            rows.reshape(by_rank).sum(axis=2).max(axis=1),
            np.take_along_axis(busy_of_rank, busiest, axis=1)[:, 0],
        ]
    )
