"""``hardware show`` marks the figures that no time, energy or cost depends on, and only these."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.read_figures import DENSE, SERVED, TRAFFIC
from cluster import load, simulate
from cluster.commands.app import main
from topology.catalog.kinds import KINDS, UNPRICED
from topology.power import power_density

ROOT = Path(__file__).resolve().parents[2]
OTHER = {
    "chiplet.quads": 2.0,
    "chiplet.noc_latency_s": 50e-9,
    "chiplet.area_m2": 800e-6,
    "card.tdp_w": 300.0,
    "pod.racks": 16.0,
}
"""Other values of what is marked; ``pair.cards`` has none."""
ELSEWHERE = ("parts.", "area.", "host.hand_over_s")
"""Read where ``cost.from`` is parts, where sizes of a chiplet are moved, and between pools."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_that_pricing_never_reads_is_marked(kind: str) -> None:
    script = ROOT / "benchmarks" / "read_figures.py"
    done = subprocess.run(
        [sys.executable, str(script), kind],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )

    assert done.returncode == 0, done.stderr
    unread = {name for name in json.loads(done.stdout) if not name.startswith(ELSEWHERE)}
    assert unread <= set(UNPRICED[kind])


@pytest.mark.parametrize(
    "wanted", SERVED["dimc_card"], ids=["dense", "in LPDDR", "experts", "pools"]
)
def test_no_result_moves_with_the_marked_figures_of_corsair(wanted: dict[str, Any]) -> None:
    scenario = {"hardware": "corsair", "workload": TRAFFIC, **wanted}
    as_it_is, moved = (
        simulate(load({**scenario, "hardware_set": figures})).summary for figures in ({}, OTHER)
    )

    assert moved.pop("run_id") != as_it_is.pop("run_id")
    assert moved == as_it_is


def test_no_result_moves_with_the_marked_figures_of_a_gpu() -> None:
    scenario = {"hardware": "h100", "workload": TRAFFIC, **DENSE}
    other = {"hardware_set": {"pod.racks": 16.0}}
    as_it_is, moved = (simulate(load({**scenario, **each})).summary for each in ({}, other))

    assert set(UNPRICED["gpu"]) == {"pod.racks"}
    assert {**moved, "run_id": ""} == {**as_it_is, "run_id": ""}


def test_all_marks_but_a_fixed_figure_are_tried() -> None:
    assert set(OTHER) == set(UNPRICED["dimc_card"]) - {"pair.cards"}


def test_the_table_names_the_marked_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware", "show", "corsair", "-f", "chiplet"]) == 0
    below = capsys.readouterr().out.partition("not used by any formula")[2]

    assert "chiplet.quads: drawn only" in below
    assert main(["hardware", "show", "corsair", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    marked = {each["name"] for each in figures if each["unpriced"]}
    assert marked == set(UNPRICED["dimc_card"])


def test_watts_over_the_area_of_a_cards_dies_stand_beside_the_limits_of_stacked_memory() -> None:
    # 8 dies of 400 mm2 are 3,200 mm2: 550 W at 1.2 GHz are 0.172 W/mm2, a TDP of 600 W 0.1875;
    # 1,000 W are 0.3125, beyond the 0.3 of air, and 1,800 W 0.5625, beyond the 0.5 of liquid.
    figures = {
        "card.packages": 2.0,
        "package.chiplets": 4.0,
        "chiplet.area_m2": 400e-6,
        "card.clock_hz": 1.2e9,
        "card.power_at_0_8_ghz_w": 275.0,
        "card.power_at_1_2_ghz_w": 550.0,
        "card.tdp_w": 600.0,
    }
    found = [power_density({**figures, "card.tdp_w": w}, figures) for w in (600.0, 1e3, 1800.0)]

    assert found[0] is not None
    assert found[0].w_per_mm2 == pytest.approx(0.171875)
    assert found[0].tdp_w_per_mm2 == pytest.approx(0.1875)
    assert [each.above for each in found if each] == ["", "air", "liquid"]
    assert power_density(figures, ()) is None


def test_check_flags_a_card_that_is_too_hot_for_stacked_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hot = ["check", "--set", "hardware_set.card.tdp_w=1000"]
    assert main(hot) == 0
    assert "0.312 at TDP; ABOVE the first of what stacked memory bears" in capsys.readouterr().out
    assert main([*hot, "--json"]) == 0
    density = json.loads(capsys.readouterr().out)["power_density"]
    assert density["above_limit_of_stacked_memory"] == "air"
