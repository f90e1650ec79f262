"""Transfers in each other's way that can be followed with a pencil, asserted for both engines.

Links carry one byte a picosecond, so a message of 100 bytes takes 100 ps without contention.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from cluster.perf_model.collectives import FULL, Transfers
from cluster.replay.engine import replay
from cluster.replay.interface import Kind, Operations, Replayed
from cluster.replay.reference import replay_reference

Engine: TypeAlias = Callable[..., Replayed]
Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]
Row: TypeAlias = dict[str, Any]

both_engines = pytest.mark.parametrize("engine", [replay_reference, replay])


def local(rank: int, transfer: int, after_ps: int = 0) -> Row:
    """A transfer that one rank starts alone, on its network stream."""
    return {
        "rank": rank,
        "stream": 1,
        "kind": Kind.COLLECTIVE,
        "group": rank,
        "transfer": transfer,
        "duration_ps": after_ps,
    }


ALONE = tuple((rank,) for rank in range(8))
"""Groups of one rank each."""


@both_engines
def test_a_flow_alone_takes_latency_and_bytes_over_rate(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    replayed = engine(
        program([local(0, 0, after_ps=7)], ALONE), wires({"size_bytes": 100, "latency_ps": 20})
    )

    assert replayed.begin_ps.tolist() == [7]
    assert replayed.end_ps.tolist() == [127]


@both_engines
@pytest.mark.parametrize("flows", [2, 4, 8])
def test_flows_that_share_a_link_from_begin_to_end_take_turns_fairly(
    engine: Engine, program: Program, wires: TransferModel, flows: int
) -> None:
    rows = [local(rank, 0) for rank in range(flows)]

    replayed = engine(program(rows, ALONE), wires({"size_bytes": 1000, "latency_ps": 5}))

    assert replayed.end_ps.tolist() == [5 + flows * 1000] * flows
    assert replayed.load_bytes.tolist() == [[flows * 1000]]


@both_engines
@pytest.mark.parametrize("flows", [3, 5, 6, 7])
def test_a_change_of_rate_costs_at_most_a_picosecond_of_rounding(
    engine: Engine, program: Program, wires: TransferModel, flows: int
) -> None:
    rows = [local(rank, 0) for rank in range(flows)]

    replayed = engine(program(rows, ALONE), wires({"size_bytes": 10**9}))

    assert set(replayed.end_ps - flows * 10**9) <= {0, 1}


@both_engines
def test_what_rounding_has_made_late_by_a_picosecond_is_not_made_late_twice(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # 5 / (1 / 49) is just above 245 in float64, so that 49 flows of 5 bytes leave at 246. At 245
    # nothing remains of them; yet the one who comes then shares that picosecond with them, moves
    # 1/50 of a byte in it, and its other 4.98 bytes alone.
    flows = 49
    rows = [local(rank, 0) for rank in range(flows)] + [local(flows, 0, after_ps=245)]

    replayed = engine(program(rows, [(rank,) for rank in range(50)]), wires({"size_bytes": 5}))

    assert set(replayed.end_ps[:flows]) == {246}
    assert replayed.end_ps[flows] == 251


@both_engines
def test_a_flow_slows_when_another_comes_and_recovers_when_it_goes(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # The long flow has done 50 of 150 when the short one (40) comes; both run at half speed until
    # the short one leaves at 130; 60 are left to the long one.
    rows = [local(0, 0), local(1, 1, after_ps=50)]

    replayed = engine(program(rows, ALONE), wires({"size_bytes": 150}, {"size_bytes": 40}))

    assert replayed.end_ps.tolist() == [190, 130]


@both_engines
def test_a_flow_that_leaves_as_another_enters_leaves_the_third_at_its_speed(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Flow 0 (300) shares with flow 1 (100) until 200 and with flow 2 (100), begun then, until 400;
    # it has done 200 by then and does the rest alone.
    rows = [local(0, 0), local(1, 1), local(1, 1)]

    replayed = engine(program(rows, ALONE), wires({"size_bytes": 300}, {"size_bytes": 100}))

    assert replayed.end_ps.tolist() == [500, 200, 400]


@both_engines
def test_flows_on_other_links_do_not_notice(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    rows = [local(0, 0), local(1, 1), local(2, 2)]
    legs = wires(
        {"size_bytes": 100, "links": [0]},
        {"size_bytes": 333, "links": [1]},
        {"size_bytes": 50, "links": [1]},
    )

    replayed = engine(program(rows, ALONE), legs)

    assert replayed.end_ps.tolist() == [100, 383, 100]
    assert replayed.load_bytes.tolist() == [[100, 383]]


@both_engines
def test_what_one_neck_holds_back_is_left_to_others_elsewhere(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Link 1 lets flows 0, 1 and 2 go at a quarter each, with flow 3; link 0 leaves 3/4 to flow 4.
    rows = [local(rank, rank) for rank in range(5)]
    legs = wires(
        {"size_bytes": 100, "links": [0, 1]},
        {"size_bytes": 100, "links": [1]},
        {"size_bytes": 100, "links": [1]},
        {"size_bytes": 100, "links": [1]},
        {"size_bytes": 240, "links": [0]},
    )

    replayed = engine(program(rows, ALONE), legs)

    assert replayed.end_ps.tolist() == [400, 400, 400, 400, 320]


@both_engines
def test_a_flow_that_wants_less_than_its_fair_part_keeps_its_full_speed(
    engine: Engine, program: Program, shared_legs: TransferModel
) -> None:
    # A quarter of the link for flow 0, which comes from a slower one; the rest for flow 1.
    legs = shared_legs(
        {"work_ps": 400, "peak": 0.25, "uses": {0: (FULL // 4, 100)}},
        {"work_ps": 300, "peak": 1.0, "uses": {0: (FULL, 300)}},
    )

    replayed = engine(program([local(0, 0), local(1, 1)], ALONE), legs)

    assert replayed.end_ps.tolist() == [400, 400]


@both_engines
def test_a_coflow_keeps_its_members_in_step_where_single_flows_would_part(
    engine: Engine, program: Program, shared_legs: TransferModel
) -> None:
    # An exchange of 300 bytes over link 0 and 150 over link 1, and a flow of 300 over link 1.
    # As a coflow, exchange and flow get equal rates by their busiest links: 2/3 each, though link 0
    # is free. As two flows, the first runs at full speed on link 0, the second wants half of
    # link 1 and gets it; the other flow has the other half.
    coflow = shared_legs(
        {"work_ps": 300, "uses": {0: (FULL, 300), 1: (FULL // 2, 150)}},
        {"work_ps": 300, "uses": {1: (FULL, 300)}},
    )
    parts = shared_legs(
        {"work_ps": 300, "uses": {0: (FULL, 300)}},
        {"work_ps": 300, "uses": {1: (FULL, 300)}},
        {"work_ps": 300, "peak": 0.5, "uses": {1: (FULL // 2, 150)}},
    )
    rows = [local(rank, rank) for rank in range(3)]

    together = engine(program(rows[:2], ALONE), coflow)
    apart = engine(program(rows, ALONE), parts)

    assert together.end_ps.tolist() == [450, 450]
    assert apart.end_ps.tolist() == [300, 450, 300]
    assert together.load_bytes.tolist() == apart.load_bytes.tolist() == [[300, 450]]


@both_engines
def test_legs_follow_one_another_and_only_those_with_uses_are_in_the_way(
    engine: Engine, program: Program, shared_legs: TransferModel
) -> None:
    # Store and forward over links 0 and 1, with a rest of 30 that nobody shares between them.
    # The other transfer holds link 1 from 0 to 200: by 140, when the first comes, 140 are done.
    # The last 60 take 120, in which the first does 60 as well; its last 40 take 40.
    legs = shared_legs(
        {"latency_ps": 10, "work_ps": 100, "then": 1, "uses": {0: (FULL, 100)}},
        {"latency_ps": 10, "work_ps": 20, "then": 2, "uses": {}},
        {"work_ps": 100, "uses": {1: (FULL, 100)}},
        {"work_ps": 200, "uses": {1: (FULL, 200)}},
    )

    replayed = engine(program([local(0, 0), local(1, 3)], ALONE), legs)

    assert replayed.end_ps.tolist() == [300, 260]


@both_engines
def test_without_contention_everybody_has_the_links_to_himself(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    operations = program([local(0, 0), local(1, 0)], ALONE)

    replayed = engine(operations, wires({"size_bytes": 100}), contended=False)

    assert replayed.end_ps.tolist() == [100, 100]
    assert replayed.load_bytes.tolist() == [[200]]


@both_engines
def test_bins_hold_what_moved_up_to_and_with_their_end(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # 3 us at a byte a picosecond, from 0.5 us on: half a bin, two full ones, half a bin. At most
    # two bins: of 2 us.
    legs = wires({"size_bytes": 3 * 10**6, "latency_ps": 500_000})
    operations = program([local(0, 0)], ALONE)

    fine = engine(operations, legs)
    coarse = engine(operations, legs, most_bins=2)

    assert fine.bin_ps == 10**6
    assert fine.load_bytes[:, 0].tolist() == [500_000, 10**6, 10**6, 500_000]
    assert coarse.bin_ps == 2 * 10**6
    assert coarse.load_bytes[:, 0].tolist() == [1_500_000, 1_500_000]


@both_engines
def test_an_end_on_the_edge_of_the_last_bin_needs_no_wider_bins(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    replayed = engine(program([local(0, 0)], ALONE), wires({"size_bytes": 2 * 10**6}), most_bins=2)

    assert replayed.load_bytes.tolist() == [[10**6], [10**6]]


@both_engines
def test_a_slowed_flow_moves_less_in_a_bin(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    # Alone for the first us, shared for the next two, in which the short flow moves 1 MB.
    rows = [local(0, 0), local(1, 1, after_ps=10**6)]
    legs = wires({"size_bytes": 2 * 10**6, "links": [0, 1]}, {"size_bytes": 10**6, "links": [0, 2]})

    replayed = engine(program(rows, ALONE), legs)

    assert replayed.load_bytes.T.tolist() == [
        [10**6, 10**6, 10**6],
        [10**6, 500_000, 500_000],
        [0, 500_000, 500_000],
    ]
