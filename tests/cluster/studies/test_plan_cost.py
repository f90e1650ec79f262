"""What candidates cost, by hand and beside ``cluster.perf_model.tco``."""

from typing import Any

import numpy as np
import pytest

from cluster.perf_model.tco import inventory_of, usd_per_hour
from cluster.scenario.load import load
from cluster.studies.plan.cost import cost_columns, power_of
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from topology.catalog import load_hardware

HARDWARE = load_hardware("corsair")


def test_idle_cards_and_the_facility_draw_power() -> None:
    site = np.array([[1, 1], [2, 1], [1, 1]])
    around = [HARDWARE[f"server.{part}"] for part in ("nics", "pcie_switches")]
    server_w = around[0] * HARDWARE["server.nic_w"] + around[1] * HARDWARE["server.switch_w"]
    server_w += HARDWARE["server.host_w"]

    found = power_of(HARDWARE, site, np.array([0, 3, 4]), np.array([500.0, 900.0, 250.0]))

    spare_w = HARDWARE["card.static_w"]
    assert found == pytest.approx(
        [
            500 + server_w,
            900 + 3 * spare_w + 2 * server_w + HARDWARE["rack.leaf_w"],
            250 + 4 * spare_w + server_w,
        ]
    )


def test_every_row_costs_what_its_servers_and_its_watts_do() -> None:
    site = np.array([[2, 1], [1, 1], [16, 2]])
    power_w, tokens_per_s = np.array([4000.0, 2000.0, 60_000.0]), np.array([1000.0, 10.0, 5e4])

    found = cost_columns(HARDWARE, site, 8, power_w, tokens_per_s)

    for row, (racks, per_rack) in enumerate([(1, 2), (1, 1), (2, 8)]):
        bought = inventory_of(
            HARDWARE.figures, racks=racks, servers_per_rack=per_rack, cards_per_server=8
        )
        hour = usd_per_hour(HARDWARE.figures, bought, float(power_w[row]))
        for end, amount in (("", hour.value), ("_low", hour.low), ("_high", hour.high)):
            assert found[f"cost_per_hour_usd{end}"][row] == pytest.approx(amount)
    # 3.6 million tokens an hour.
    million = found["cost_per_million_output_tokens_usd_high"][0]
    assert million == pytest.approx(found["cost_per_hour_usd_high"][0] / 3.6)


def test_no_candidates_have_no_costs() -> None:
    nothing = np.zeros(0)

    found = cost_columns(HARDWARE, np.zeros((0, 2), np.int64), 8, nothing, nothing)

    assert {len(column) for column in found.values()} == {0}


def candidates(objective: str, **cluster: Any) -> list[dict[str, Any]]:
    traffic = {
        "requests": 50,
        "arrivals": {"poisson": {"rate_per_s": 10}},
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 64},
    }
    requested = load(
        {"model": "llama-3.1-8b", "cluster": cluster, "workload": {"synthetic": traffic}}
    )
    choices = Choices(
        tensor_parallel_size=(4, 8),
        pipeline_parallel_size=(1,),
        memory_mode=("capacity",),
        weights=("mxint4",),
        kv=("mxint8",),
        max_num_seqs=(2, 8),
        max_num_batched_tokens=(256,),
    )
    return plan(requested, choices=choices, objective=objective, finalists=0).candidates


def test_servers_are_bought_whole_and_only_where_a_candidate_has_cards() -> None:
    found = candidates("cost", racks=1, servers_per_rack=2, cards_per_server=8)

    costs = [each["cost_per_million_output_tokens_usd"] for each in found]
    assert costs == sorted(costs)
    by_cards = {each["cards"]: each["cost_per_hour_usd"] for each in found}
    assert sorted(by_cards) == [4, 8, 16]
    # Half a server costs what a whole one does, but for power; two have a leaf between them.
    assert by_cards[4] == pytest.approx(by_cards[8], rel=0.2)
    assert by_cards[16] > 2 * by_cards[8]
