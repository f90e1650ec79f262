"""Costs, by hand."""

from dataclasses import replace

import pytest

from cluster.perf_model.tco import (
    Inventory,
    Purchase,
    capital_usd,
    cost_summary,
    inventory_of,
    usd_per_hour,
    usd_per_million,
)
from corsair_common.band import Band
from topology.catalog import load_hardware

FIGURES = load_hardware("corsair").figures
YEAR_H = 365.25 * 24


def test_a_server_costs_what_its_parts_do() -> None:
    bought = inventory_of(FIGURES, racks=1, servers_per_rack=1, cards_per_server=8)

    assert bought == Inventory(cards=8, servers=1, nics=4, network_switches=0)
    # 8 x 10,000 + 25,000 + 4 x 2,500; the band from 6,000 to 20,000 a card, and so on.
    assert capital_usd(FIGURES, bought) == Band(value=115_000.0, low=69_000.0, high=216_000.0)


@pytest.mark.parametrize(("racks", "switches"), [(1, 1), (2, 6)])
def test_racks_have_a_leaf_each_and_spines_between_them(racks: int, switches: int) -> None:
    bought = inventory_of(FIGURES, racks=racks, servers_per_rack=8, cards_per_server=8)

    assert bought.network_switches == switches
    assert bought.cards == 64 * racks


def test_an_hour_is_the_price_over_its_life_and_the_electricity() -> None:
    bought = inventory_of(FIGURES, racks=1, servers_per_rack=1, cards_per_server=8)
    cost = usd_per_hour(FIGURES, bought, power_w=4_000.0)

    assert cost.value == pytest.approx(115_000 / (5 * YEAR_H) + 4 * 0.08 * 1.25, rel=1e-3)
    assert cost.low == pytest.approx(69_000 / (6 * YEAR_H) + 4 * 0.05 * 1.1, rel=1e-3)
    assert cost.high == pytest.approx(216_000 / (3 * YEAR_H) + 4 * 0.15 * 1.5, rel=1e-3)


def test_a_million_tokens_at_a_thousand_a_second_take_a_thousand_seconds() -> None:
    cost = usd_per_million(Band(value=3.6, low=1.8, high=7.2), 1000.0)

    assert cost is not None
    assert (cost.value, cost.low, cost.high) == pytest.approx((1.0, 0.5, 2.0))


def test_a_summary_has_every_amount_with_its_band_and_none_where_nothing_is_known() -> None:
    bought = inventory_of(FIGURES, racks=1, servers_per_rack=1, cards_per_server=8)
    own = Purchase(figures=FIGURES, bought=bought, power_w=4_000.0)
    printed = cost_summary([own], tokens_per_s=1_000.0)
    hour = usd_per_hour(FIGURES, bought, power_w=4_000.0)

    assert printed["capital_usd_high"] == 216_000.0
    assert printed["cost_per_hour_usd_low"] == hour.low
    # 3.6 million tokens an hour.
    assert printed["cost_per_million_output_tokens_usd"] == pytest.approx(hour.value / 3.6)
    unknown = cost_summary([replace(own, power_w=None)], tokens_per_s=None)
    assert unknown["cost_per_hour_usd"] is None
    assert unknown["cost_per_million_output_tokens_usd_high"] is None


@pytest.mark.parametrize("rate", [0.0, float("nan"), -1.0])
def test_no_tokens_have_no_price(rate: float) -> None:
    assert usd_per_million(Band(value=1.0, low=1.0, high=1.0), rate) is None
