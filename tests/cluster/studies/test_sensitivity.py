"""Which assumption matters: on a run whose answer is known by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import load, simulate
from cluster.commands.app import main
from cluster.scenario.schema import Scenario, Slo
from cluster.studies.machine_set import MachineSet, PossibleMachine
from cluster.studies.sensitivity import CAPACITY, sensitivity
from cluster.studies.sweep import SweepError

TINY: Mapping[str, Any] = {
    "name": "tiny one",
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 3,
            "arrivals": {"constant": {"rate_per_s": 1.0}},
            "prompt_tokens": {"fixed": 64},
            "output_tokens": {"fixed": 4},
        }
    },
}


@pytest.fixture
def tiny() -> Scenario:
    return load(TINY)


def test_a_faster_link_is_a_shorter_token_and_the_widest_comes_first(
    tiny: Scenario, tmp_path: Path
) -> None:
    figures = ("simd.lanes", "links.efficiency", "cost.card_usd")
    found = sensitivity(
        tiny, samples=8, figures=figures, metrics=("mean_ttft_ms",), out=tmp_path / "s"
    )
    swings = found.swings["mean_ttft_ms"]

    assert {swing.figure for swing in swings} == {"simd.lanes", "links.efficiency"}  # not a price
    assert [swing.size for swing in swings] == sorted((each.size for each in swings), reverse=True)
    links = next(swing for swing in swings if swing.figure == "links.efficiency")
    assert links.low is not None
    assert links.high is not None
    assert links.low > links.base > links.high


def test_a_price_moves_the_cost_by_its_share(tiny: Scenario, tmp_path: Path) -> None:
    cost = "cost_per_million_output_tokens_usd"
    found = sensitivity(tiny, samples=9, figures=("cost.card_usd",), out=tmp_path / "s")
    ((swing,), band) = found.swings[cost], found.bands[cost]

    # 8 cards at 6,000, 10,000 and 20,000 USD over the same years: linear in the price.
    assert swing.low is not None
    assert swing.high is not None
    assert (swing.high - swing.base) / (swing.base - swing.low) == pytest.approx(10 / 4)
    assert swing.low < band.p5 < band.p50 < band.p95 < swing.high
    assert band.p50 == pytest.approx(band.base, rel=0.12)  # the middle of nine equal parts
    assert band.samples == 9


@pytest.mark.parametrize("hardware", ["corsair", "h100"])
def test_every_headline_has_a_band_that_holds_the_value_as_it_is(
    hardware: str, tiny: Scenario, tmp_path: Path
) -> None:
    slo = Slo(ttft_s=0.2, tpot_s=0.02)
    wanted = tiny.model_copy(update={"slo": slo, "hardware": hardware})
    found = sensitivity(wanted, samples=24, tornado=False, out=tmp_path / "s")

    assert list(found.bands) == [
        "p99_ttft_ms",
        "p99_tpot_ms",
        "goodput",
        CAPACITY,
        "cost_per_million_output_tokens_usd",
    ]
    assert all(band.holds for band in found.bands.values())
    assert found.meets_as_it_is
    assert found.slo_met == 1.0
    assert found.offered_per_s == pytest.approx(1.0)


def test_an_slo_is_met_in_the_share_of_the_draws_that_meet_it(
    tiny: Scenario, tmp_path: Path
) -> None:
    figures = ("simd.lanes", "links.efficiency")
    plain = sensitivity(tiny, samples=8, figures=figures, tornado=False, out=tmp_path / "a")
    middle_s = plain.bands["p99_ttft_ms"].p50 / 1e3  # of 8 draws four are below the median
    bounded = tiny.model_copy(update={"slo": Slo(ttft_s=middle_s)})
    found = sensitivity(bounded, samples=8, figures=figures, tornado=False, out=tmp_path / "b")

    assert plain.slo_met is None
    assert found.slo_met == 0.5


def test_what_cannot_be_run_is_counted_by_its_reason(tmp_path: Path) -> None:
    # 8 GB of weights in 16.4 GB of SRAM do not fit below a usable half: the low end, the two draws
    # from the lowest quarter (up to 0.455), and perhaps the third (0.455 to 0.68).
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "base: corsair\nfigures:\n  chiplet.usable_sram_fraction: "
        "{value: 0.9, unit: fraction, source: x, confidence: assumed, low: 0.01, high: 0.95}\n"
    )
    found = sensitivity(
        load({**TINY, "hardware": str(mine)}),
        samples=8,
        figures=("chiplet.usable*",),
        out=tmp_path / "s",
    )
    ((reason, count),) = found.failures.items()

    assert "does not fit" in reason
    assert count in (3, 4)
    assert found.bands["p99_ttft_ms"].samples == 8 - (count - 1)


def test_a_second_sweep_computes_no_point_again(tiny: Scenario, tmp_path: Path) -> None:
    first = sensitivity(tiny, samples=4, figures=("simd.lanes",), out=tmp_path / "s")
    again = sensitivity(tiny, samples=4, figures=("simd.lanes",), out=tmp_path / "s")

    assert again.swings == first.swings
    seconds = [row["seconds"] for row in again.sweep.points.to_pylist()]
    assert seconds == [row["seconds"] for row in first.sweep.points.to_pylist()]


@pytest.mark.parametrize("name", ["Grüße / 1", "", "..."])
def test_a_study_may_be_made_of_a_scenario_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = sensitivity(load({**TINY, "name": name}), samples=0, figures=("simd.lanes",))

    assert found.sweep.path.parent == Path("results/sweeps")
    assert found.sweep.name.endswith("sensitivity")


def test_another_study_in_the_same_folder_needs_drop(tiny: Scenario, tmp_path: Path) -> None:
    sensitivity(tiny, samples=3, figures=("simd.lanes",), out=tmp_path)

    with pytest.raises(SweepError, match="delete them with --drop"):
        sensitivity(tiny, samples=2, figures=("simd.lanes",), out=tmp_path)
    again = sensitivity(tiny, samples=2, figures=("simd.lanes",), out=tmp_path, drop=True)
    assert again.bands["p99_tpot_ms"].samples == 2


def test_the_command_prints_bands_tornado_and_reasons_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(json.dumps(TINY))
    words = ["sensitivity", "tiny.yaml", "--samples", "8", "--figures", "simd.l*"]

    assert main([*words, "--draw", "t.svg", "--report", "t.html"]) == 0
    said = capsys.readouterr().out
    assert said.index("All that is uncertain") < said.index("simd.lanes")
    assert Path("t.svg").read_text().startswith("<svg")
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["swings"]["p99_ttft_ms"][0]["figure"] == "simd.lanes"
    assert printed["bands"]["p99_ttft_ms"]["holds"] is True


def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sensitivity", "--by", "goodput"]) == 2
    assert "--by needs --against" in capsys.readouterr().err
    assert main(["sensitivity", "--ray-address", "auto"]) == 2
    assert "needs --engine ray" in capsys.readouterr().err


def test_joint_draws_come_from_the_machines_that_are_named(tiny: Scenario, tmp_path: Path) -> None:
    machines = tuple(
        PossibleMachine(figures={"card.dispatch_s": seconds}, settings={"wire": "fp16"})
        for seconds in (1e-6, 3e-6)
    )
    known = MachineSet(hardware="corsair", rows=("one",), machines=machines)

    found = sensitivity(
        tiny,
        samples=4,
        figures=("card.dispatch_s", "cost.pue"),
        machines=known,
        metrics=("mean_tpot_ms", CAPACITY),
        tornado=False,
        out=tmp_path / "s",
    )

    tpots = sorted({row["mean_tpot_ms"] for row in found.drawn if row})
    alone = [
        simulate(load({**TINY, "hardware_set": {"card.dispatch_s": seconds}}))
        for seconds in (1e-6, 3e-6)
    ]
    assert tpots == [run.summary["mean_tpot_ms"] for run in alone]
    assert len({row[CAPACITY] for row in found.drawn if row}) == 2
