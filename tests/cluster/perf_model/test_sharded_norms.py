"""Norms, residual adds and quantising of each chiplet's own tokens, between two collectives."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster import load, simulate
from cluster.perf_model.collectives import all_gather, reduce_scatter
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.memory.placement import ALL_IN_SRAM, uniform
from cluster.perf_model.prices import PriceError, PriceInputs, price_tables
from cluster.perf_model.prices.inputs import device_for
from cluster.perf_model.prices.stage import stage_of, stage_price
from cluster.perf_model.prices.stage_collectives import stage_groups_of
from cluster.perf_model.prices.stage_parts import layer_exchanges, layer_operations
from cluster.perf_model.tables import PriceTables
from cluster.scenario.formats import Formats
from corsair_common.units import Integers
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

Inputs: TypeAlias = Callable[..., PriceInputs]
TOKENS, HIDDEN, RANKS = 96, 4096, 32
CLOCK_HZ = 1.1444e9


@pytest.fixture
def inputs(hand_map: Callable[..., Any]) -> Inputs:
    """Llama-3.1-8B on cards of eight chiplets, MXINT8 throughout, FP16 on the wire."""

    def build(tensor: int = 4, pipeline: int = 1, expert: int = 1, **more: Any) -> PriceInputs:
        corsair, eight = load_hardware("corsair"), get_format("mxint8")
        cards = tensor * pipeline
        supplied = PriceInputs(
            hardware={name: corsair[name] for name in corsair.figures},
            routes=hand_map(cards),
            model=load_model(more.pop("model", "llama-3.1-8b")),
            plan=Plan(
                tensor_parallel_size=tensor,
                pipeline_parallel_size=pipeline,
                expert_parallel_size=expert,
            ),
            formats=Formats(weights=eight, activations=eight, kv=eight, wire=get_format("fp16")),
            cards=np.arange(cards).reshape(1, pipeline, tensor),
            max_tokens=TOKENS,
            max_rows=16,
            max_context=8192,
        )
        placed = uniform("performance", supplied.model, supplied.plan)
        return replace(supplied, residency=placed, **more)

    return build


def operations(supplied: PriceInputs, tokens: int, layer: int = 0) -> list[Operation]:
    chosen = supplied.model.layers[layer]
    device, rows = device_for(supplied), np.array([tokens])
    return layer_operations(supplied, device, chosen, ALL_IN_SRAM, rows, sharded=True)


def works_ps(tables: PriceTables) -> Integers:
    """[class, t]"""
    total: Integers = tables.linear_ps + tables.collective_ps
    return total


def test_a_dense_layer_gathers_twice_more(inputs: Inputs) -> None:
    names = [each.name for each in operations(inputs(), 64) if each.dispatches]

    assert names == [
        *("sharded norm+quant", "norm gather", "QKV", "RoPE", "QK^T", "softmax", "PV", "merge"),
        *("O", "reduce-scatter", "sharded residual+norm+quant", "MLP gather"),
        *("gate/up", "activation x mul", "down", "reduce-scatter+residual"),
    ]


@pytest.mark.parametrize(("tokens", "own"), [(1, 1), (32, 1), (33, 2), (64, 2)])
def test_a_chiplet_norms_the_tokens_of_the_fullest(inputs: Inputs, tokens: int, own: int) -> None:
    """Four waves of 1,024 lanes for a token; norm 4 clocks, FP16 to MX 3, residual 1."""
    found = {each.name: int(each.ps[0]) for each in operations(inputs(), tokens)}

    def ps(clocks: int) -> Any:
        return pytest.approx(4 * own * clocks * 1e12 / CLOCK_HZ, abs=1, rel=1e-4)

    assert found["sharded norm+quant"] == ps(7)
    assert found["sharded residual+norm+quant"] == ps(8)
    assert found["reduce-scatter+residual"] == ps(1)


def test_what_is_gathered_is_quantised_and_what_is_reduced_is_not(inputs: Inputs) -> None:
    """64 tokens: 266,240 bytes of 8.125 bits and 524,288 of FP16, for each half; 33 are as many,
    since every chiplet has two."""
    supplied = inputs()
    device, groups = device_for(supplied), stage_groups_of(supplied, supplied.cards[0, 0])
    layer, sizes = supplied.model.layers[0], np.array([33, 64])

    costs = layer_exchanges(supplied, device, groups, layer, sizes, sharded=True)

    halves = [
        all_gather(groups.stage, np.array([266_240, 266_240])),
        reduce_scatter(groups.stage, np.array([524_288, 524_288])),
    ]
    assert [cost.ps.tolist() for cost in costs[-4:]] == [each.ps.tolist() for each in halves * 2]


def test_what_a_middle_stage_receives_stays_sharded(inputs: Inputs) -> None:
    """No gather, and so no dispatch, of received activations; the first stage's embedding is
    reduced to shards; the last gathers all of them in FP16 for its head."""
    supplied = inputs(tensor=2, pipeline=4, norms="sharded")
    device, sizes = device_for(supplied), (np.array([64]), np.array([0]))
    groups = stage_groups_of(supplied, supplied.cards[0, 1])

    def price(number: int) -> Any:
        return stage_price(supplied, device, groups, stage_of(supplied, number), sizes)

    first, middle, last = price(0), price(1), price(3)
    layers = [
        layer_exchanges(supplied, device, groups, layer, sizes[0], sharded=True)
        for layer in supplied.model.layers[:8]
    ]
    inside_ps = sum(int(cost.ps[0]) for costs in layers for cost in costs)
    scattered = reduce_scatter(groups.stage, np.array([524_288])).ps[0]
    gathered = all_gather(groups.stage, np.array([64 * HIDDEN * 2])).ps[0]

    assert middle.collective_ps[0] == inside_ps
    assert first.collective_ps[0] == inside_ps + scattered
    assert last.collective_ps[0] == inside_ps + gathered
    assert middle.linear_by_bound_ps[0, -1] == 8 * 16 * device.dispatch_ps
    assert last.linear_by_bound_ps[0, -1] == (8 * 16 + 1) * device.dispatch_ps


@pytest.mark.parametrize(
    ("model", "expert"), [("llama-3.1-8b", 1), ("mixtral-8x7b", 1), ("mixtral-8x7b", 4)]
)
def test_auto_is_the_cheaper_at_each_count_of_tokens(
    inputs: Inputs, model: str, expert: int
) -> None:
    whole, parted, auto = (
        price_tables(inputs(model=model, expert=expert, norms=norms))
        for norms in ("replicated", "sharded", "auto")
    )

    assert (works_ps(auto) == np.minimum(works_ps(whole), works_ps(parted))).all()
    chosen = works_ps(parted) < works_ps(whole)
    for name in ("linear_by_bound_ps", "token_counts", "collective_bytes"):
        one, other = getattr(parted, name)[chosen], getattr(whole, name)[~chosen]
        assert (getattr(auto, name)[chosen] == one).all()
        assert (getattr(auto, name)[~chosen] == other).all()
    assert (auto.linear_by_bound_ps.sum(axis=-1) == auto.linear_ps).all()


def test_many_tokens_are_sharded_and_few_are_not(inputs: Inputs) -> None:
    supplied = inputs()
    groups = stage_groups_of(supplied, supplied.cards[0, 0])
    sizes = np.array([1, 4, 512, 4096]), np.zeros(1, np.int64)

    found = stage_price(supplied, device_for(supplied), groups, stage_of(supplied, 0), sizes)

    assert found.sharded.tolist() == [False, False, True, True]


@pytest.mark.parametrize("fixed", [{"all_reduce": "ring"}, {"chunks": 1}])
def test_an_all_reduce_that_is_set_by_name_is_kept_whole(
    inputs: Inputs, fixed: dict[str, Any]
) -> None:
    whole, auto = (price_tables(inputs(norms=norms, **fixed)) for norms in ("replicated", "auto"))

    assert (works_ps(auto) == works_ps(whole)).all()


def test_gpus_norm_all_tokens_everywhere() -> None:
    scenario = {
        "hardware": "h100",
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 2},
        "workload": {"synthetic": {"preset": "azure-conv-2023", "requests": 1}},
    }

    with pytest.raises(PriceError, match=r"collectives\.norms: sharded is modelled for"):
        simulate(load(scenario | {"collectives": {"norms": "sharded"}}))
