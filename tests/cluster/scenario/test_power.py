from typing import Any

import pytest

from cluster.scenario.load import ScenarioError, load
from cluster.scenario.power import PowerCapError, clocked_hardware
from cluster.scenario.resolve import resolve
from topology.catalog import Hardware, load_hardware

SCENARIO: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"synthetic": {"requests": 1, "preset": "azure-conv-2023"}},
}


def clocked(power: dict[str, float], **more: Any) -> Hardware:
    return clocked_hardware(load({**SCENARIO, **more, "power": power}), load_hardware)


@pytest.mark.parametrize(
    ("power", "clock_hz"),
    [
        ({"clock_hz": 1.0e9}, 1.0e9),
        ({"cap_w": 550.0}, 1.1444091796875e9),  # above the nominal 507 W: nothing to lower
        ({"cap_w": 550.0, "clock_hz": 1.2e9}, 1.2e9),
        ({"cap_w": 275.0}, 0.8e9),
        ({"cap_w": 275.0, "clock_hz": 1.2e9}, 0.8e9),
    ],
)
def test_a_cap_lowers_the_clock_until_full_load_draws_the_cap(
    power: dict[str, float], clock_hz: float
) -> None:
    assert clocked(power)["card.clock_hz"] == pytest.approx(clock_hz, rel=1e-12)


def test_half_the_way_in_power_is_more_than_half_in_clock() -> None:
    # 550 (f / 1.2 GHz)^1.7095 = 412.5 W.
    assert clocked({"cap_w": 412.5})["card.clock_hz"] == pytest.approx(1.01413e9, rel=1e-4)


def test_a_cap_that_no_clock_keeps_is_refused_with_one_that_does() -> None:
    with pytest.raises(PowerCapError, match="the lowest possible cap is 275 W") as caught:
        clocked({"cap_w": 250.0})
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("clock_hz", [0.79e9, 1.21e9])
def test_a_clock_beyond_the_published_points_is_refused(clock_hz: float) -> None:
    with pytest.raises(ScenarioError, match="between the published points"):
        clocked({"clock_hz": clock_hz})


def test_a_clock_that_is_set_twice_is_refused() -> None:
    with pytest.raises(ScenarioError, match="the clock is set twice"):
        clocked({"clock_hz": 1e9}, hardware_set={"card.clock_hz": 1e9})


def test_the_effective_clock_is_what_a_run_is_known_by() -> None:
    at = {
        name: resolve(load({**SCENARIO, **more})).run_id
        for name, more in {
            "bare": {},
            "no cap in effect": {"power": {"cap_w": 600.0}},
            "lowered": {"power": {"clock_hz": 1.0e9}},
            "lowered by figure": {"hardware_set": {"card.clock_hz": 1.0e9}},
        }.items()
    }
    assert at["bare"] == at["no cap in effect"] != at["lowered"]
    assert at["lowered"] == at["lowered by figure"]
