"""Mixture-of-experts routing: active experts of a batch, and load of the hottest rank.

Every count 0..max_tokens is enumerated, none interpolated: a draw routes max_tokens tokens one
after another, and the first m of them are the batch of m. So the load of the busiest rank never
falls as the batch grows. Limits on a rank's tokens and group-limited routing are not modelled.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from corsair_common.units import Floats, Integers

DRAWS = 8
"""Independent batches that a table averages over."""


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
    """The hottest rank with a batch of m tokens: means over the draws, rounded half-even."""

    active: Integers
    """[m] experts with at least one token."""
    rows: Integers
    """[m] token-expert pairs."""
    busy: Integers
    """[m] vectors that its experts' tiles wait for: sum over active experts of max(ridge, rows)."""


@lru_cache(maxsize=32)
def expert_table(routing: Routing) -> ExpertTable:
    """Draw DRAWS batches and tabulate the rank whose experts are busy longest, for every m."""
    rng = np.random.default_rng(np.random.SeedSequence([routing.seed, 0x4D6F45]))
    total = np.zeros((3, routing.max_tokens + 1))
    for _ in range(DRAWS):
        total += _hottest(routing, _choices(routing, rng)[0])
    active, rows, busy = np.rint(total / DRAWS).astype(np.int64)
    for column in (active, rows, busy):
        column.flags.writeable = False
    return ExpertTable(active=active, rows=rows, busy=busy)


def cold_experts(routing: Routing, hot: Integers, tokens: Integers) -> Integers:
    """[hot, tokens] active experts besides each rank's ``hot`` most popular ones; the worst rank.

    Means over the draws, rounded half-even, for these numbers of hot experts and of tokens: the
    experts of a batch that are not resident. The number never rises with more hot experts.
    """
    rng = np.random.default_rng(np.random.SeedSequence([routing.seed, 0x4D6F45]))
    per_rank = -(-routing.experts // routing.ranks)
    total = np.zeros((len(hot), len(tokens)))
    for _ in range(DRAWS):
        choices, rank = _choices(routing, rng)
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


def _choices(routing: Routing, rng: np.random.Generator) -> tuple[Integers, Floats]:
    """[token, top_k] distinct experts of each token: the top of log weight + Gumbel noise.

    And [expert] its rank in popularity, from 1.
    """
    rank: Floats = rng.permutation(routing.experts).astype(np.float64) + 1.0
    noise = rng.gumbel(size=(routing.max_tokens, routing.experts))
    scores = noise - routing.skew * np.log(rank)
    top = np.argpartition(-scores, routing.top_k - 1, axis=1)[:, : routing.top_k]
    return top.astype(np.int64), rank


def _hottest(routing: Routing, choices: Integers) -> Floats:
    """[3, m]: active experts, rows and busy vectors of the hottest rank after each token."""
    per_rank = -(-routing.experts // routing.ranks)
    hits = np.zeros((routing.max_tokens + 1, per_rank * routing.ranks), np.int32)
    np.put_along_axis(hits[1:], choices, 1, axis=1)
    rows = np.cumsum(hits, axis=0, dtype=np.int32)
    busy = np.where(rows > 0, np.maximum(rows, routing.ridge), 0)
    by_rank = (len(rows), routing.ranks, per_rank)
    busy_of_rank = busy.reshape(by_rank).sum(axis=2)
    hottest = np.argmax(busy_of_rank, axis=1)[:, None]
    columns = (
        (rows > 0).reshape(by_rank).sum(axis=2),
        rows.reshape(by_rank).sum(axis=2),
        busy_of_rank,
    )
    return np.array([np.take_along_axis(column, hottest, axis=1)[:, 0] for column in columns])
