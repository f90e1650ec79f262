"""``cost: {from: parts}``: a card's price from its bill of parts."""

from typing import Any

import pytest

from cluster.api.serving import simulate
from cluster.scenario.cost import CostError
from cluster.scenario.load import ScenarioError, load
from cluster.scenario.resolve import resolve
from cluster.scenario.trust import trust_of
from topology.catalog import load_hardware
from topology.catalog.parts import card_usd

TINY: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 4,
            "arrivals": {"constant": {"rate_per_s": 10}},
            "prompt_tokens": {"fixed": 64},
            "output_tokens": {"fixed": 4},
        }
    },
}
PARTS = {"cost": {"from": "parts"}}


def test_the_price_of_a_cluster_is_that_of_its_parts_where_the_scenario_says_so() -> None:
    listed, built = simulate(load(TINY)).summary, simulate(load({**TINY, **PARTS})).summary
    usd = card_usd(load_hardware("corsair"))

    # eight cards; host, NICs and switch keep their prices
    assert built["capital_usd"] - listed["capital_usd"] == pytest.approx(8 * (usd.value - 10_000))
    low = built["capital_usd_low"] - listed["capital_usd_low"]
    assert low == pytest.approx(8 * (usd.low - 6_000))
    assert built["p99_ttft_ms"] == listed["p99_ttft_ms"]


def test_a_what_if_pays_for_its_sram_in_watts_and_dollars() -> None:
    more = {"hardware_set": {"chiplet.sram_bytes": 512e6}}
    before, after = resolve(load({**TINY, **PARTS})), resolve(load({**TINY, **PARTS, **more}))

    assert after.hardware["cost.card_usd"] > before.hardware["cost.card_usd"]
    assert after.hardware["card.static_w"] == pytest.approx(64.3 * 515.2 / 400)
    assert after.run_id != before.run_id


def test_a_price_is_no_reason_to_trust_a_time_less() -> None:
    gpu = {**TINY, "hardware": "h100", "plan": {"tensor_parallel_size": 4}}

    assert trust_of(resolve(load({**gpu, **PARTS}))) == trust_of(resolve(load(gpu)))


def test_where_a_price_comes_from_is_written_as_it_was_read() -> None:
    scenario = load({**TINY, **PARTS})

    assert scenario.model_dump(mode="json")["cost"] == {"from": "parts"}
    assert load(scenario.model_dump(mode="json", exclude_defaults=True)).cost == scenario.cost
    with pytest.raises(ScenarioError, match=r"did you mean 'from'"):
        load({**TINY, "cost": {"form": "parts"}})
    with pytest.raises(ScenarioError, match="parts"):
        load({**TINY, "cost": {"from": "shop"}})


def test_a_price_that_is_set_twice_is_refused() -> None:
    with pytest.raises(CostError, match=r"set twice: hardware_set\.cost\.card_usd"):
        resolve(load({**TINY, **PARTS, "hardware_set": {"cost.card_usd": 5000.0}}))
