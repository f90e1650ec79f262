"""Figures: what they show of runs whose numbers are known."""

from pathlib import Path
from typing import Any

import pytest

from results import ResultsError, open_run
from results.devices import DIMC
from results.figures import FIGURES, by_axis, draw, front_of, pareto, save, tornado
from results.figures.studies import CARD, USER


def rows_of(chart: Any) -> list[dict[str, Any]]:
    """All rows that stand in a chart's specification."""
    spec = chart.to_dict()
    inside = [spec, *spec.get("layer", []), *spec.get("vconcat", [])]
    found = [part["data"]["values"] for part in inside if "values" in part.get("data", {})]
    return [row for rows in found for row in rows]


def test_the_share_of_requests_that_were_answered_grows_to_one(run_folder: Path) -> None:
    rows = [row for row in rows_of(draw(open_run(run_folder), "latency_cdf")) if "share" in row]
    ttft = [row for row in rows if row["series"] == "TTFT"]

    assert ttft[-1] == {"series": "TTFT", "ms": pytest.approx(20.0), "share": 1.0}
    assert [row["share"] for row in ttft] == sorted(row["share"] for row in ttft)


def test_tokens_that_flow_out_are_the_tokens_of_the_run(run_folder: Path) -> None:
    run = open_run(run_folder)
    rows = [row for row in rows_of(draw(run, "load_over_time")) if row["series"] == "output"]
    width = rows[1]["s"] - rows[0]["s"]

    # 5 + 3 tokens of answers that last, and 1 of the one that does not.
    assert sum(row["value"] for row in rows) * width == pytest.approx(9.0)


def test_a_stage_s_shares_and_its_bubble_are_its_whole_time(run_folder: Path) -> None:
    rows = rows_of(draw(open_run(run_folder), "stage_shares"))

    assert {row["series"] for row in rows} == {*DIMC.bound_names, "idle"}
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert next(row for row in rows if row["series"] == "mac")["share"] == pytest.approx(0.1)


def test_a_card_that_works_six_tenths_of_the_time_is_drawn_so(run_folder: Path) -> None:
    rows = rows_of(draw(open_run(run_folder), "card_utilisation"))

    assert {row["card"] for row in rows} == {"s0.c0", "s0.c1"}
    assert all(row["share"] == pytest.approx(0.6) for row in rows)


@pytest.mark.parametrize("name", ["link_map", "energy_by_part", "critical_path", "stage_gantt"])
def test_a_run_that_has_not_what_a_figure_shows_says_so(run_folder: Path, name: str) -> None:
    with pytest.raises(ResultsError, match=str(run_folder.name)):
        draw(open_run(run_folder), name)


def test_an_unknown_figure_is_refused_with_the_nearest(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match="did you mean 'latency_cdf'"):
        open_run(run_folder).draw("latency_cfd")


def test_nothing_on_the_front_is_beaten_in_both() -> None:
    points = [{"x": x, "y": y} for x, y in ((1, 9), (2, 5), (2, 7), (3, 7), (4, 1), (3, 6))]

    assert front_of(points) == [{"x": 1, "y": 9}, {"x": 3, "y": 7}, {"x": 4, "y": 1}]


def test_a_pareto_chart_leaves_out_what_has_no_numbers() -> None:
    points: list[dict[str, Any]] = [
        {"output_tokens_per_s_per_user": 10.0, "output_tokens_per_s_per_card": 2.0, "mode": "a"},
        {"output_tokens_per_s_per_user": None, "output_tokens_per_s_per_card": 5.0, "mode": "b"},
    ]

    assert {row.get("mode") for row in rows_of(pareto(points, series="mode"))} == {"a"}


def test_a_pareto_chart_tells_axes_first_and_orders_numbers_by_size() -> None:
    points: list[dict[str, Any]] = [
        {"completed": 9, "point": seats, "scheduler.max_num_seqs": seats, USER: 1.0, CARD: 2.0}
        for seats in (16, 4, 128)
    ]
    dots = pareto(points, series="scheduler.max_num_seqs").to_dict()["layer"][1]

    assert dots["encoding"]["color"]["scale"]["domain"] == ["4", "16", "128"]
    printed = [each["title"] for each in dots["encoding"]["tooltip"]]
    assert printed[2:] == ["scheduler.max_num_seqs", "completed", "point"]


def test_a_tornado_begins_with_the_widest() -> None:
    rows = [
        {"figure": "narrow", "low": 0.9, "high": 1.1, "base": 1.0},
        {"figure": "wide", "low": 0.5, "high": 2.0, "base": 1.0},
    ]
    spec = tornado(rows).to_dict()

    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["wide", "narrow"]


def test_a_metric_by_axis_has_a_dot_for_each_point_that_has_both() -> None:
    points: list[dict[str, Any]] = [
        {"seats": 8, "mean_tpot_ms": 2.0},
        {"seats": 4, "mean_tpot_ms": 1.0},
        {"seats": 4, "mean_tpot_ms": float("nan")},
        {"seats": None, "mean_tpot_ms": 3.0},
    ]
    spec = by_axis(points, "seats", "mean_tpot_ms").to_dict()
    dots = spec["layer"][0]

    assert dots["data"]["values"] == [{"at": 8, "value": 2.0}, {"at": 4, "value": 1.0}]
    assert dots["encoding"]["x"]["sort"] == [4, 8]
    assert spec["layer"][1]["mark"]["type"] == "line"
    words = by_axis([{"model": "a", "goodput": 1.0}], "model", "goodput").to_dict()
    assert words["layer"][1]["mark"]["type"] == "tick", "nothing lies between two words"
    with pytest.raises(ResultsError, match="both seats and mean_ttft_ms"):
        by_axis(points, "seats", "mean_ttft_ms")


@pytest.mark.parametrize("ending", [".svg", ".png", ".json"])
def test_a_picture_is_written_whole(run_folder: Path, tmp_path: Path, ending: str) -> None:
    path = save(draw(open_run(run_folder), "stage_shares"), tmp_path / f"stages{ending}")

    begins = {".svg": b"<svg", ".png": b"\x89PNG", ".json": b"{"}
    assert path.read_bytes().startswith(begins[ending])


def test_another_ending_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"\.svg, \.png, \.json, \.html"):
        save(draw(open_run(run_folder), "stage_shares"), tmp_path / "stages.gif")


def test_every_figure_says_in_a_line_what_it_shows() -> None:
    assert all(figure.__doc__ for figure in FIGURES.values())
