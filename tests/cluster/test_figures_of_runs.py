"""Figures of real runs: what they show adds up to what the run says of itself."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster import Run, replay_trace
from results import Run as Left
from results import open_run

DECODE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"program": {"phase": "decode", "batch": 4, "context": 640, "steps": 4}},
}


@pytest.fixture(scope="module")
def served(run_small: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Left:
    return open_run(run_small().save(tmp_path_factory.mktemp("served")))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder: Path = tmp_path_factory.mktemp("replayed")
    return open_run(replay_trace(DECODE, out=folder).run_dir or folder)


def rows_of(run: Left, name: str, layer: int = 0) -> list[dict[str, Any]]:
    spec = run.draw(name).to_dict()
    rows: list[dict[str, Any]] = spec.get("layer", [spec])[layer]["data"]["values"]
    return rows


def test_the_first_of_the_hot_links_is_the_one_that_is_busy_longest(served: Left) -> None:
    links = served.pandas("links")
    length_s = links["end_s"].max() - links["start_s"].min()
    busy_s = links.groupby("link_name", observed=True)["busy_s"].sum()
    rows = rows_of(served, "hot_links")

    assert rows[0]["mean"] == pytest.approx(busy_s.max() / length_s)
    assert busy_s[rows[0]["link"]] == busy_s.max()
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    assert all(row["mean"] <= row["most"] <= 1 for row in rows)


def test_the_hottest_cable_of_the_map_is_the_hottest_link_between_its_places(served: Left) -> None:
    hot = {row["link"]: row["mean"] for row in rows_of(served, "hot_links")}
    drawn = rows_of(served, "link_map")

    known = [row for row in drawn if row["link"] in hot]
    assert known
    assert all(row["mean"] == hot[row["link"]] for row in known)
    assert drawn[-1]["mean"] == max(row["mean"] for row in drawn), "the hottest is drawn on top"
    assert len(rows_of(served, "link_map", layer=1)) > 8  # cards, their switches, host, NICs


def test_stages_of_pools_are_separate(run_small: Callable[..., Run], tmp_path: Path) -> None:
    pools = {"prefill": {"cards": 4}, "decode": {"cards": 4}}
    run = run_small(pools=pools, plan={"pipeline_parallel_size": 1}, memory={"mode": "capacity"})
    rows = rows_of(open_run(run.save(tmp_path)), "stage_shares")

    assert {row["stage"] for row in rows} == {"prefill, stage 0", "decode, stage 0"}


@pytest.mark.parametrize("name", ["card_bounds", "card_utilisation"])
def test_shaded_time_is_the_time_that_a_card_is_busy(served: Left, name: str) -> None:
    cards = served.pandas("cards")
    busy = [column for column in cards if str(column).startswith("busy_")]
    wanted_s = cards.groupby("card_name", observed=True)[busy].sum().sum(axis=1)
    found_s: dict[str, float] = {}
    for row in rows_of(served, name):
        shaded_s = row["share"] * (row["end"] - row["s"])
        found_s[row["card"]] = found_s.get(row["card"], 0.0) + shaded_s

    assert found_s == pytest.approx(wanted_s.to_dict())


def test_the_parts_of_the_energy_are_the_whole(served: Left) -> None:
    rows = rows_of(served, "energy_by_part")

    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["joules"] for row in rows) == pytest.approx(served.summary["energy_j"])
    assert [row["share"] for row in rows] == sorted((row["share"] for row in rows), reverse=True)


def test_what_the_critical_path_waits_for_is_the_whole_makespan(replayed: Left) -> None:
    rows = rows_of(replayed, "critical_path")
    makespan_s = replayed.summary["makespan_s"]
    by_cause: dict[str, float] = {}
    for row in rows:
        by_cause[row["series"]] = by_cause.get(row["series"], 0.0) + row["share"]
    printed = replayed.summary["critical_share"]

    assert isinstance(printed, dict)
    assert sum(row["ms"] for row in rows) == pytest.approx(1e3 * makespan_s)  # type: ignore[operator]
    assert by_cause == pytest.approx({name: printed[name] for name in by_cause})


def test_no_card_of_the_gantt_does_two_things_at_once(replayed: Left) -> None:
    rows = rows_of(replayed, "stage_gantt")
    cards = {row["card"] for row in rows}
    batches = {row["batch"] for row in rows}

    assert len(cards) == 2, "one card of each stage"
    assert batches == {0, 1}, "a pipeline of two stages has two batches under way"
    for card in cards:
        bars = sorted((row["us"], row["until"]) for row in rows if row["card"] == card)
        assert all(before[1] <= after[0] + 1e-3 for before, after in pairwise(bars))
