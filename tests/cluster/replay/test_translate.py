"""Programs, their prices and their calls become what the engine replays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import ReplayRun, load, replay_trace
from cluster.replay.interface import Kind, ReplayError
from cluster.replay.loop_unroll import written_out
from cluster.replay.op_durations import RECORDED, bare_work
from cluster.replay.run import assemble_replay
from cluster.replay.translate import operations_of
from cluster.scenario.resolve import resolve
from workloads.chakra.program import Endpoint
from workloads.program import program_of
from workloads.program.file import write_program

MIB = 1 << 20
BYTE_PS = 1e12 / (50 * (1 << 30))
DECODE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"program": {"phase": "decode", "batch": 6, "context": 100, "steps": 4}},
}


def network(folder: Path, text: str) -> str:
    path = folder / "network.yml"
    path.write_text(text, "utf-8")
    return str(path)


def one_message(folder: Path, **fabric: str) -> ReplayRun:
    """A megabyte from rank 0 to rank 2 through a switch."""
    columns = {
        "rank": [0, 1, 2, 3],
        "kind": ["send", "vector", "recv", "vector"],
        "stream": [3, 0, 4, 0],
        "peer": [2, -1, 0, -1],
        "payload_bytes": [MIB, 0, MIB, 0],
        "phase": ["decode"] * 4,
    }
    write_program(folder / "p.parquet", program_of(columns))
    four = "topology: [Switch]\nnpus_count: [4]\nbandwidth: [50.0]\nlatency: [500.0]\n"
    return replay_trace(
        {
            "network": network(folder, four),
            "fabric": fabric,
            "workload": {"program": str(folder / "p.parquet")},
        }
    )


def test_repeats_are_written_out_as_the_program_itself_would() -> None:
    machine = assemble_replay(resolve(load(DECODE), wanted="operations"))
    whole = machine.program.block(0, 4)
    template = operations_of(machine.program, machine.work, machine.calls)
    made = written_out(template)

    assert machine.program.repeats == template.repeats == 4
    np.testing.assert_array_equal(made.rank, whole.rank)
    np.testing.assert_array_equal(made.stream, whole.stream)
    np.testing.assert_array_equal(made.dep_offsets, whole.dep_offsets)
    np.testing.assert_array_equal(made.deps, whole.deps)
    assert (made.passive == (made.kind == Kind.RECV)).all()


def test_a_program_from_a_file_runs_as_the_one_that_was_written(tmp_path: Path) -> None:
    generated = replay_trace(DECODE)
    write_program(tmp_path / "p.parquet", generated.machine.program)
    read = replay_trace({**DECODE, "workload": {"program": str(tmp_path / "p.parquet")}})

    assert read.run_id != generated.run_id
    for name in ("start_ps", "end_ps", "load_bytes"):
        mine, theirs = (getattr(run.outcome.replayed, name) for run in (generated, read))
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert read.resolved.inputs[-1]["name"] == "p.parquet"


def test_cut_through_pays_the_links_once_and_store_and_forward_each(tmp_path: Path) -> None:
    cut = one_message(tmp_path)
    stored = one_message(tmp_path, forwarding="store_and_forward")

    assert cut.outcome.replayed.makespan_ps == 2 * 500_000 + round(MIB * BYTE_PS)
    assert stored.outcome.replayed.makespan_ps == 2 * (500_000 + round(MIB * BYTE_PS))
    assert set(cut.waits) == {"0>sw0.0", "sw0.0"}


def test_an_all_reduce_over_two_dimensions_goes_dimension_by_dimension(tmp_path: Path) -> None:
    """Reduce-scatter on rings of 4, then pairs; all-gather back: 3 + 1 + 1 + 3 rounds."""
    columns = {
        "rank": list(range(8)),
        "kind": ["collective"] * 8,
        "stream": [1] * 8,
        "collective": ["all_reduce"] * 8,
        "group": [0] * 8,
        "payload_bytes": [MIB] * 8,
        "phase": ["decode"] * 8,
    }
    write_program(tmp_path / "p.parquet", program_of(columns, [range(8)]))
    run = replay_trace(
        {
            "network": network(
                tmp_path,
                "topology: [Ring, FullyConnected]\nnpus_count: [4, 2]\nbandwidth: [50.0, 25.0]\n"
                "latency: [500.0, 1000.0]\n",
            ),
            "collectives": {"all_reduce": "hierarchical"},
            "workload": {"program": str(tmp_path / "p.parquet")},
        }
    )
    ring_ps = 500_000 + MIB / 4 * BYTE_PS
    pair_ps = 1_000_000 + MIB / 8 * 2 * BYTE_PS

    assert run.outcome.replayed.makespan_ps == pytest.approx(6 * ring_ps + 2 * pair_ps, abs=8)


def test_steps_take_at_least_as_long_as_the_chunked_coflow() -> None:
    coflow, steps = (
        replay_trace({**DECODE, "fabric": {"collectives": how}}).outcome.replayed.makespan_ps
        for how in ("coflow", "steps")
    )

    assert coflow <= steps < 2 * coflow


def test_bare_work_is_recorded_priced_or_refused() -> None:
    program = program_of(
        {
            "rank": [0, 0, 0],
            "kind": ["matmul", "load", "vector"],
            "flop": [4000, 0, 7],
            "read_bytes": [1000, 3000, 0],
            "duration_ps": [-1, -1, 5],
        }
    )
    work = bare_work(program, Endpoint(flop_per_s=1e12, bytes_per_s=1e12))

    assert work.duration_ps.tolist() == [4000, 3000, 5]
    assert work.bound.tolist() == [1, 0, RECORDED]
    with pytest.raises(ReplayError, match=r"operation 0 \(rank 0, ''\) has 4000 flop"):
        bare_work(program, None)
