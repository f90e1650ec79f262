"""``replay_trace``, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load, replay_trace
from cluster.commands.app import main
from cluster.perf_model.prices import price_tables, steady_decode
from cluster.replay.run import ProgramTooLongError
from cluster.serving.run import lay_out
from results import open_run
from workloads.program import program_of
from workloads.program.file import write_program

MIB = 1 << 20
GB = 1 << 30
DECODE = {"phase": "decode", "batch": 4, "context": 1024, "steps": 3, "slots": 1, "growing": False}
PREFILL = {"phase": "prefill", "batch": 1, "prompt_tokens": 9000}
ON_ONE_SERVER: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"program": DECODE},
}


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """Eight ranks on a ring: 50 GB/s and 500 ns a link."""
    path = tmp_path / "ring.yml"
    path.write_text(
        "topology: [Ring]\nnpus_count: [8]\nbandwidth: [50.0]\nlatency: [500.0]\n", "utf-8"
    )
    return path


def written(folder: Path, **columns: Any) -> str:
    """A program file of all-reduces over ranks 0 to 7, unless other columns are given."""
    made: dict[str, Any] = {
        "rank": list(range(8)),
        "kind": ["collective"] * 8,
        "stream": [1] * 8,
        "collective": ["all_reduce"] * 8,
        "group": [0] * 8,
        "payload_bytes": [MIB] * 8,
        "phase": ["decode"] * 8,
    }
    path = folder / "program.parquet"
    write_program(path, program_of(made | columns, [range(8)]))
    return str(path)


def on_ring(ring: Path, **more: Any) -> dict[str, Any]:
    program = written(ring.parent, **more.pop("columns", {}))
    return {"network": str(ring), "workload": {"program": program}, **more}


def test_a_ring_all_reduce_takes_its_alpha_beta_time(ring: Path) -> None:
    run = replay_trace(on_ring(ring, collectives={"all_reduce": "ring"}))
    step_ps = 500_000 + MIB / 8 / (50 * GB) * 1e12

    assert run.outcome.replayed.makespan_ps == pytest.approx(14 * step_ps, abs=14)
    assert run.outcome.replayed.load_bytes.sum(axis=0)[::2].tolist() == [14 * MIB // 8] * 8
    assert run.waits == {"0>1": 1.0}


def test_single_messages_take_as_long_as_rounds_without_contention(
    ring: Path,
) -> None:
    runs = [
        replay_trace(on_ring(ring, collectives={"all_reduce": "ring"}, fabric={"collectives": how}))
        for how in ("coflow", "messages")
    ]

    assert runs[0].outcome.replayed.makespan_ps == runs[1].outcome.replayed.makespan_ps
    assert runs[0].run_id != runs[1].run_id


def test_work_on_bare_endpoints_takes_the_longer_of_flop_and_bytes(ring: Path) -> None:
    columns = {
        "kind": ["matmul"] * 8,
        "stream": [0] * 8,
        "collective": [""] * 8,
        "group": [-1] * 8,
        "payload_bytes": [0] * 8,
        "flop": [4_000_000] * 8,
        "read_bytes": [1000] * 8,
    }
    endpoint = {"flop_per_s": 1e12, "bytes_per_s": 1e9}
    run = replay_trace(on_ring(ring, columns=columns, endpoint=endpoint))

    assert run.outcome.replayed.makespan_ps == 4_000_000
    assert run.summary["critical_share"]["mac"] == 1.0


@pytest.mark.parametrize(
    ("model", "plan"),
    [
        ("llama-3.1-8b", (4, 2, 1)),
        ("llama-3.1-8b", (2, 4, 1)),
        ("llama-3.1-8b", (1, 8, 1)),
        ("qwen3-30b-a3b", (4, 2, 4)),
        ("gpt-oss-20b", (4, 2, 2)),
    ],
)
def test_one_slot_in_flight_takes_the_loop_of_the_serving_prices(
    model: str, plan: tuple[int, int, int]
) -> None:
    names = ("tensor_parallel_size", "pipeline_parallel_size", "expert_parallel_size")
    mode = "performance" if model == "llama-3.1-8b" else "capacity"
    run = replay_trace(
        {
            **ON_ONE_SERVER,
            "model": model,
            "memory": {"mode": mode},
            "plan": dict(zip(names, plan, strict=True)),
        }
    )
    planned = run.resolved.planned
    assert planned is not None
    prices = price_tables(lay_out(planned).inputs)
    alone = steady_decode(prices, batch=4 * plan[1], context=1024)

    assert np.diff(run.measures.step_end_ps, prepend=0).tolist() == [alone.loop_ps] * 3


def test_a_full_pipeline_steps_in_the_cycle_of_the_serving_prices() -> None:
    program = {**DECODE, "batch": 8, "slots": 2, "steps": 5}
    run = replay_trace({**ON_ONE_SERVER, "workload": {"program": program}})
    planned = run.resolved.planned
    assert planned is not None
    cycle = steady_decode(price_tables(lay_out(planned).inputs), batch=8, context=1024).cycle_ps

    assert np.diff(run.measures.step_end_ps)[2:].tolist() == [cycle] * 2


def test_the_parts_of_a_run_add_up() -> None:
    program = {**DECODE, "batch": 5, "slots": 2}
    run = replay_trace({**ON_ONE_SERVER, "workload": {"program": program}})
    makespan = run.outcome.replayed.makespan_ps
    usage = run.measures.usage

    assert int(run.measures.causes.elapsed_ps.sum()) == makespan
    assert sum(run.summary["critical_share"].values()) == pytest.approx(1.0)
    joined = usage.compute_ps + usage.communication_ps - usage.overlap_ps + usage.idle_ps
    assert set(joined.tolist()) == {makespan}
    assert (usage.idle_ps >= 0).all()
    assert float(np.sum(run.steps["step_s"])) == pytest.approx(makespan / 1e12)
    assert np.mean(run.stage_bubbles) == pytest.approx(run.summary["bubble_share"])


def test_a_run_leaves_its_operations_in_card_order(tmp_path: Path) -> None:
    run = replay_trace(ON_ONE_SERVER, out=tmp_path)
    opened = open_run(tmp_path, run.run_id)
    cards = opened.ops["card"].to_numpy()

    assert set(cards) == set(range(8))
    assert (np.diff(cards) >= 0).all()
    assert opened.ops.num_rows == run.summary["operations"]
    assert max(opened.ops["end_s"].to_pylist()) == run.summary["makespan_s"]
    assert opened.summary["critical_share"] == run.summary["critical_share"]
    assert sum(opened.links["bytes"].to_pylist()) == run.outcome.replayed.load_bytes.sum()


def test_the_same_scenario_leaves_the_same_bytes(tmp_path: Path) -> None:
    folders = [replay_trace(ON_ONE_SERVER, out=tmp_path / name).run_dir for name in "ab"]
    assert folders[0] is not None
    assert folders[1] is not None
    names = sorted(path.name for path in folders[0].glob("*.parquet"))

    assert "ops.parquet" in names
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_two_replicas_that_share_a_leaf_are_slower_than_one() -> None:
    """Prompts cross servers inside a tensor group, and the NICs are shared."""
    runs = [
        replay_trace(
            {
                "model": "llama-3.1-8b",
                "memory": {"mode": "performance"},
                "cluster": {"servers_per_rack": 8, "cards_per_server": 2},
                "plan": {
                    "tensor_parallel_size": 4,
                    "pipeline_parallel_size": 2,
                    "replicas": replicas,
                },
                "fabric": {"contention": contention},
                "workload": {
                    "program": {
                        "phase": "prefill",
                        "batch": 4,
                        "prompt_tokens": 256,
                        "chunk_tokens": 128,
                    }
                },
            }
        )
        for replicas, contention in ((1, True), (2, True), (2, False))
    ]
    one, two, free = (run.outcome.replayed.makespan_ps for run in runs)

    assert one < two
    assert free < two
    assert runs[1].summary["critical_share"]["contention"] > 0
    assert runs[2].summary["critical_share"]["contention"] == 0


def said(code: int, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*words, "--json"]) == code
    return str(json.loads(capsys.readouterr().out)["error"])


def scenario_file(folder: Path, scenario: dict[str, Any]) -> str:
    path = folder / "s.yaml"
    path.write_text(json.dumps(scenario), "utf-8")  # JSON is YAML
    return str(path)


def test_the_command_says_what_it_did(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scenario_file(tmp_path, on_ring(ring))
    code = main(["replay", path, "--out", str(tmp_path / "runs"), "--json"])
    answer = json.loads(capsys.readouterr().out)

    assert code == 0
    assert answer["operations"] == 8
    assert answer["makespan_s"] > 0
    assert Path(answer["run_dir"]).is_dir()
    assert main(["replay", path, "--out", str(tmp_path / "runs")]) == 0
    assert "critical path: " in capsys.readouterr().out


def test_a_replay_becomes_a_trace_with_a_process_per_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = {"racks": 1, "servers_per_rack": 2, "cards_per_server": 4}
    run = replay_trace({**ON_ONE_SERVER, "cluster": two}, out=tmp_path)
    out = tmp_path / "trace.json"
    code = main(["timeline", str(run.run_dir), "--out", str(out), "--json"])
    found = json.loads(out.read_text())["traceEvents"]
    slices = [event for event in found if event["ph"] == "X"]

    assert (code, json.loads(capsys.readouterr().out)["events"]) == (0, len(found))
    assert {event["pid"] for event in slices} == {0, 1}
    assert len(slices) == run.summary["operations"]
    assert max(event["ts"] + event["dur"] for event in slices) == pytest.approx(
        run.summary["makespan_s"] * 1e6
    )


def test_operations_that_wait_for_each_other_are_explained(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nine = {
        "rank": [*range(8), 0],
        "kind": ["collective"] * 8 + ["vector"],
        "stream": [1] * 9,
        "collective": ["all_reduce"] * 8 + [""],
        "group": [0] * 8 + [-1],
        "payload_bytes": [MIB] * 8 + [0],
        "phase": ["decode"] * 9,
        "deps": [[8], *[[]] * 8],
    }
    path = scenario_file(tmp_path, on_ring(ring, columns=nine))
    error = said(2, ["replay", path, "--out", str(tmp_path / "runs")], capsys)

    assert "deadlock" in error
    assert "rank 0" in error
    assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.parametrize(
    ("command", "scenario", "code", "words"),
    [
        ("serve", ON_ONE_SERVER, 2, "use corsair-sim replay"),
        ("replay", {"model": "llama-3.1-8b", "workload": {"trace": "t"}}, 2, "corsair-sim serve"),
        (
            "replay",
            {**ON_ONE_SERVER, "workload": {"program": {**DECODE, "context": 200_000}}},
            3,
            "sequences grow to 200,000 tokens; llama-3.1-8b takes 131,072",
        ),
        (
            "replay",
            {**ON_ONE_SERVER, "workload": {"program": {**DECODE, "batch": 513, "context": 10}}},
            2,
            "a slot has 513 tokens in one step, scheduler.max_num_batched_tokens is 512",
        ),
        (
            "replay",
            {**ON_ONE_SERVER, "workload": {"program": {**DECODE, "batch": 400, "context": 9000}}},
            3,
            "KV blocks of 64 tokens, a replica has",
        ),
        (
            "replay",
            {**ON_ONE_SERVER, "workload": {"program": {**PREFILL, "prompt_tokens": 140_000}}},
            3,
            "sequences grow to 140,000 tokens; llama-3.1-8b takes 131,072",
        ),
        (
            "replay",
            {**ON_ONE_SERVER, "workload": {"program": {**PREFILL, "batch": 400}}},
            3,
            "the sequences need 56,400 KV blocks of 64 tokens",  # 141 for each 9,000 tokens
        ),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    scenario: dict[str, Any],
    code: int,
    words: str,
) -> None:
    path = scenario_file(tmp_path, scenario)

    assert words in said(code, [command, path, "--out", str(tmp_path / "runs")], capsys)


def test_more_ranks_than_the_network_has_are_refused(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.yml"
    small.write_text(
        "topology: [Switch]\nnpus_count: [4]\nbandwidth: [50.0]\nlatency: [500.0]\n", "utf-8"
    )
    path = scenario_file(tmp_path, {**on_ring(ring), "network": str(small)})

    assert "8 ranks and small only 4" in said(3, ["replay", path], capsys)


def test_a_program_that_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.replay.run.MOST_OPERATIONS", 7000)

    with pytest.raises(ProgramTooLongError, match=r"7,056 operations; at most 7,000 are replayed"):
        replay_trace(ON_ONE_SERVER)


def test_two_scenarios_that_differ_in_what_runs_are_two_runs() -> None:
    one = load(ON_ONE_SERVER)
    ids = [
        replay_trace(load(ON_ONE_SERVER, **more)).run_id
        for more in (
            {},
            {"name": "other", "workload": {"program": {**DECODE, "growing": False}}},
            {"fabric": {"contention": False}},
            {"workload": {"program": {**DECODE, "growing": True}}},
        )
    ]

    assert one.workload.is_replayed
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
