"""Parts of stages that plans share: priced once, and without effect on each other."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from cluster.perf_model.collectives import send, shared_costs
from cluster.perf_model.prices import PriceInputs, price_tables, stage_parts, tables
from cluster.perf_model.prices.stage import stage_price
from cluster.perf_model.prices.stage_parts import StageParts
from cluster.scenario.formats import Formats
from topology.build import build_rack, build_server
from topology.catalog import load_hardware
from topology.route import compile_routes
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

HARDWARE = load_hardware("corsair")
ROUTES = compile_routes(build_server(HARDWARE))
EIGHT = get_format("mxint8")


def inputs(stages: int, weights: str = "mxint8") -> PriceInputs:
    formats = Formats(
        weights=get_format(weights), activations=EIGHT, kv=EIGHT, wire=get_format("fp16")
    )
    return PriceInputs(
        hardware=HARDWARE,
        routes=ROUTES,
        model=load_model("llama-3.1-8b"),
        plan=Plan(tensor_parallel_size=2, pipeline_parallel_size=stages),
        formats=formats,
        cards=np.arange(2 * stages).reshape(1, stages, 2),
        max_tokens=64,
        max_rows=16,
        max_context=8192,
    )


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no prices of stages from before."""
    monkeypatch.setattr(tables, "_PRICES", type(tables._PRICES)(8))


def test_tables_do_not_depend_on_the_plans_priced_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for stages, weights in ((4, "mxint8"), (2, "mxint4"), (1, "mxint8")):
        price_tables(inputs(stages, weights))
    after = price_tables(inputs(2))
    forget(monkeypatch)
    monkeypatch.setattr(stage_parts, "_PARTS", type(stage_parts._PARTS)(1))
    alone = price_tables(inputs(2))

    for field in fields(after):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(alone, field.name))


def test_a_layer_is_priced_once_for_all_numbers_of_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    priced = []
    layer = StageParts.layer

    def counted(self: StageParts, *of: object, sharded: bool) -> tuple[object, ...]:
        priced.append(layer(self, *of, sharded=sharded))  # type: ignore[arg-type]
        return priced[-1]

    monkeypatch.setattr(StageParts, "layer", counted)
    for stages in (1, 2, 4):
        price_tables(inputs(stages))

    assert len(priced) > 3
    assert len({id(part) for part in priced}) == 2  # with norms of all tokens, and of its own


def test_other_weights_share_collectives_but_not_layers() -> None:
    eight, four = price_tables(inputs(2)), price_tables(inputs(2, "mxint4"))

    np.testing.assert_array_equal(eight.collective_ps, four.collective_ps)
    assert (eight.linear_ps[:, 1:] > four.linear_ps[:, 1:]).any()


def test_another_map_is_not_mistaken_for_the_last_one() -> None:
    slow = replace(
        ROUTES, link_bandwidth_bytes_per_s=np.array(ROUTES.link_bandwidth_bytes_per_s) / 2
    )

    ours, theirs = price_tables(inputs(2)), price_tables(replace(inputs(2), routes=slow))

    assert (theirs.collective_ps[:, 64] > ours.collective_ps[:, 64]).all()


def test_groups_of_equal_links_are_one_group() -> None:
    costs = shared_costs(HARDWARE, ROUTES)
    pairs = [costs.group(np.array(cards), 16.0) for cards in ((0, 1), (2, 3), (1, 2))]

    assert pairs[0] is pairs[1]
    assert pairs[0] is not pairs[2]  # no bridge


def test_a_shared_send_costs_as_much_as_one_alone() -> None:
    payload = np.array([0, 1, 4096, 1 << 20])
    shared = shared_costs(HARDWARE, ROUTES).send(np.array([0, 1]), np.array([2, 3])).of(payload)
    alone = send(HARDWARE, ROUTES, [0, 1], [2, 3], payload)

    np.testing.assert_array_equal(shared.ps, alone.ps)
    np.testing.assert_array_equal(shared.tier_bytes, alone.tier_bytes)


def test_stages_of_equal_shape_are_priced_once_for_clusters_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget(monkeypatch)
    monkeypatch.setattr(tables, "stage_price", counted := Counted(stage_price))
    one = inputs(2)
    rack = compile_routes(build_rack(HARDWARE, servers_per_rack=2))
    more = replace(one, routes=rack, cards=np.arange(16).reshape(4, 2, 2))
    more = replace(more, plan=replace(one.plan, replicas=4))
    found = price_tables(one), price_tables(more), price_tables(replace(more, norms="sharded"))

    assert counted.calls == 4  # two stages, and two of other norms
    for name in ("linear_ps", "collective_ps", "head_ps", "token_counts", "collective_bytes"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    forget(monkeypatch)
    alone = price_tables(more)
    for field in fields(alone):
        np.testing.assert_array_equal(getattr(found[1], field.name), getattr(alone, field.name))


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *of: Any) -> Any:
        self.calls += 1
        return self._function(*of)
