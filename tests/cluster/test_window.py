"""All figures of a run are of one window: from its first arrival, plus warm-up, to its last finish.

Whatever a trace's clock says when it begins, so many joules for a token times so many tokens a
second are the mean power.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, simulate
from cluster.commands.app import main
from cluster.scenario.load import ScenarioError
from cluster.studies.capacity import max_rate
from cluster.studies.plan.simulations import Objective
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from results import open_run

CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "cases"
EIGHT_B: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
}
POOLS: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "memory": {"mode": "capacity"},
    "pools": {"prefill": {"cards": 4}, "decode": {"cards": 4}},
}
published = pytest.mark.skipif(not CASES.is_dir(), reason="the cases beside the project are absent")


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[float], str]:
    """A trace of 20 requests, half a second apart, of which the first comes at that second."""

    def written(begin_s: float) -> str:
        file = tmp_path / f"from{begin_s:g}.csv"
        rows = [f"{begin_s + 0.5 * i},{100 + 9 * i},{20 + i}" for i in range(20)]
        file.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows, ""]))
        return str(file)

    return written


def one_window(summary: Mapping[str, Any]) -> None:
    """The figures of a run agree with each other."""
    tokens_per_s, per_token_j = summary["output_throughput"], summary["joules_per_output_token"]
    facility_w = sum(summary["facility_power_w"].values())

    assert per_token_j * tokens_per_s == pytest.approx(summary["mean_power_w"], rel=1e-12)
    assert summary["energy_j"] / summary["duration"] == pytest.approx(summary["mean_power_w"])
    assert summary["facility_joules_per_output_token"] * tokens_per_s == pytest.approx(facility_w)
    assert summary["output_tokens_per_s_per_w"] * per_token_j == pytest.approx(1)
    assert summary["mean_power_w"] <= summary["peak_power_w"]


def figures(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.summary.items() if key != "run_id"}


@pytest.mark.parametrize("shape", [EIGHT_B, POOLS], ids=["undivided", "pools"])
@pytest.mark.parametrize("warmup_s", [0.0, 2.0, 9.5])
def test_joules_a_token_times_tokens_a_second_are_the_mean_power(
    shape: dict[str, Any], warmup_s: float, trace: Callable[[float], str]
) -> None:
    runs = [
        simulate({**shape, "workload": {"trace": trace(begin_s)}, "warmup_s": warmup_s})
        for begin_s in (0.0, 1000.0)
    ]

    for run in runs:
        one_window(run.summary)
        last_s = float(np.max(run.requests["finish_s"]))
        first_s = float(np.min(run.requests["arrival_s"]))
        assert run.summary["duration"] == pytest.approx(last_s - first_s - warmup_s, rel=1e-9)
        assert run.summary["completed"] == 20 - 2 * warmup_s
    assert figures(runs[0]) == figures(runs[1])


@pytest.mark.parametrize("shape", [EIGHT_B, POOLS], ids=["undivided", "pools"])
@pytest.mark.parametrize("warmup_s", [0.0, 2.0])
def test_the_bins_cover_the_window_on_the_clock_of_the_trace(
    shape: dict[str, Any], warmup_s: float, trace: Callable[[float], str], tmp_path: Path
) -> None:
    requested = {**shape, "workload": {"trace": trace(1000.0)}, "warmup_s": warmup_s}
    run = simulate(requested, out=tmp_path)
    saved = open_run(run.run_dir or tmp_path)
    cards, requests = saved.pandas("cards"), saved.pandas("requests")
    energy = [name for name in cards if name.startswith("energy_")]
    bin_s = cards["end_s"][0] - cards["start_s"][0]

    assert requests["arrival_s"].min() == 1000.0
    assert cards["start_s"].min() == 1000.0 + warmup_s
    assert 0 <= cards["end_s"].max() - requests["finish_s"].max() < bin_s * (1 + 1e-6)
    assert cards[energy].to_numpy().sum() == pytest.approx(run.summary["energy_j"], rel=1e-9)
    static_w = cards["energy_static_j"].sum() / run.summary["duration"]
    assert static_w == pytest.approx(8 * 64.3, rel=1e-9)
    assert (cards["idle_s"] >= 0).all()
    assert saved.draw("load_over_time").to_dict()
    assert saved.draw("card_utilisation").to_dict()


def test_transfers_are_in_the_same_bins_for_any_start_of_the_trace(
    trace: Callable[[float], str], tmp_path: Path
) -> None:
    links = []
    for begin_s in (0.0, 1000.0):
        run = simulate({**POOLS, "workload": {"trace": trace(begin_s)}}, out=tmp_path)
        links.append(open_run(run.run_dir or tmp_path).pandas("links"))

    assert links[0]["bytes"].sum() > 0
    for name in ("link", "bin", "bytes", "busy_s"):
        assert links[0][name].tolist() == links[1][name].tolist(), name
    assert (links[1]["start_s"] - links[0]["start_s"]).round(6).unique().tolist() == [1000.0]


def test_one_request_is_measured_while_it_is_there(run_small: Callable[..., Run]) -> None:
    synthetic = {"requests": 1, "arrivals": {"poisson": {"rate_per_s": 0.001}}}
    run = run_small(workload={"synthetic": synthetic})

    one_window(run.summary)
    assert float(np.min(run.requests["arrival_s"])) > 100
    assert run.summary["duration"] == pytest.approx(run.summary["mean_e2el_ms"] / 1e3, rel=1e-9)


def test_a_plan_s_simulated_rows_are_of_the_window_too(trace: Callable[[float], str]) -> None:
    choices = Choices(tensor_parallel_size=(4,), pipeline_parallel_size=(1,), replicas=(1,))
    found = [
        plan(
            load({**EIGHT_B, "workload": {"trace": trace(begin_s)}, "warmup_s": 2.0}),
            objective="joules",
            choices=choices,
            finalists=1,
        ).verified[0]
        for begin_s in (0.0, 1000.0)
    ]

    for each in found:
        one_window(each.summary)
        seen, lasted_s = each.simulated, each.summary["duration"]
        assert each.summary["completed"] == 16  # the four of the first two seconds, however fast
        assert each.idle_j == pytest.approx(4 * 64.3 * lasted_s, rel=1e-9)
        assert (seen["joules_per_output_token"] or 0) < each.summary["joules_per_output_token"]
    assert found[0].simulated == pytest.approx(found[1].simulated, rel=1e-6)


def test_a_search_for_the_most_traffic_leaves_out_the_same_requests_at_every_rate(
    trace: Callable[[float], str],
) -> None:
    scenario = load({**EIGHT_B, "workload": {"trace": trace(1000.0)}, "warmup_s": 4.75})
    alone_s = simulate(scenario).summary["p99_ttft_ms"] / 1e3
    objective = Objective(slo=scenario.slo.model_copy(update={"ttft_s": 1.2 * alone_s}))

    found = max_rate(scenario, objective)

    assert {verdict.summary["completed"] for verdict in found.tried} == {10}


@pytest.mark.parametrize("words", [["serve"], ["check"]])
def test_a_warm_up_beyond_the_traffic_is_refused(
    words: list[str], trace: Callable[[float], str], capsys: pytest.CaptureFixture[str]
) -> None:
    requested = ["--set", f"workload.trace={trace(1000.0)}", "--set", "warmup_s=12"]
    code = main([*words, *requested])

    said = capsys.readouterr().err
    assert code == 2
    assert "warmup_s is 12; must be at most 9.5," in said
    assert "it ends 2.5 s after the last arrival" in said


def test_a_closed_loop_refuses_it_when_it_is_over(run_small: Callable[..., Run]) -> None:
    synthetic = {"requests": 20, "arrivals": {"concurrency": 2}}
    run = run_small(workload={"synthetic": synthetic}, warmup_s=0.1)

    one_window(run.summary)
    assert 0 < run.summary["completed"] < 20
    with pytest.raises(ScenarioError, match=r"warmup_s is 1000; must be at most"):
        run_small(workload={"synthetic": synthetic}, warmup_s=1000.0)


@published
@pytest.mark.data
@pytest.mark.parametrize("name", ["lead0", "lead1000"])
def test_twenty_requests_at_a_thousand_seconds_cost_what_they_cost_at_none(name: str) -> None:
    summary = simulate(load(sets=[f"workload.trace={CASES / name}.csv"])).summary

    one_window(summary)
    assert summary["joules_per_output_token"] == pytest.approx(4.92, rel=0.01)
    assert summary["peak_power_w"] == pytest.approx(558, rel=0.01)


@published
@pytest.mark.data
def test_a_warm_up_leaves_out_the_same_of_rates_cost_and_energy() -> None:
    sets = [[f"workload.trace={CASES / name}.csv", "warmup_s=2"] for name in ("lead0", "lead1000")]
    first, second = (simulate(load(sets=each)) for each in sets)

    one_window(first.summary)
    assert first.summary["completed"] == 16  # two a second
    assert figures(first) == figures(second)


@published
@pytest.mark.data
def test_two_pools_cost_what_they_cost_at_none() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "disaggregated-8b.yaml"
    words = [f"workload={{trace: {CASES / 'lead1000.csv'}}}"]
    summary = simulate(load(example, sets=words)).summary

    one_window(summary)
    assert summary["joules_per_output_token"] == pytest.approx(9.82, rel=0.01)


@published
@pytest.mark.data
@pytest.mark.parametrize("name", ["dense_lead0", "dense_lead1000"])
def test_a_plan_is_simulated_for_what_it_was_scored(name: str) -> None:
    scenario = load(sets=[f"workload.trace={CASES / name}.csv"])
    choices = Choices(
        tensor_parallel_size=(4,), pipeline_parallel_size=(2,), weights=("mxint8",), kv=("mxint8",)
    )
    (best,) = plan(scenario, objective="joules", choices=choices, finalists=1).verified

    one_window(best.summary)
    assert abs(best.errors["joules_per_output_token"] or 1.0) < 0.05
