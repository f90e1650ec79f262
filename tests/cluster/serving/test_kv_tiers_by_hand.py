"""KV tiers below the blocks, followed with a pencil; for both engines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PriceTables
from cluster.serving.interface import Arrivals, KvTier, Limits, Served

Engine: TypeAlias = Callable[..., Served]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]

# Prompts of three blocks of 2 tokens, the first two with keys; a step takes 100 ps. The pool has
# four blocks, so the second prompt evicts the first, which comes again at 500.
SHARED = ((0, 5, 1), (200, 7, 1), (500, 5, 1))
KEYS = ((0, 1), (2, 3, 4), (0, 1))


@pytest.fixture
def tight(roomy: Limits) -> Limits:
    """Room for one prompt, with prefix caching."""
    return replace(roomy, blocks=4, prefix_caching=True)


def served(
    engine: Engine, arrivals: Arrivals, prices: PriceTables, limits: Limits
) -> tuple[list[int], list[int]]:
    """Of each request: when it was first scheduled, and the cached tokens."""
    found = engine(arrivals, prices, limits)
    return found.first_scheduled_ps.tolist(), found.cached_tokens.tolist()


@pytest.mark.parametrize(
    ("tiers", "starts_ps", "cached"),
    [
        # without tiers nothing is left of the first prompt: it is computed again at once
        ((), 500, 0),
        # two blocks of 30 ps, and 5: its last token is scheduled 65 later
        ((KvTier(blocks=9, block_ps=30, latency_ps=5),), 565, 4),
        # the first tier keeps one block, the last of the two to be evicted; the other is below it
        ((KvTier(blocks=1, block_ps=30), KvTier(blocks=9, block_ps=70)), 570, 4),
    ],
)
def test_an_evicted_prefix_comes_back_at_the_price_of_its_tiers(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    tiers: tuple[KvTier, ...],
    starts_ps: int,
    cached: int,
) -> None:
    arrivals = make_arrivals(*SHARED, keys=KEYS)
    prices = constant_tables(stage_ps=[100])

    first_ps, found = served(engine, arrivals, prices, replace(tight, kv_tiers=tiers))

    assert first_ps == [0, 200, starts_ps]
    assert found == [0, 0, cached]


def test_loads_of_a_tier_follow_one_another(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, tight: Limits
) -> None:
    # Two prompts of two blocks, evicted by a third, come again together: the first is there after
    # one block of 30, the second after another, during its step of 100.
    arrivals = make_arrivals(
        (0, 3, 1),
        (150, 3, 1),
        (300, 7, 1),
        (500, 3, 1),
        (500, 3, 1),
        keys=((0,), (1,), (2, 3, 4), (0,), (1,)),
    )
    tiers = (KvTier(blocks=9, block_ps=30),)

    first_ps, found = served(
        engine, arrivals, constant_tables(stage_ps=[100]), replace(tight, kv_tiers=tiers)
    )

    assert first_ps == [0, 150, 300, 530, 630]
    assert found == [0, 0, 0, 2, 2]


def test_an_endless_tier_finds_what_an_endless_cache_does(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    rng = np.random.default_rng(1)
    roots = rng.integers(0, 6, 60)
    requests = [(int(at), 7, 2) for at in np.arange(60) * 1000]
    keys = tuple((int(root) * 3, int(root) * 3 + 1, int(root) * 3 + 2) for root in roots)
    arrivals = make_arrivals(*requests, keys=keys)
    prices = constant_tables(stage_ps=[100])
    endless = replace(roomy, blocks=1000, prefix_caching=True)
    tight = replace(endless, blocks=6, kv_tiers=(KvTier(blocks=1000, block_ps=1),))

    assert (
        served(engine, arrivals, prices, tight)[1] == served(engine, arrivals, prices, endless)[1]
    )
