"""Chakra traces as operation programs, and programs as traces."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.chakra.columns import HOST, NOT_RECORDED, ChakraError, ChakraTrace
from workloads.chakra.from_program import from_program
from workloads.chakra.program import Endpoint, to_program
from workloads.chakra.read import read_chakra
from workloads.chakra.write import write_chakra
from workloads.program import Program, program_of

_FILLED: Mapping[str, tuple[type, int]] = {
    "rank": (np.int32, 0), "type": (np.int32, 4), "name": (np.int32, 0), "on_cpu": (np.bool_, 0),
    "stream": (np.int32, 0), "duration_ps": (np.int64, -1), "flop": (np.int64, -1),
    "memory_bytes": (np.int64, -1), "comm_bytes": (np.int64, -1), "collective": (np.int32, -1),
    "group": (np.int32, -1), "peer": (np.int32, -1), "tag": (np.int64, 0),
}  # fmt: skip


def trace(rows: int, *, ranks: int = 2, **columns: Any) -> ChakraTrace:
    """A trace of ``rows`` nodes of which only some columns matter."""
    filled: dict[str, Any] = {
        name: np.array(columns.pop(name), kind) if name in columns else np.full(rows, value, kind)
        for name, (kind, value) in _FILLED.items()
    }
    empty: dict[str, Any] = {
        "node": np.arange(rows),
        "names": ("",),
        "groups": (),
        "group_names": (),
        "dep_offsets": np.zeros(rows + 1, np.int64),
        "deps": np.zeros(0, np.int64),
        "dep_is_control": np.zeros(0, np.bool_),
    }
    return ChakraTrace(ranks=ranks, **filled, **{**empty, **columns})


def assert_same(one: Program, other: Program) -> None:
    assert one.groups == other.groups
    for item in fields(one.operations):
        mine, theirs = getattr(one.operations, item.name), getattr(other.operations, item.name)
        np.testing.assert_array_equal(mine, theirs, err_msg=item.name)


def test_work_takes_its_recorded_time_else_its_sizes_through_the_endpoint() -> None:
    given_trace = trace(
        4, duration_ps=[7, -1, -1, -1], flop=[10, 2000, 5, -1], memory_bytes=[10, 30, 50, -1]
    )
    program = to_program(given_trace, Endpoint(flop_per_s=1e12, bytes_per_s=1e10))

    # 2000 / 1e12 s = 2000 ps against 30 / 1e10 s = 3000 ps; 50 bytes take 5000 ps
    assert program.operations.duration_ps.tolist() == [7, 3000, 5000, 0]


def test_work_with_sizes_and_no_endpoint_is_refused() -> None:
    with pytest.raises(ChakraError, match=r"rank 0, node 1 .* has 5 operations and 0 bytes but no"):
        to_program(trace(2, flop=[-1, 5]))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_endpoint_needs_rates(rate: float) -> None:
    with pytest.raises(ChakraError, match=r"endpoint\.bytes_per_s must be positive"):
        Endpoint(flop_per_s=1.0, bytes_per_s=rate)


def test_the_payload_of_an_all_gather_is_the_whole_vector() -> None:
    program = to_program(
        trace(
            4,
            rank=[0, 0, 1, 1],
            type=[7] * 4,
            collective=[2, 0, 2, 0],
            group=[0] * 4,
            comm_bytes=[8] * 4,
            duration_ps=[5] * 4,
            groups=((0, 1),),
            group_names=("",),
        )
    )

    assert program.operations.payload_bytes.tolist() == [16, 8, 16, 8]
    assert [program.word("collective", code) for code in program.operations.collective[:2]] == [
        "all_gather",
        "all_reduce",
    ]
    assert program.operations.duration_ps.tolist() == [NOT_RECORDED] * 4
    assert program.groups == ((0, 1),)


def test_a_collective_of_one_rank_takes_its_recorded_time() -> None:
    program = to_program(
        trace(
            1, ranks=1, type=[7], collective=[0], group=[0], comm_bytes=[8], duration_ps=[5],
            groups=((0,),), group_names=("",),
        )
    )  # fmt: skip

    assert program.operations.duration_ps.tolist() == [5]
    assert program.word("kind", program.operations.kind[0]) == "vector"
    assert program.operations.payload_bytes.tolist() == [0]


def test_a_collective_that_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(ChakraError, match="node 0: a gather cannot be replayed; known are all_red"):
        to_program(
            trace(
                2, rank=[0, 1], type=[7, 7], collective=[3, 3], group=[0, 0], comm_bytes=[8, 8],
                groups=((0, 1),), group_names=("",),
            )
        )  # fmt: skip


def test_messages_and_memory_keep_their_sizes() -> None:
    program = to_program(
        trace(
            4, rank=[0, 0, 0, 1], type=[2, 3, 5, 6], memory_bytes=[11, 13, -1, -1],
            comm_bytes=[-1, -1, 17, 17], peer=[-1, -1, 1, 0], tag=[0, 0, 4, 4],
            duration_ps=[1, 1, -1, -1],
        )
    )  # fmt: skip
    own = program.operations

    assert [program.word("kind", code) for code in own.kind] == ["load", "store", "send", "recv"]
    assert own.read_bytes.tolist() == [11, 0, 0, 0]
    assert own.write_bytes.tolist() == [0, 13, 0, 0]
    assert own.payload_bytes.tolist() == [0, 0, 17, 17]
    assert own.peer.tolist() == [-1, -1, 1, 0]
    assert own.tag.tolist() == [0, 0, 4, 4]


def small_program() -> Program:
    """Two ranks: work, an all-gather that a later row feeds, a message."""
    return program_of(
        {
            "rank": [0, 1, 0, 1, 0, 1, 0],
            "stream": [1, 1, 0, 0, 3, 4, 6],
            "kind": ["collective", "collective", "matmul", "matmul", "send", "recv", "vector"],
            "name": ["gather", "gather", "up", "up", "next", "next", "side"],
            "flop": [0, 0, 100, 100, 0, 0, 1],
            "payload_bytes": [64, 64, 0, 0, 9, 9, 0],
            "collective": ["all_gather", "all_gather", "", "", "", "", ""],
            "group": [1, 1, -1, -1, -1, -1, -1],
            "peer": [-1, -1, -1, -1, 1, 0, -1],
            "tag": [0, 0, 0, 0, 3, 3, 0],
            "duration_ps": [-1, -1, 1_234_567, 1_000_000, -1, -1, 0],
            "deps": [[2], [3], [], [], [0], [], []],
        },
        groups=((0,), (1, 0)),
    )


def test_a_program_written_and_read_again_is_the_same_program(tmp_path: Path) -> None:
    made = from_program(small_program())
    again = read_chakra(write_chakra(made, tmp_path / "out"))

    assert again == made
    assert made.groups == ((1, 0),)
    assert made.comm_bytes.max() == 32  # of the all-gather's 64 bytes each rank gives a half
    assert_same(to_program(again), to_program(made))
    second = from_program(to_program(again))
    assert second == made


def test_rows_of_a_stream_keep_their_order_where_one_waits_for_a_later_row() -> None:
    program = program_of(
        {"rank": [0, 0, 0], "stream": [0, 0, 1], "kind": ["vector"] * 3, "deps": [[2], [], []]}
    )
    made = from_program(program, duration_ps=np.array([5, 6, 7]))

    assert made.duration_ps.tolist() == [7, 5, 6]
    assert made.stream.tolist() == [1, 0, 0]


def test_repeats_are_written_out() -> None:
    program = program_of({"rank": [0, 0], "kind": ["vector"] * 2, "deps": [[-1], [0]]}, repeats=3)
    made = from_program(program)

    assert len(made) == 6
    assert made.deps.tolist() == [0, 1, 2, 3, 4]


def test_what_a_trace_cannot_say_is_refused() -> None:
    both = {"rank": [0, 1], "kind": ["vector"] * 2}
    with pytest.raises(ChakraError, match="operation 1 of rank 1 waits for operation 0 of rank 0"):
        from_program(program_of({**both, "deps": [[], [0]]}))
    circle = {"rank": [0, 0], "kind": ["vector"] * 2, "deps": [[1], [0]]}
    with pytest.raises(ChakraError, match="is part of a dependency cycle"):
        from_program(program_of(circle))
    uneven = {
        "rank": [0, 1],
        "kind": ["collective"] * 2,
        "collective": ["all_gather"] * 2,
        "group": [0, 0],
        "payload_bytes": [7, 7],
    }
    with pytest.raises(ChakraError, match="an all-gather of 7 bytes over 2 ranks has uneven parts"):
        from_program(program_of(uneven, groups=((0, 1),)))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Work of one to three ranks with dependencies on earlier rows of the same rank."""
    rows = draw(st.integers(1, 12))
    rank = [0, *(draw(st.integers(0, 2)) for _ in range(rows - 1))]
    used = sorted(set(rank))
    rank = [used.index(each) for each in rank]
    return program_of(
        {
            "rank": rank,
            "stream": [draw(st.integers(0, 6)) for _ in rank],
            "kind": [draw(st.sampled_from(["vector", "load", "store"])) for _ in rank],
            "name": [draw(st.sampled_from(["a", "b", "\u00e9", ""])) for _ in rank],
            "flop": [draw(st.integers(0, 2**62)) for _ in rank],
            "duration_ps": [draw(st.integers(0, 2**62)) for _ in rank],
            "deps": [
                [place for place in range(row) if rank[place] == mine and draw(st.booleans())]
                for row, mine in enumerate(rank)
            ],
        }
    )


@settings(max_examples=40, deadline=None)
@given(program=programs())
def test_any_work_survives_a_folder(
    program: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = from_program(program)
    again = read_chakra(write_chakra(made, tmp_path_factory.mktemp("any") / "out"))

    assert again == made
    assert from_program(to_program(again)) == made


def test_the_host_has_a_stream_of_its_own() -> None:
    program = to_program(trace(1, on_cpu=[True], stream=[HOST], duration_ps=[3]))

    assert program.operations.stream.tolist() == [5]
