"""``simulate``: reproducible, identified by content, nothing lost."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, simulate
from cluster.perf_model.tables import STEP, Records
from cluster.scenario.resolve import resolve
from cluster.serving.run import assemble, execute
from results import open_run
from results.schema import TABLES as DECLARED
from results.summary import flatten
from topology.catalog import load_hardware

TABLES = {
    *("cards", "edges", "latency_breakdown", "links", "nodes", "placement", "requests"),
    "summary",
}


def digests(run_dir: Path | None) -> dict[str, str]:
    assert run_dir is not None
    return {name: table["sha256"] for name, table in open_run(run_dir).manifest["tables"].items()}


def test_the_same_scenario_gives_the_same_bytes_twice_and_in_a_fresh_process(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "model: llama-3.1-8b\n"
        "plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}\n"
        "workload: {synthetic: {requests: 300, preset: mooncake-conversation}, rate_scale: 3}\n"
        "router: random\n"
        "store: {steps: true}\n"
    )
    first, second = (simulate(path, out=tmp_path / name) for name in ("first", "second"))
    command = [sys.executable, "-m", "cluster", "serve", str(path), "--quiet", "--out"]
    subprocess.run([*command, str(tmp_path / "third")], check=True)

    assert set(digests(first.run_dir)) == TABLES | {"steps"}
    assert digests(first.run_dir) == digests(second.run_dir)
    assert digests(first.run_dir) == digests(tmp_path / "third" / first.run_id)


def test_a_run_saved_later_is_the_run_written_at_once(
    tmp_path: Path, run_small: Callable[..., Run], small_scenario: Mapping[str, Any]
) -> None:
    later = run_small().save(tmp_path / "later")
    at_once = simulate(load(small_scenario), out=tmp_path / "at-once").run_dir

    assert digests(later) == digests(at_once)


def test_a_run_replaces_itself_and_leaves_nothing_beside_it(
    tmp_path: Path, small_scenario: Mapping[str, Any]
) -> None:
    runs = [simulate(load(small_scenario), out=tmp_path) for _ in range(2)]

    assert [path.name for path in tmp_path.iterdir()] == [runs[0].run_id]


def test_a_runs_identity_is_neither_its_name_nor_its_place_nor_what_it_keeps(
    tmp_path: Path,
) -> None:
    trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n"
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, name in ((here, "a.csv"), (there, "b.csv")):
        folder.mkdir()
        (folder / name).write_text(trace)
        (folder / "s.yaml").write_text(f"model: llama-3.1-8b\nworkload: {{trace: {name}}}\n")
    clock_hz = load_hardware("corsair")["card.clock_hz"]
    printed = load(
        there / "s.yaml",
        name="another",
        store={"steps": True, "bins": 10},
        hardware_set={"card.clock_hz": clock_hz},
    )

    assert resolve(load(here / "s.yaml")).run_id == resolve(printed).run_id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"hardware_set": {"card.clock_hz": 1.0e9}},
        {"hardware": "raptor"},
        {"links": [{"match": "s0.sw0>s0.sw1", "bandwidth_scale": 0.5}]},
        {"links": [{"match": "s0.sw0>s0.sw1", "latency_scale": 2.0}]},
        {"formats": {"kv": "mxint4"}},
        {"scheduler": {"block_size": 32}},
        {"router": "random"},
        {"workload": {"rate_scale": 2.0}},
    ],
)
def test_a_runs_identity_is_all_that_can_change_its_results(
    change: dict[str, Any], small_scenario: Mapping[str, Any]
) -> None:
    assert resolve(load(small_scenario, **change)).run_id != resolve(load(small_scenario)).run_id


def test_the_summary_has_every_key_that_its_table_declares(run_small: Callable[..., Run]) -> None:
    assert set(flatten(run_small().summary)) == {
        column.name for column in DECLARED["summary"].columns
    }


def test_requests_are_in_order_of_arrival_and_all_complete(run_small: Callable[..., Run]) -> None:
    run = run_small()
    columns: dict[str, Any] = {name: np.ma.asarray(values) for name, values in run.requests.items()}

    np.testing.assert_array_equal(columns["request_id"], np.arange(200))
    assert (np.diff(columns["arrival_s"]) >= 0).all()
    assert (columns["arrival_s"] <= columns["first_scheduled_s"]).all()
    assert (columns["first_scheduled_s"] < columns["first_token_s"]).all()
    assert (columns["first_token_s"] < columns["finish_s"]).all()
    assert run.summary["completed"] == 200
    assert run.summary["total_input_tokens"] == columns["prompt_tokens"].sum()
    assert run.summary["total_output_tokens"] == columns["output_tokens"].sum()


def test_every_token_is_scheduled_once_and_every_answer_leaves(
    tmp_path: Path, small_scenario: Mapping[str, Any]
) -> None:
    run = simulate(load(small_scenario, store={"steps": True}), out=tmp_path)
    prompt, output = (np.asarray(run.requests[f"{name}_tokens"]) for name in ("prompt", "output"))
    stored = open_run(tmp_path, run.run_id)
    steps = {name: stored.steps[name].to_numpy() for name in stored.steps.column_names}
    cards = stored.pandas("cards")

    assert run.summary["preemptions"] == 0
    assert len(steps["tokens"]) == run.outcome.steps
    assert steps["prefill_tokens"].sum() == prompt.sum()
    assert steps["tokens"].sum() == prompt.sum() + (output - 1).sum()
    assert steps["emitted"].sum() == output.sum()
    assert steps["finished"].sum() == 200
    assert (cards.groupby("card")["tokens"].sum() == steps["tokens"].sum()).all()
    assert (cards.groupby("card")["steps"].sum() == run.outcome.steps).all()


def test_steps_are_stored_only_on_request(
    tmp_path: Path, small_scenario: Mapping[str, Any]
) -> None:
    run = simulate(load(small_scenario), out=tmp_path)

    assert set(open_run(tmp_path, run.run_id).tables) == TABLES


def test_busy_and_idle_add_up_to_the_bin_and_busy_is_what_the_steps_last(
    tmp_path: Path, small_scenario: Mapping[str, Any]
) -> None:
    resolved = resolve(
        load(
            small_scenario,
            plan={"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
            store={"bins": 8},
        )
    )
    machine = assemble(resolved)
    windows: list[Records] = []
    outcome = execute(resolved, machine, on_steps=lambda window: windows.append(window.copy()))
    steps = np.concatenate([np.zeros(0, STEP), *windows])
    cards = open_run(simulate(resolved.scenario).save(tmp_path)).pandas("cards")
    times_s = cards[[name for name in cards if name.startswith("busy_")] + ["idle_s"]]
    times_ps = np.rint(times_s.to_numpy() * 1e12).astype(np.int64)

    assert int(outcome.bins.busy_ps.sum()) == int((steps["end_ps"] - steps["start_ps"]).sum())
    assert (times_ps.sum(axis=1) == outcome.bins.bin_ps).all()
    assert (times_ps >= 0).all()
    assert times_ps[:, :-1].sum() == 8 * int(outcome.bins.busy_ps.sum())


def test_energy_is_the_same_by_card_by_part_by_request_and_in_the_summary(
    tmp_path: Path, small_scenario: Mapping[str, Any]
) -> None:
    run = simulate(small_scenario, out=tmp_path)
    saved, total_j = open_run(run.run_dir or tmp_path), run.summary["energy_j"]
    cards, requests = saved.pandas("cards"), saved.pandas("requests")
    columns = [name for name in cards if name.startswith("energy_")]
    watts = cards.groupby("bin")[columns].sum().sum(axis=1) / (run.outcome.bins.bin_ps * 1e-12)

    assert cards[columns].to_numpy().sum() == pytest.approx(total_j, rel=1e-12)
    assert sum(run.summary["energy_share"].values()) == pytest.approx(1, rel=1e-12)
    static_j = cards["energy_static_j"].sum()
    lasted_s = run.summary["duration"]
    assert static_j == pytest.approx(8 * 64.3 * lasted_s, rel=1e-12)
    assert requests["energy_j"].sum() == pytest.approx(total_j - static_j, rel=1e-9)
    assert run.summary["mean_power_w"] == pytest.approx(total_j / lasted_s, rel=1e-12)
    assert watts.iloc[:-1].max() <= run.summary["peak_power_w"] * (1 + 1e-12)


class Watch:
    """Records the calls of an observer."""

    def __init__(self) -> None:
        self.total = 0
        self.seen: list[tuple[int, int, int]] = []
        self.ended = False

    def started(self, total_requests: int) -> None:
        self.total = total_requests

    def advanced(self, now_ps: int, done: int, tokens: int) -> None:
        self.seen.append((now_ps, done, tokens))

    def finished(self) -> None:
        self.ended = True


def test_an_observer_sees_the_run_go_forward_and_changes_nothing(
    run_small: Callable[..., Run], small_scenario: Mapping[str, Any]
) -> None:
    watch = Watch()
    watched, alone = simulate(load(small_scenario), observer=watch), run_small()
    seen = np.array(watch.seen)

    assert watch.total == 200
    assert watch.ended
    assert len(seen) > 1
    assert (np.diff(seen, axis=0) >= 0).all()
    assert seen[-1, 1] == 200
    assert seen[-1, 2] == watched.summary["total_output_tokens"]
    np.testing.assert_array_equal(watched.requests["finish_s"], alone.requests["finish_s"])


def test_the_api_takes_a_path_a_mapping_and_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "model: llama-3.1-8b\n"
        "plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}\n"
        "workload: {synthetic: {requests: 5, preset: azure-conv-2023}}\n"
    )

    assert (
        simulate(path).run_id
        == simulate(str(path)).run_id
        == simulate(load(path)).run_id
        == simulate(load(path).model_dump(exclude_none=True)).run_id
    )
