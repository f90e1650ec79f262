"""The published Chakra files themselves, where they lie beside the project."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from workloads.chakra.from_program import from_program
from workloads.chakra.program import to_program
from workloads.chakra.read import read_chakra
from workloads.chakra.write import write_chakra

CHAKRA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "chakra"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not CHAKRA.is_dir(), reason="the published Chakra files are not here"),
]


def unpacked(name: str, member: str, folder: Path) -> Path:
    with tarfile.open(CHAKRA / "chakra-tests" / name) as archive:
        archive.extract(member, folder, filter="data")
    return (folder / member).parent


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "all_to_all", "reduce_scatter"])
def test_the_microbenchmarks_are_one_collective_of_a_megabyte_on_eight_ranks(
    name: str, tmp_path: Path
) -> None:
    trace = read_chakra(CHAKRA / "astra-sim" / "microbenchmarks" / name / "8npus_1MB")
    program = to_program(trace)
    factor = 8 if name == "all_gather" else 1

    assert trace.node.tolist() == list(range(8))
    assert trace.notes.lines() == ()
    assert program.groups == (tuple(range(8)),)
    assert {program.word("collective", code) for code in program.operations.collective} == {name}
    assert set(program.operations.payload_bytes) == {factor * (1 << 20)}
    assert read_chakra(write_chakra(trace, tmp_path / "out")) == trace


def test_the_ring_sends_seven_eighths_twice(tmp_path: Path) -> None:
    trace = read_chakra(CHAKRA / "astra-sim" / "custom_ring_allreduce_8npus_1MB")
    program = to_program(trace)
    own = program.operations
    sends = np.flatnonzero(own.kind == 5)

    assert len(trace) == 280
    assert {program.word("kind", 5), program.word("kind", 6)} == {"send", "recv"}
    assert len(sends) == 8 * 14
    assert own.payload_bytes[own.rank == 3][own.kind[own.rank == 3] == 5].sum() == (
        2 * 7 * (1 << 20) // 8
    )
    assert (own.peer[sends] == (own.rank[sends] + 1) % 8).all()
    assert own.duration_ps.max() == 7_000_000
    assert trace.notes.unused_attributes == {"input_file": 8, "collective": 8}
    assert read_chakra(write_chakra(trace, tmp_path / "out")) == trace


def test_the_pytorch_trace_reads_whole_and_says_what_it_left_out(tmp_path: Path) -> None:
    folder = unpacked("feeder_tests_trace.tar.gz", "tests/data/chakra.0.et", tmp_path)
    trace = read_chakra(folder)

    assert len(trace) == 3_664
    assert np.bincount(trace.type).tolist() == [0, 0, 0, 0, 3_643, 0, 0, 21]
    assert len(trace.deps) == 181_878
    assert (trace.deps < np.repeat(np.arange(3_664), np.diff(trace.dep_offsets))).all()
    assert (trace.collective >= 0).sum() == 7
    assert trace.comm_bytes.max() == 31_502_336
    assert trace.notes.launches == 14
    assert trace.notes.control_left_out == 3_664
    assert trace.notes.control_reason.startswith("1277 ")
    assert trace.notes.unused_attributes["op_schema"] == 2_448
    assert (to_program(trace).operations.duration_ps >= 0).all()


def test_the_pytorch_trace_is_the_same_program_after_a_round_trip(tmp_path: Path) -> None:
    folder = unpacked("feeder_tests_trace.tar.gz", "tests/data/chakra.0.et", tmp_path)
    program = to_program(read_chakra(folder, copies=2))
    made = from_program(program)
    again = read_chakra(write_chakra(made, tmp_path / "out"))

    assert again == made
    for name in ("rank", "stream", "kind", "duration_ps", "payload_bytes", "group", "deps"):
        mine, theirs = (getattr(each.operations, name) for each in (program, to_program(again)))
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_the_json_form_of_the_pytorch_trace_has_its_nodes_and_times(tmp_path: Path) -> None:
    folder = unpacked("json_trace.tar.gz", "jsonData/chakra.0.json", tmp_path)
    trace = read_chakra(folder)
    binary = read_chakra(
        unpacked("feeder_tests_trace.tar.gz", "tests/data/chakra.0.et", tmp_path / "et")
    )

    assert trace.node.tolist() == binary.node.tolist()
    assert trace.duration_ps.tolist() == binary.duration_ps.tolist()
    np.testing.assert_array_equal(trace.deps, binary.deps)
    assert trace.notes.unsized == 7
