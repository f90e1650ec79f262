"""Which assumption matters: on a run whose answer is known by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import load
from cluster.commands.app import main
from cluster.scenario.schema import Scenario
from cluster.studies.sensitivity import SensitivityError, sensitivity, uncertain
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


def test_a_slower_dispatch_is_a_longer_token_and_widest_comes_first(
    tiny: Scenario, tmp_path: Path
) -> None:
    figures = ("card.dispatch_s", "links.efficiency", "cost.card_usd")
    found = sensitivity(tiny, samples=8, figures=figures, out=tmp_path / "s")
    swings = found.swings["mean_tpot_ms"]
    dispatch = swings[0]

    assert [swing.figure for swing in swings] == ["card.dispatch_s", "links.efficiency"]
    assert dispatch.low is not None
    assert dispatch.high is not None
    assert dispatch.low < dispatch.base < dispatch.high
    # A price moves no time; low efficiency makes slow links, so there the low end is the long one.
    assert swings[1].low is not None
    assert swings[1].low > swings[1].base


def test_the_range_is_within_the_extremes(tiny: Scenario, tmp_path: Path) -> None:
    found = sensitivity(tiny, samples=16, figures=("card.dispatch_s",), out=tmp_path / "s")
    (swing,), band = found.swings["mean_tpot_ms"], found.bands["mean_tpot_ms"]

    assert band.samples == 16
    assert swing.low is not None
    assert swing.high is not None
    assert swing.low <= band.p5 < band.p50 < band.p95 <= swing.high


def test_a_second_sweep_computes_no_point_again(tiny: Scenario, tmp_path: Path) -> None:
    first = sensitivity(tiny, samples=4, figures=("simd.lanes",), out=tmp_path / "s")
    again = sensitivity(tiny, samples=4, figures=("simd.lanes",), out=tmp_path / "s")

    assert again.swings == first.swings
    seconds = [row["seconds"] for row in again.sweep.points.to_pylist()]
    assert seconds == [row["seconds"] for row in first.sweep.points.to_pylist()]


def test_only_what_has_a_range_is_uncertain(tiny: Scenario) -> None:
    names = set(uncertain(tiny))

    assert "card.dispatch_s" in names
    assert "dimc.rows" not in names


def test_a_clock_that_the_scenario_fixes_is_certain_and_the_rest_can_be_moved(
    tmp_path: Path,
) -> None:
    fixed = load({**TINY, "power": {"clock_hz": 1e9}})
    found = sensitivity(fixed, samples=2, figures=("card.clock_hz", "simd.lanes"), out=tmp_path)

    assert [swing.figure for swing in found.swings["mean_tpot_ms"]] == ["simd.lanes"]
    assert found.unrun == 0
    assert found.bands["mean_tpot_ms"].samples == 2


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
    assert again.bands["mean_tpot_ms"].samples == 2


def test_a_figure_that_is_not_there_is_refused(tiny: Scenario) -> None:
    with pytest.raises(SensitivityError, match=r"crad\.\*.*hardware show corsair"):
        sensitivity(tiny, figures=("crad.*",))


def test_the_command_tells_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(json.dumps(TINY))
    words = ["sweep", "tiny.yaml", "--sensitivity", "--samples", "3", "--figures", "card.d*"]

    assert main([*words, "--draw", "t.svg"]) == 0
    assert "card.dispatch_s" in capsys.readouterr().out
    assert Path("t.svg").read_text().startswith("<svg")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["swings"]["mean_tpot_ms"][0]["figure"] == (
        "card.dispatch_s"
    )


def test_words_of_a_study_without_it_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "some.yaml", "--figures", "card.*"]) == 2
    assert "need --sensitivity" in capsys.readouterr().err
    assert main(["sweep", "--sensitivity", "--limit", "3"]) == 2
    assert "a study needs all its points" in capsys.readouterr().err
