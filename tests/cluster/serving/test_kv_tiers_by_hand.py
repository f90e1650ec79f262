"""KV tiers below the blocks, followed with a pencil; for both engines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster import load
from cluster.perf_model.memory.loading import lpddr_rate
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.serving.interface import Arrivals, KvTier, Limits, Served
from cluster.serving.run import Machine, assemble

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


@pytest.mark.parametrize(("write", "starts_ps"), [("eviction", 560), ("through", 500)])
def test_a_small_tier_has_what_was_evicted_or_what_was_computed_last(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    write: str,
    starts_ps: int,
) -> None:
    # Two blocks: the first prompt's, which the second evicts, or the last two of the second.
    arrivals = make_arrivals(*SHARED, keys=KEYS)
    limits = replace(tight, kv_tiers=(KvTier(blocks=2, block_ps=30),), kv_write=write)

    assert served(engine, arrivals, constant_tables(stage_ps=[100]), limits)[0][2] == starts_ps


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


@pytest.mark.parametrize(("policy", "cached"), [("lru", 0), ("value", 2)])
def test_a_block_that_was_loaded_outlives_newer_ones_by_value(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    policy: str,
    cached: int,
) -> None:
    # The tier has two blocks. Key 0 is evicted at 200 and loaded at 500; the prompts at 1000 and
    # 1500 evict 3, 2, 1, 0, then 6, 5, 4: the last two of these are left, or by value 0 and 4.
    arrivals = make_arrivals(
        *((0, 3, 1), (200, 7, 1), (500, 3, 1), (1000, 7, 1), (1500, 7, 1), (2000, 3, 1)),
        keys=((0,), (1, 2, 3), (0,), (4, 5, 6), (7, 8, 9), (0,)),
    )
    limits = replace(tight, kv_tiers=(KvTier(blocks=2, block_ps=30),), kv_policy=policy)

    found = served(engine, arrivals, constant_tables(stage_ps=[100]), limits)[1]

    assert found == [0, 0, 2, 0, 0, cached]


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


CHATS = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"synthetic": {"requests": 5, "preset": "mooncake-conversation"}},
}


def machine(**memory: object) -> Machine:
    return assemble(resolve(load(CHATS, memory=memory)))


def test_a_block_of_lpddr_takes_its_bytes_over_the_memorys_rate() -> None:
    # A block of 64 tokens has 16 of 32 layers on a stage and 2 of 8 heads on a card: K and V of 64
    # rows of 128 values, 65 bytes for each 64 of them; LPDDR of a card is read by its chiplets.
    found = machine(kv_tiers=[{"tier": "lpddr", "capacity_bytes": 1e9}])
    card = 16 * 2 * 2 * 128 * 65
    figures = found.fit.stages[0]

    (tier,) = found.limits.kv_tiers

    chiplets = card / float(figures.block_bytes)
    assert chiplets == round(chiplets)
    assert tier.blocks == 1e9 // card
    rate = lpddr_rate(resolve(load(CHATS)).hardware) * chiplets
    assert tier.block_ps == pytest.approx(card / rate * 1e12, abs=1)


@pytest.mark.parametrize(
    ("memory", "complaint"),
    [
        ({"kv_tiers": [{"tier": "host"}]}, "host needs capacity_bytes"),
        ({"kv_tiers": [{"tier": "lpddr"}, {"tier": "lpddr"}]}, "has lpddr twice"),
        ({"kv_tiers": [{"tier": "ddr"}]}, "memory.kv_tiers"),
        ({"kv_policy": "lfu"}, "memory.kv_policy"),
        ({"kv_tiers": [{"tier": "lpddr", "capacity_bytes": 1.0}]}, "no room for a KV block"),
        ({"pin": {"kv": "spill"}, "kv_tiers": [{"tier": "lpddr"}]}, "in LPDDR already"),
    ],
)
def test_tiers_that_make_no_sense_are_refused(memory: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        machine(**memory)
