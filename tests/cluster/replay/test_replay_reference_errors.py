"""Runs that cannot end are refused with a reason."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from cluster.perf_model.collectives import FULL, Transfers
from cluster.replay.engine import replay
from cluster.replay.interface import (
    LAST_PS,
    DeadlockError,
    Kind,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.reference import replay_reference

Engine: TypeAlias = Callable[..., Replayed]
Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]
Row: TypeAlias = dict[str, Any]

both_engines = pytest.mark.parametrize("engine", [replay_reference, replay])


def send(rank: int, peer: int, **more: Any) -> Row:
    return {"rank": rank, "kind": Kind.SEND, "peer": peer, **more}


def receive(rank: int, peer: int, **more: Any) -> Row:
    return {"rank": rank, "kind": Kind.RECV, "peer": peer, **more}


def collective(rank: int, **more: Any) -> Row:
    return {"rank": rank, "kind": Kind.COLLECTIVE, "group": 0, **more}


CROSSED = [send(0, 1), receive(0, 1), send(1, 0), receive(1, 0)]
"""Either rank sends before it receives."""


def test_crossed_sends_are_a_cycle_that_the_reference_names(
    program: Program, wires: TransferModel
) -> None:
    with pytest.raises(DeadlockError) as caught:
        replay_reference(program(CROSSED), wires())

    assert str(caught.value) == (
        "deadlock: 4 of 4 operations wait forever; a cycle: row 0 (send) waits for row 3 (recv) "
        "waits for row 2 (send) waits for row 1 (recv) waits for row 0 (send); "
        "rank 0: row 0 (send) waits in message 0 from rank 0 to rank 1, tag 0 for rank 1, "
        "row 1 (recv) waits for row 0 (send); "
        "rank 1: row 2 (send) waits in message 0 from rank 1 to rank 0, tag 0 for rank 0, "
        "row 3 (recv) waits for row 2 (send)"
    )


@both_engines
def test_crossed_sends_end_where_receivers_need_not_be_waited_for(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    rows = [{**row, "passive": int(row["kind"] == Kind.RECV)} for row in CROSSED]

    with pytest.raises(DeadlockError):
        engine(program(CROSSED), wires())
    assert engine(program(rows), wires()).makespan_ps == 0


def test_a_call_that_a_rank_never_makes_is_named(program: Program, wires: TransferModel) -> None:
    # Rank 1 calls once, ranks 0 and 2 twice; what follows on rank 2 waits for that.
    rows = [*(collective(rank) for rank in (0, 1, 2, 0, 2)), {"rank": 2}]

    with pytest.raises(DeadlockError) as caught:
        replay_reference(program(rows, [(0, 1, 2)]), wires())

    assert str(caught.value) == (
        "deadlock: 3 of 6 operations wait forever; "
        "call 1 of group 0, tag 0 is never made by rank 1; "
        "rank 0: row 3 (collective) waits in call 1 of group 0, tag 0 for rank 1; "
        "rank 2: row 4 (collective) waits in call 1 of group 0, tag 0 for rank 1, "
        "row 5 waits for row 4 (collective)"
    )


def test_of_many_that_wait_a_few_are_named_and_the_rest_counted(
    program: Program, wires: TransferModel
) -> None:
    rows = [{"rank": 0, "deps": [0]}, *({"rank": 0} for _ in range(999))]

    with pytest.raises(DeadlockError) as caught:
        replay_reference(program(rows), wires())

    assert str(caught.value).endswith("row 7 waits for row 6, and 992 more")
    assert "1000 of 1000" in str(caught.value)
    assert "a cycle: row 0 waits for row 0;" in str(caught.value)


@both_engines
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"deps": [0]}], id="a row that depends on itself"),
        pytest.param([{"deps": [1]}, {}], id="a row that depends on the next of its stream"),
        pytest.param([send(0, 0), receive(0, 0)], id="both ends of a message on one stream"),
        pytest.param([send(0, 1)], id="no receive"),
        pytest.param([receive(0, 1, passive=1)], id="no send"),
        pytest.param([send(0, 1, tag=1), receive(1, 0, tag=2)], id="another tag"),
        pytest.param(
            [collective(0), collective(0, tag=1), collective(1, tag=1), collective(1)],
            id="collectives in another order",
        ),
    ],
)
def test_operations_that_wait_for_ever_are_a_deadlock(
    engine: Engine, program: Program, wires: TransferModel, rows: list[Row]
) -> None:
    with pytest.raises(DeadlockError):
        engine(program(rows, [(0, 1)]), wires())


@both_engines
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([collective(0, transfer=0), collective(1, transfer=1)], id="two transfers"),
        pytest.param([collective(rank, passive=1) for rank in (0, 1)], id="no driver"),
        pytest.param([collective(0), collective(1), collective(2)], id="not a member of the group"),
        pytest.param([send(0, 1, passive=1), receive(1, 0)], id="a passive send"),
    ],
)
def test_calls_that_make_no_sense_are_refused(
    engine: Engine, program: Program, wires: TransferModel, rows: list[Row]
) -> None:
    with pytest.raises(ReplayError):
        engine(program(rows, [(0, 1)]), wires({"size_bytes": 1}, {"size_bytes": 2}))


def busy(until_ps: int) -> list[Row]:
    """Work of rank 0 that ends at ``until_ps``, in rows that are not too long themselves."""
    rows, rest_ps = divmod(until_ps, 8 * 10**15)
    return [{"duration_ps": 8 * 10**15}] * rows + [{"duration_ps": rest_ps}]


@both_engines
@pytest.mark.parametrize(
    ("idle_ps", "rows"),
    [
        pytest.param(0, [{"duration_ps": 1}], id="work"),
        pytest.param(0, [collective(0, duration_ps=1)], id="preparation"),
        pytest.param(1, [collective(0, transfer=0)], id="a lonely leg"),
        pytest.param(2, [collective(0, transfer=1)], id="a leg with uses"),
        pytest.param(
            5,
            [collective(0, transfer=1), collective(0, transfer=1, tag=1)],
            id="legs in each other's way",
        ),
    ],
)
def test_a_run_past_the_end_of_time_is_refused(
    engine: Engine, program: Program, shared_legs: TransferModel, idle_ps: int, rows: list[Row]
) -> None:
    legs = shared_legs({"work_ps": 2, "uses": {}}, {"work_ps": 3, "uses": {0: (FULL, 3)}})
    before = busy(LAST_PS - idle_ps)
    last = len(before) - 1
    streams = [{**row, "stream": 1 + tag, "deps": [last]} for tag, row in enumerate(rows)]

    with pytest.raises(RunTooLongError):
        engine(program([*before, *streams], [(0,)]), legs)


@both_engines
def test_an_operation_may_end_with_the_last_picosecond(
    engine: Engine, program: Program, wires: TransferModel
) -> None:
    replayed = engine(program(busy(LAST_PS)), wires({"size_bytes": 1}))

    assert replayed.makespan_ps == LAST_PS


@both_engines
def test_a_leg_too_slow_for_now_is_refused_though_the_other_would_leave_soon(
    engine: Engine, program: Program, shared_legs: TransferModel
) -> None:
    # Equal rates, of which the first leg at full speed has 10,000 times more than the second: the
    # first would take 10^4 x 10^15 ps, past the end of time, if the second stayed.
    legs = shared_legs(
        {"work_ps": 10**15, "peak": 1e4, "uses": {0: (FULL, 1)}},
        {"work_ps": 1, "peak": 1.0, "uses": {0: (FULL, 1)}},
    )
    rows = [collective(0, transfer=leg, stream=leg, tag=leg) for leg in (0, 1)]

    assert engine(program(rows[:1], [(0,)]), legs).makespan_ps == 10**15
    with pytest.raises(RunTooLongError):
        engine(program(rows, [(0,)]), legs)
