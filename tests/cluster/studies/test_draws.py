"""Draws of what is uncertain: which figures, how they spread, and that published points hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.perf_model.calibrate import EIGHT_B, full_load_parts_w, predict
from cluster.scenario.schema import Scenario
from cluster.studies.draws import RESIDUAL, SensitivityError, at_share, draws, ends, uncertain
from cluster.studies.machine_set import MachineSet, PossibleMachine
from topology.catalog import load_hardware
from topology.power import full_load_w

SMALL: Mapping[str, Any] = {
    "name": "small",
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 2,
            "arrivals": {"constant": {"rate_per_s": 1.0}},
            "prompt_tokens": {"fixed": 64},
            "output_tokens": {"fixed": 4},
        }
    },
}


def scenario(**changes: Any) -> Scenario:
    return load({**SMALL, **changes})


def test_choices_fits_and_what_the_scenario_sets_are_not_drawn() -> None:
    names = set(uncertain(scenario(hardware_set={"simd.norm_clocks": 5.0})))

    assert "simd.lanes" in names
    assert "rack.servers" not in names  # what a rack holds
    assert "card.dispatch_s" not in names  # fitted
    assert "dimc.rows" not in names  # has no range
    assert "simd.norm_clocks" not in names  # set here


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("crad.*", "no figure matches"), ("rack.servers", "a choice's"), ("card.d*", "a fit's")],
)
def test_a_figure_that_cannot_be_drawn_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(SensitivityError, match=why):
        uncertain(scenario(), (pattern,))


def test_the_value_is_the_median_of_a_figure() -> None:
    lanes = load_hardware("corsair").figures["simd.lanes"]  # 32, 64, 128

    assert [at_share(lanes, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [
        *(32.0, 48.0, 64.0, 96.0, 128.0)
    ]


def test_clocks_in_which_a_vector_is_fed_are_drawn_whole() -> None:
    clocks = load_hardware("raptor").figures["dimc.clocks_per_vector_int8"]  # 2, 8, 8

    assert [at_share(clocks, share) for share in (0.0, 0.1, 0.2, 0.5)] == [2.0, 3.0, 4.0, 8.0]


def test_half_of_the_draws_lie_below_the_value() -> None:
    found = [draw.hardware_set["cost.card_usd"] for draw in draws(scenario(), 8, 3, ("cost.*",))]

    assert sum(usd < 10_000 for usd in found) == 4
    assert min(found) >= 6000
    assert max(found) <= 20_000


def test_equal_seeds_draw_equal_machines_and_others_do_not() -> None:
    first = draws(scenario(), 4, 1, ("cost.*",))

    assert draws(scenario(), 4, 1, ("cost.*",)) == first
    assert draws(scenario(), 4, 2, ("cost.*",)) != first


def test_a_figure_is_drawn_alike_whatever_else_is_drawn() -> None:
    alone = draws(scenario(), 4, 1, ("cost.pue",))
    among = draws(scenario(), 4, 1, ("cost.*",))

    pairs = zip(alone, among, strict=True)
    assert all(
        one.hardware_set["cost.pue"] == other.hardware_set["cost.pue"] for one, other in pairs
    )


def test_the_published_decode_holds_in_every_draw() -> None:
    possible = [draw for draw in draws(scenario(), 6, 0) if not draw.reason]

    assert len(possible) >= 4
    for draw in possible:
        dispatch_s = draw.hardware_set["card.dispatch_s"]
        tpot_s = predict(EIGHT_B, dispatch_s, overrides=draw.hardware_set).tpot_s
        assert tpot_s == pytest.approx(1e-3, rel=1e-5)


def test_the_published_power_holds_in_every_draw() -> None:
    for draw in draws(scenario(), 6, 0, ("energy.*", "chiplet.lpddr*")):
        hardware = load_hardware("corsair", draw.hardware_set)
        drawn_w = sum(full_load_parts_w(hardware).values()) + hardware["card.static_w"]
        assert drawn_w == pytest.approx(full_load_w(hardware, hardware["card.clock_hz"]), rel=1e-9)


def test_a_price_leaves_what_was_fitted_alone() -> None:
    assert all(
        set(draw.hardware_set) == {"cost.pue"} for draw in draws(scenario(), 3, 0, ("cost.pue",))
    )


def test_a_draw_that_no_dispatch_fits_says_so() -> None:
    # A host of 300 us a step, three times the most of its range, with slow lanes and messages takes
    # longer than 1 ms by itself; within the ranges (0.92 ms) a dispatch nearly always fits.
    slow = {"simd.lanes": 32.0, "links.chunk_overhead_s": 50e-9, "host.overhead_s": 300e-6}
    assert predict(EIGHT_B, 0.0, overrides=slow).tpot_s > 1e-3

    found = draws(scenario(), 24, 0)
    reasons = {draw.reason for draw in found if draw.reason}
    assert reasons <= {"slower than the published 1 ms of llama-3.1-8b without any dispatch"}
    assert sum(bool(draw.reason) for draw in found) <= 2  # a tenth


def test_a_dispatch_that_the_scenario_sets_is_kept() -> None:
    mine = scenario(hardware_set={"card.dispatch_s": 1e-6})

    assert all(
        "card.dispatch_s" not in each.hardware_set for each in draws(mine, 3, 0, ("simd.*",))
    )


def test_a_card_with_a_dispatch_of_its_own_is_not_fitted(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "base: corsair\nfigures:\n"
        "  card.dispatch_s: {value: 1, unit: us, source: x, confidence: assumed, low: 1, high: 2}\n"
    )
    found = draws(scenario(hardware=str(mine)), 4, 0)

    assert all(1e-6 <= each.hardware_set["card.dispatch_s"] <= 2e-6 for each in found)


def test_the_ends_are_the_low_and_the_high_with_the_fit_of_each() -> None:
    ((figure, low, high),) = ends(scenario(), ("simd.lanes",))

    assert figure.name == "simd.lanes"
    assert low.hardware_set["simd.lanes"] == 32.0
    assert high.hardware_set["simd.lanes"] == 128.0
    # Fewer lanes take longer, so that less of the published millisecond is left for dispatch.
    assert low.hardware_set["card.dispatch_s"] < high.hardware_set["card.dispatch_s"]


def test_fitted_constants_of_a_gpu_move_together_and_nine_of_ten_within_the_band() -> None:
    gpu = scenario(hardware="h100", model="llama-3.1-8b", plan={"tensor_parallel_size": 1})
    figure = uncertain(gpu)[RESIDUAL]
    found = draws(gpu, 20, 0, (RESIDUAL,))
    host_s = np.array([each.hardware_set["engine.step_s"] for each in found])
    reads = np.array([each.hardware_set["gpu.gemm_bandwidth_efficiency"] for each in found])

    h100 = load_hardware("h100")
    factor = host_s / h100["engine.step_s"]
    within = (factor >= figure.low) & (factor <= figure.high)
    assert np.count_nonzero(within) == 18
    expected = np.minimum(1.0, h100["gpu.gemm_bandwidth_efficiency"] / factor)  # longer is lower
    np.testing.assert_allclose(reads, expected, rtol=1e-12)


def machine_set() -> MachineSet:
    machines = tuple(
        PossibleMachine(
            figures={"card.dispatch_s": seconds, "simd.lanes": lanes},
            settings={"wire": "mxint8"},
        )
        for seconds, lanes in ((4e-7, 80.0), (8e-7, 48.0))
    )
    return MachineSet(hardware="corsair", rows=("a", "b"), machines=machines)


def test_figures_of_a_machine_of_a_set_stay_together_and_nothing_is_fitted_again() -> None:
    found = draws(scenario(), 8, 1, machines=machine_set())

    pairs = {
        (each.hardware_set["card.dispatch_s"], each.hardware_set["simd.lanes"]) for each in found
    }
    assert pairs == {(4e-7, 80.0), (8e-7, 48.0)}
    assert {each.settings["formats.wire"] for each in found} == {"mxint8"}
    assert len({each.hardware_set["links.efficiency"] for each in found}) == 8  # from its range
    assert not any(each.reason for each in found)


def test_what_the_scenario_sets_is_not_that_of_a_set() -> None:
    own = scenario(hardware_set={"card.dispatch_s": 1e-6}, formats={"wire": "auto"})

    (found,) = draws(own, 1, 1, machines=machine_set())

    assert "card.dispatch_s" not in found.hardware_set
    assert not found.settings
    assert found.hardware_set["simd.lanes"] in (48.0, 80.0)


def test_machines_of_other_hardware_are_refused() -> None:
    with pytest.raises(SensitivityError, match="the machines are corsair's"):
        draws(load({**SMALL, "hardware": "h100", "plan": {}}), 1, 1, machines=machine_set())


def test_a_draw_of_lanes_leaves_the_area_of_the_die_and_a_what_if_keeps_its_own() -> None:
    lanes = ("simd.lanes",)
    more = scenario(hardware_set={"chiplet.sram_bytes": 512e6})
    ((_, low, _),) = ends(scenario(), lanes)
    ((_, what_if, _),) = ends(more, lanes)

    assert load_hardware("corsair", low.hardware_set)["chiplet.area_m2"] == 400e-6
    drawn = load_hardware("corsair", {**more.hardware_set, **what_if.hardware_set})
    assert drawn["chiplet.area_m2"] == pytest.approx(515.2e-6)
    assert drawn["card.static_w"] == pytest.approx(64.3 * 515.2 / 400)


def test_parts_are_drawn_where_the_price_comes_from_them_and_areas_where_sizes_moved() -> None:
    listed, built = uncertain(scenario()), uncertain(scenario(cost={"from": "parts"}))
    moved = uncertain(scenario(hardware_set={"chiplet.sram_bytes": 512e6}))

    assert "cost.card_usd" in listed
    assert not [name for name in listed if name.startswith(("parts.", "area."))]
    assert "parts.wafer_usd" in built
    assert "cost.card_usd" not in built
    assert "area.sram_m2_per_byte" in moved
