"""Auto is never slower than the better pure mode, and what it places lies as the pins say."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.memory import DoesNotFit, fit
from cluster.perf_model.memory.optimizer import choose
from cluster.perf_model.memory.placement import Traffic
from cluster.perf_model.memory.settings import memory_settings
from cluster.perf_model.prices import price_tables, steady_decode
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import Layout, Machine, lay_out, priced
from workloads.routing import Routing, cold_experts, cold_table, expert_table

SERVED = {"requests": 4, "prompt_tokens": {"fixed": 900}, "output_tokens": {"fixed": 200}}


def mapping_with(model: str = "llama-3.1-8b", users: int = 60, **changes: Any) -> dict[str, Any]:
    traffic = {"synthetic": {**SERVED, "arrivals": {"concurrency": users}}}
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    scheduler = {"max_num_batched_tokens": 64}
    return {"model": model, "plan": plan, "workload": traffic, "scheduler": scheduler, **changes}


def laid_out(**changes: Any) -> Layout:
    return lay_out(resolve(load(mapping_with(**changes))))


@dataclass(frozen=True)
class Case:
    model: str
    tensor: int
    stages: int
    experts: int
    fraction: float
    users: int
    skew: float
    ahead: bool


@cache
def machine_of(case: Case, mode: str) -> Machine | None:
    """None where it does not fit."""
    plan = {
        "tensor_parallel_size": case.tensor,
        "pipeline_parallel_size": case.stages,
        "expert_parallel_size": case.experts,
        "replicas": 1,
    }
    figures = {
        "chiplet.usable_sram_fraction": case.fraction,
        "chiplet.prefetch_bytes": 8e6 if case.ahead else 0.0,
    }
    try:
        layout = laid_out(
            model=case.model,
            users=case.users,
            plan=plan,
            memory={"mode": mode},
            experts={"routing": "zipf", "skew": case.skew},
            hardware_set=figures,
        )
    except DoesNotFit:
        return None
    return priced(layout)


PLANS = [
    ("llama-3.1-8b", 4, 2, 1),
    ("llama-3.1-8b", 2, 1, 1),
    ("llama-3.1-8b", 8, 1, 1),
    ("gpt-oss-20b", 4, 2, 4),
    ("gpt-oss-20b", 8, 1, 1),
]


@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(
    plan=st.sampled_from(PLANS),
    fraction=st.sampled_from([0.25, 0.4, 0.55, 0.6, 0.65, 0.7, 0.8, 0.95]),
    users=st.sampled_from([1, 7, 60]),
    skew=st.sampled_from([0.0, 1.2]),
    ahead=st.booleans(),
)
def test_no_step_of_auto_is_slower_than_in_the_better_pure_mode(
    plan: tuple[str, int, int, int], fraction: float, users: int, skew: float, ahead: bool
) -> None:
    case = Case(*plan, fraction, users, skew, ahead)
    auto = machine_of(case, "auto")
    fast, slow = (machine_of(case, mode) for mode in ("performance", "capacity"))
    if auto is None:
        assert fast is slow is None
        return
    needed = -(-1000 // 64)  # blocks of the mean context
    batch = min(users, auto.limits.blocks // needed)
    for other in (fast, slow):
        if other is not None and 0 < batch * needed <= other.limits.blocks:
            steps = [
                (
                    steady_decode(each.prices, batch=batch, context=1000).cycle_ps,
                    _prefill_ps(each.prices),
                )
                for each in (auto, other)
            ]
            assert steps[0][0] <= steps[1][0]
            assert steps[0][1] <= steps[1][1]
    if fast is not None and fast.limits.blocks >= users * needed:
        assert batch == users


def _prefill_ps(prices: PriceTables) -> int:
    """A step full of prompt tokens through all stages."""
    work = np.maximum(prices.floor_ps, prices.linear_ps + prices.collective_ps)[:, -1]
    return int(work[prices.stage_class[0]].sum())


def test_auto_finds_the_crossover_as_sram_fills() -> None:
    streamed = []
    for fraction in (0.3, 0.5, 0.55, 0.58, 0.7):
        layout = laid_out(
            memory={"mode": "auto"},
            users=20,
            hardware_set={"chiplet.usable_sram_fraction": fraction},
        )
        streamed.append(sum(stage.lpddr_weight_bytes for stage in layout.fit.stages))

    assert streamed == sorted(streamed, reverse=True)
    # 127.8 MB of weights, 0.6 MB of tails and 20 x 16 blocks of 66.6 KB: 149.7 MB, and
    # 256 MB x 0.58 are 148.5.
    assert streamed[3] > 0
    assert streamed[4:] == [0]


def test_what_is_in_sram_is_within_the_fullest_chiplet() -> None:
    layout = laid_out(memory={"mode": "auto"}, hardware_set={"chiplet.usable_sram_fraction": 0.55})

    assert all(stage.fits for stage in layout.fit.stages)
    # The largest piece that is left out is an MLP: 3 x 4,096 x 14,336 elements over 32 chiplets.
    largest = 3 * 4096 * 14336 * 65 // 64 // 32
    wanted = 60 * 16  # blocks of the context
    for stage in layout.fit.stages:
        left = stage.sram_bytes - stage.reserved_bytes - wanted * stage.block_bytes
        assert left < largest


def test_pins_hold_in_every_mode() -> None:
    pins = {"attention": "lpddr", "mlp": 3, "head": "sram"}
    for mode in ("performance", "capacity", "auto"):
        layout = laid_out(memory={"mode": mode, "pin": pins})
        for stage in layout.fit.residency.stages:
            assert [layer.mlp for layer in stage.layers] == [True] * 3 + [False] * 13
            assert not any(layer.attention for layer in stage.layers)
        where = {
            (each.tensor_class, each.where) for each in layout.fit.holdings[1][0] if each.size_bytes
        }
        assert {
            ("attention", "lpddr"),
            ("mlp", "sram"),
            ("mlp", "lpddr"),
            ("head", "sram"),
        } <= where


def test_cards_keep_latents_twice_unless_the_hardware_says_once() -> None:
    once, twice = (
        laid_out(
            model="deepseek-v3",
            memory={"mode": "capacity"},
            formats={"weights": "mxint4"},
            hardware_set={"dimc.latent_copies": copies} if copies == 1 else {},
        ).fit
        for copies in (1, 2)
    )

    # 576 + 512 elements in place of 576, and tails of 512 in place of 576.
    for few, many in zip(twice.stages, once.stages, strict=True):
        assert few.block_bytes / many.block_bytes == Fraction(1088, 576)
        assert few.tail_bytes == pytest.approx(many.tail_bytes * 512 / 576, rel=1e-5)
    assert twice.blocks == pytest.approx(once.blocks * 576 / 1088, rel=0.01)


def test_the_popular_experts_stay_where_there_is_room_for_some() -> None:
    layout = laid_out(
        model="gpt-oss-20b",
        users=8,
        formats={"weights": "mxint4"},
        experts={"routing": "zipf", "skew": 1.5},
        memory={"mode": "auto"},
        hardware_set={"chiplet.usable_sram_fraction": 0.41},
    )
    hot = [layer.hot_experts for layer in layout.fit.residency.stages[0].layers]

    # Of 32 experts a layer keeps its popular ones; the unpopular ones go first, in every layer.
    assert 0 < np.median(hot) < 32
    assert max(hot) - np.median(hot) <= 1


def test_cold_experts_are_fewer_the_more_are_hot_and_none_when_all_are() -> None:
    routing = Routing(experts=16, top_k=2, ranks=2, max_tokens=40, ridge=8, skew=1.0, seed=3)
    cold = cold_experts(routing, np.arange(9), np.arange(41))

    assert (np.diff(cold, axis=0) <= 0).all()
    assert (np.diff(cold, axis=1) >= 0).all()
    assert not cold[8].any()
    np.testing.assert_array_equal(cold[0], cold_table(routing, 0))
    assert (cold[0] >= expert_table(routing).active).all()


def test_a_skew_makes_the_hot_half_worth_more_than_the_cold() -> None:
    def cold(skew: float) -> int:
        routing = Routing(experts=32, top_k=4, ranks=1, max_tokens=16, ridge=8, skew=skew)
        return int(cold_table(routing, 16)[8])

    assert cold(1.5) < cold(0.0)


def test_more_room_for_sequences_is_worth_streaming_some_weights() -> None:
    layout = laid_out(hardware_set={"chiplet.usable_sram_fraction": 0.6}, memory={"mode": "auto"})
    fast = laid_out(hardware_set={"chiplet.usable_sram_fraction": 0.6})

    def rate(found: Layout) -> float:
        batch = min(60, found.limits.blocks // 16)
        return steady_decode(priced(found).prices, batch=batch, context=1000).tokens_per_s

    assert layout.limits.blocks > fast.limits.blocks
    assert rate(layout) > rate(fast)


def test_a_placement_for_one_user_has_less_room_for_kv() -> None:
    base = laid_out(memory={"mode": "auto"}, hardware_set={"chiplet.usable_sram_fraction": 0.5})
    resolved = resolve(load(mapping_with(memory={"mode": "auto"})))
    inputs: PriceInputs = base.inputs
    wanted = memory_settings(resolved, resolved.formats, resolved.plan)

    def blocks(batch: int) -> int:
        placed = choose(inputs, wanted, Traffic(batch=batch, context=1000, prompt_share=1.0))
        return fit(inputs.model, inputs.plan, inputs.hardware, wanted, placed).blocks

    assert blocks(1) < blocks(60)


def test_prices_of_a_mixed_placement_are_between_the_pure_ones() -> None:
    layout = laid_out(memory={"mode": "capacity"})
    half = replace(layout.fit.residency.stages[0].layers[0], mlp=True)
    stages = tuple(
        replace(stage, layers=(half,) * len(stage.layers)) for stage in layout.fit.residency.stages
    )
    mixed = replace(layout.inputs, residency=replace(layout.fit.residency, stages=stages))
    cycles = [
        steady_decode(price_tables(inputs), batch=8, context=1000).cycle_ps
        for inputs in (
            laid_out(memory={"mode": "performance"}).inputs,
            mixed,
            layout.inputs,
        )
    ]

    assert cycles == sorted(set(cycles))


@pytest.mark.parametrize("ahead", [True, False])
def test_only_weights_in_lpddr_stream(ahead: bool) -> None:
    figures = {"chiplet.prefetch_bytes": 8e6 if ahead else 0.0}
    plan = {"tensor_parallel_size": 8}
    pins = {"attention": "sram", "mlp": "sram", "head": "sram"}
    table = laid_out(plan=plan, memory={"mode": "capacity", "pin": pins}, hardware_set=figures)
    prices, fast = (
        price_tables(each) for each in (table.inputs, replace(table.inputs, residency=None))
    )

    # Only the embedding is left: a row of 4,096 elements for each token, on one chiplet at worst.
    row_ps = 4096 * 65 / 64 / (50e9 * 0.8) * 1e12
    assert not prices.floor_ps.any()
    slower = prices.linear_ps[0, -1] - fast.linear_ps[0, -1]
    vector_ps = prices.linear_by_bound_ps[0, -1, 2] - fast.linear_by_bound_ps[0, -1, 2]
    assert slower == pytest.approx(64 * row_ps + vector_ps, abs=2)


@pytest.mark.parametrize("mode", ["performance", "capacity", "auto"])
def test_prices_are_of_the_placement_that_was_checked_to_fit(mode: str) -> None:
    layout = lay_out(resolve(load(memory={"mode": mode})))

    assert layout.inputs.residency is layout.fit.residency


def test_what_fits_nowhere_is_refused_alike_where_weights_are_placed_for_traffic() -> None:
    small = {"chiplet.lpddr_bytes": 1e8}
    said = {}
    for mode in ("capacity", "auto"):
        scenario = load(model="llama-3.1-70b", memory={"mode": mode}, hardware_set=small)
        with pytest.raises(DoesNotFit) as refused:
            lay_out(resolve(scenario))
        said[mode] = str(refused.value).split("; ")[0]

    assert said["auto"] == said["capacity"].replace("in capacity mode", "in auto mode")
