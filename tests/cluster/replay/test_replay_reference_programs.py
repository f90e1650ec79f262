"""Small programs that can be followed with a pencil, asserted for both engines.

Links carry one byte a picosecond, so a message of 100 bytes takes 100 ps without contention.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from cluster.perf_model.collectives import Transfers
from cluster.replay.engine import replay
from cluster.replay.interface import Kind, Operations, Replayed
from cluster.replay.reference import replay_reference

Engine: TypeAlias = Callable[..., Replayed]
Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]
Row: TypeAlias = dict[str, Any]

both_engines = pytest.mark.parametrize("engine", [replay_reference, replay])


def work(rank: int, duration_ps: int, **more: Any) -> Row:
    return {"rank": rank, "duration_ps": duration_ps, **more}


def send(rank: int, peer: int, transfer: int = -1, **more: Any) -> Row:
    """On the network stream by default."""
    common = {"kind": Kind.SEND, "stream": 1, "peer": peer, "transfer": transfer}
    return {"rank": rank, **common, **more}


def receive(rank: int, peer: int, **more: Any) -> Row:
    return {"rank": rank, "kind": Kind.RECV, "stream": 1, "peer": peer, **more}


def collective(rank: int, group: int, transfer: int = -1, **more: Any) -> Row:
    common = {"kind": Kind.COLLECTIVE, "stream": 1, "group": group, "transfer": transfer}
    return {"rank": rank, **common, **more}


@both_engines
def test_streams_run_side_by_side_and_rows_wait_for_what_they_depend_on(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Rows 0 and 1 share a stream; row 2 runs beside them; row 3 waits for 1 and 2; row 0 of
    # rank 1 waits for a row that stands after it.
    rows = [
        work(0, 10),
        work(0, 5),
        work(0, 30, stream=2),
        work(1, 1, deps=[4]),
        work(0, 4, stream=1, deps=[1, 2, 2]),
    ]

    replayed = engine(program(rows), wires())

    assert replayed.start_ps.tolist() == [0, 10, 0, 34, 30]
    assert replayed.end_ps.tolist() == [10, 15, 30, 35, 34]
    assert replayed.matched_call.tolist() == [-1] * 5
    assert replayed.makespan_ps == 35


@both_engines
def test_a_collective_begins_with_its_last_rank_and_ends_for_all_at_once(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    rows = [
        *(work(rank, 10 * rank) for rank in range(3)),
        *(collective(rank, 0, 0, duration_ps=1, deps=[rank]) for rank in range(3)),
        *(collective(rank, 0, -1, stream=2, deps=[3 + rank]) for rank in (0, 1, 2)),
    ]

    replayed = engine(program(rows, [(0, 1, 2)]), wires({"size_bytes": 50, "latency_ps": 5}))

    assert replayed.start_ps[3:6].tolist() == [0, 10, 20]
    assert replayed.begin_ps.tolist() == [21, 76]  # the second call: nothing to move
    assert replayed.finish_ps.tolist() == [76, 76]
    assert replayed.end_ps[3:].tolist() == [76] * 6
    assert replayed.matched_call.tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1]


@both_engines
def test_calls_match_in_row_order_not_in_time_order(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Rank 0 makes its first call of tag 0 late, on stream 2; its second is there at once. Another
    # tag is another matter.
    rows = [
        collective(0, 0, 0, stream=2, duration_ps=100),
        collective(0, 0, 1, stream=3),
        collective(0, 0, stream=4, tag=9),
        collective(1, 0, 0, stream=2),
        collective(1, 0, 1, stream=3),
        collective(1, 0, stream=4, tag=9),
    ]

    replayed = engine(program(rows, [(0, 1)]), wires({"size_bytes": 10}, {"size_bytes": 20}))

    assert replayed.matched_call.tolist() == [0, 1, 2, 0, 1, 2]
    assert replayed.end_ps.tolist() == [110, 20, 0, 110, 20, 0]


@both_engines
def test_a_send_waits_for_an_active_receiver_and_not_for_a_passive_one(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    def run(*, passive: int, ready_ps: int) -> list[int]:
        rows = [send(0, 1, 0), receive(1, 0, passive=passive, duration_ps=ready_ps)]
        ends: list[int] = engine(program(rows), wires({"size_bytes": 30})).end_ps.tolist()
        return ends

    assert run(passive=0, ready_ps=100) == [130, 130]
    assert run(passive=1, ready_ps=100) == [30, 100]
    assert run(passive=1, ready_ps=10) == [30, 30]


@both_engines
def test_a_rank_can_send_to_itself(engine: Engine, program: Program, wires: TransferModel) -> None:
    rows = [send(0, 0, 0), receive(0, 0, stream=2), send(0, 0, 0), receive(0, 0, stream=2)]

    replayed = engine(program(rows), wires({"size_bytes": 30}))

    assert replayed.matched_call.tolist() == [0, 0, 1, 1]
    assert replayed.end_ps.tolist() == [30, 30, 60, 60]


@both_engines
def test_a_transfer_on_the_network_stream_hides_behind_compute(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # The product of 100 runs beside the all-reduce of 80 of the layer before; whoever needs its
    # sum waits for both. On one stream the two would take 180.
    rows = [
        *(collective(rank, 0, 0) for rank in (0, 1)),
        *(work(rank, 100) for rank in (0, 1)),
        *(work(rank, 10, deps=[rank]) for rank in (0, 1)),
    ]
    in_turn = [{**row, "stream": 0} for row in rows]
    legs = wires({"size_bytes": 80})

    assert engine(program(rows, [(0, 1)]), legs).makespan_ps == 110
    assert engine(program(in_turn, [(0, 1)]), legs).makespan_ps == 190


@both_engines
def test_a_pipeline_of_two_stages_with_three_microbatches(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Stage 0 works 10 on each microbatch and sends it (3 + 5); stage 1 works 20.
    #
    #   microbatch   stage 0    on the wire    stage 1
    #            0    0 - 10     10 - 18       18 - 38
    #            1   10 - 20     20 - 28       38 - 58
    #            2   20 - 30     30 - 38       58 - 78
    rows: list[Row] = []
    for _ in range(3):
        at = len(rows)
        rows += [
            work(0, 10),
            send(0, 1, 0, deps=[at]),
            receive(1, 0),
            work(1, 20, deps=[at + 2]),
        ]

    replayed = engine(program(rows), wires({"size_bytes": 5, "latency_ps": 3}))

    assert replayed.end_ps[0::4].tolist() == [10, 20, 30]
    assert replayed.begin_ps.tolist() == [10, 20, 30]
    assert replayed.end_ps[1::4].tolist() == replayed.end_ps[2::4].tolist() == [18, 28, 38]
    assert replayed.start_ps[3::4].tolist() == [18, 38, 58]
    assert replayed.makespan_ps == 78


@both_engines
def test_an_empty_program_ends_at_once(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    replayed = engine(program([]), wires({"size_bytes": 5}))

    assert replayed.makespan_ps == 0
    assert replayed.load_bytes.tolist() == [[0]]
