"""The compiled engine's entry point: windows, one signature, refusals, invariants."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import FULL, FabricError, Transfers
from cluster.replay.engine import replay, run
from cluster.replay.interface import (
    LAST_PS,
    DeadlockError,
    Kind,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.kernel.advance import advance
from cluster.replay.kernel.build import build
from cluster.replay.kernel.state import DONE, LONGEST_PS, STUCK
from cluster.replay.matching import pair

Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]

SEND, RECV, COLLECTIVE = Kind.SEND, Kind.RECV, Kind.COLLECTIVE


def replayed_or_none(problem: Any) -> Replayed | None:
    """What a random problem gives, if it can be run at all."""
    try:
        return replay(
            problem.operations,
            problem.transfers,
            contended=problem.contended,
            most_bins=problem.most_bins,
        )
    except (ReplayError, DeadlockError):
        return None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_byte_is_lost_or_made(data: st.DataObject, replay_problems: Any) -> None:
    problem = data.draw(replay_problems)
    if (replayed := replayed_or_none(problem)) is None:
        return
    transfers, expected = problem.transfers, np.zeros(problem.transfers.resources, np.int64)
    for leg in pair(problem.operations).transfer:
        while leg >= 0:
            uses = slice(transfers.use_offsets[leg], transfers.use_offsets[leg + 1])
            expected[transfers.use_resource[uses]] += transfers.use_bytes[uses]
            leg = transfers.then[leg]

    assert (replayed.load_bytes.sum(axis=0) == expected).all()
    assert (replayed.load_bytes >= 0).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_nothing_is_faster_than_alone_and_alone_is_exact(
    data: st.DataObject, replay_problems: Any
) -> None:
    problem = data.draw(replay_problems)
    if (replayed := replayed_or_none(problem)) is None:
        return
    transfer = pair(problem.operations).transfer
    alone_ps = np.where(transfer >= 0, problem.transfers.alone_ps()[transfer], 0)
    taken_ps = replayed.finish_ps - replayed.begin_ps

    assert (taken_ps >= alone_ps).all()
    free = replayed_or_none(replace(problem, contended=False))
    assert free is not None
    assert (free.finish_ps - free.begin_ps == alone_ps).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), own_ps=st.integers(1, 10**6))
def test_a_message_alone_on_its_link_is_never_late(
    data: st.DataObject, own_ps: int, replay_problems: Any
) -> None:
    """One more message, between ranks and over a link of its own, beside whatever else goes on."""
    problem = data.draw(replay_problems)
    if (before := replayed_or_none(problem)) is None:
        return
    operations, transfers = beside(problem.operations, problem.transfers, own_ps)

    after = replay(operations, transfers, contended=problem.contended, most_bins=problem.most_bins)

    assert after.end_ps[-2:].tolist() == [11 + 5 + own_ps] * 2
    assert (after.end_ps[:-2] == before.end_ps).all()


def beside(
    operations: Operations, transfers: Transfers, own_ps: int
) -> tuple[Operations, Transfers]:
    """A message of ``own_ps`` that leaves at 11 with a latency of 5."""
    rank = int(operations.rank.max()) + 1
    ends: dict[str, list[Any]] = {
        "rank": [rank, rank + 1],
        "stream": [0, 0],
        "kind": [SEND, RECV],
        "duration_ps": [11, 0],
        "transfer": [transfers.legs, -1],
        "group": [-1, -1],
        "peer": [rank + 1, rank],
        "tag": [0, 0],
        "passive": [0, 0],
    }
    legs: dict[str, list[Any]] = {
        "latency_ps": [5],
        "work_ps": [own_ps],
        "peak": [1.0],
        "then": [-1],
        "use_offsets": [len(transfers.use_resource) + 1],
        "use_resource": [transfers.resources],
        "use_share": [FULL],
        "use_bytes": [own_ps],
        "resource_name": ["own"],
        "capacity_bytes_per_s": [1e12],
    }

    def longer(table: Any, more: dict[str, list[Any]]) -> dict[str, Any]:
        return {name: np.concatenate([getattr(table, name), new]) for name, new in more.items()}

    offsets = np.concatenate([operations.dep_offsets, [operations.dep_offsets[-1]] * 2])
    return (
        replace(operations, **longer(operations, ends), dep_offsets=offsets),
        replace(transfers, **longer(transfers, legs)),
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), events=st.sampled_from([1, 3, 17]))
def test_a_run_is_the_same_in_windows_of_any_size(
    data: st.DataObject, events: int, replay_problems: Any
) -> None:
    problem = data.draw(replay_problems)
    try:
        matched_calls = pair(problem.operations)
    except ReplayError:
        return
    whole, cut = (
        build(
            problem.operations,
            matched_calls,
            problem.transfers,
            contended=problem.contended,
            most_bins=problem.most_bins,
        )
        for _ in range(2)
    )
    run(whole)
    run(cut, window_events=events)

    assert whole.control["status"][0] in (DONE, STUCK)
    for name, one, other in zip(whole._fields, whole, cut, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other)), name


def test_read_only_and_sliced_columns_do_not_make_a_second_version(
    program: Program, wires: TransferModel
) -> None:
    transfers = wires({"size_bytes": 10})
    operations = program([{"rank": 0}, {"rank": 1, "duration_ps": 3, "deps": [0]}])
    expected = replay(operations, transfers)
    changed: dict[str, Any] = {}
    for field in fields(Operations):
        if field.name != "repeats":
            values = getattr(operations, field.name)
            column = np.repeat(values, 2, axis=-1)[..., ::2]
            column.flags.writeable = False
            changed[field.name] = column

    assert (replay(replace(operations, **changed), transfers).end_ps == expected.end_ps).all()
    if hasattr(advance, "signatures"):  # not with NUMBA_DISABLE_JIT=1
        assert len(advance.signatures) == 1


def test_an_empty_program_takes_no_time(program: Program, wires: TransferModel) -> None:
    replayed = replay(program([]), wires())

    assert replayed.makespan_ps == 0
    assert replayed.load_bytes.shape == (1, 0)


def test_an_observer_sees_the_run_and_changes_nothing(
    program: Program, wires: TransferModel
) -> None:
    seen: list[Any] = []

    class Watcher:
        def started(self, total_operations: int) -> None:
            seen.append(total_operations)

        def advanced(self, now_ps: int, done: int) -> None:
            assert now_ps == 0  # nothing here needs the clock
            seen.append(done)

        def finished(self) -> None:
            seen.append("finished")

    replay(program([{"duration_ps": 5}] * 3), wires(), observer=Watcher())

    assert seen == [3, 3, "finished"]


def test_a_run_past_int64_is_refused(program: Program, wires: TransferModel) -> None:
    rows = [{"duration_ps": LONGEST_PS}] * (LAST_PS // LONGEST_PS + 2)

    with pytest.raises(RunTooLongError, match="106 days"):
        replay(program(rows), wires())


def test_two_ranks_that_receive_before_they_send_are_reported_as_a_cycle(
    program: Program, wires: TransferModel
) -> None:
    rows = [
        {"rank": 0, "kind": RECV, "peer": 1},
        {"rank": 0, "kind": SEND, "peer": 1, "transfer": 0},
        {"rank": 1, "kind": RECV, "peer": 0},
        {"rank": 1, "kind": SEND, "peer": 0, "transfer": 0},
    ]

    with pytest.raises(DeadlockError) as caught:
        replay(program(rows), wires({"size_bytes": 10}))

    assert str(caught.value).splitlines() == [
        "deadlock: 4 of 4 operations never end",
        "  operation 0 (rank 0, recv from rank 1, tag 0) waits for"
        " operation 3 (rank 1, send to rank 0, tag 0)",
        "  operation 2 (rank 1, recv from rank 0, tag 0) waits for"
        " operation 1 (rank 0, send to rank 1, tag 0)",
        "  a cycle: operation 0 (rank 0, recv from rank 1, tag 0)"
        " -> operation 3 (rank 1, send to rank 0, tag 0)"
        " -> operation 2 (rank 1, recv from rank 0, tag 0)"
        " -> operation 1 (rank 0, send to rank 1, tag 0)"
        " -> operation 0 (rank 0, recv from rank 1, tag 0)",
    ]


def test_a_call_that_a_rank_never_makes_is_named(program: Program, wires: TransferModel) -> None:
    rows = [{"rank": rank, "kind": COLLECTIVE, "group": 0, "tag": 7} for rank in (0, 2)]

    with pytest.raises(DeadlockError, match=r"group 0, tag 7.* waits for rank 1, which makes no"):
        replay(program(rows, groups=[[0, 1, 2]]), wires())


def test_a_long_list_of_waiting_ranks_is_cut(program: Program, wires: TransferModel) -> None:
    rows = [{"rank": rank, "kind": COLLECTIVE, "group": 0} for rank in range(100)]

    with pytest.raises(DeadlockError) as caught:
        replay(program(rows, groups=[list(range(101))]), wires())

    assert "and 88 more streams wait" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"rank": -1}, "rank[0] is -1"),
        ({"kind": 4}, "kind[0] is 4, allowed is 0 to 3"),
        ({"duration_ps": -5}, "duration_ps[0] is -5"),
        ({"duration_ps": LONGEST_PS + 1}, "duration_ps[0] is"),
        ({"deps": [1]}, "deps[0] is 1, allowed is 0 to 0"),
        ({"transfer": 0}, "operation 0 (work, rank 0) is work, which has no transfer"),
        ({"passive": 1}, "is passive, which only receives and members"),
        ({"kind": SEND, "peer": 1, "passive": 1}, "is passive"),
        ({"kind": SEND}, "needs a peer"),
        ({"kind": SEND, "peer": 1, "transfer": 1}, "transfer[0] is 1, allowed is -1 to 0"),
        ({"kind": COLLECTIVE, "group": 1}, "needs a group, 0 to 0"),
        ({"kind": COLLECTIVE, "group": 0, "rank": 2}, "to which its rank does not belong"),
    ],
)
def test_operations_that_make_no_sense_are_refused(
    program: Program, wires: TransferModel, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReplayError) as caught:
        replay(program([row], groups=[[0, 1]]), wires({"size_bytes": 10}))

    assert message in str(caught.value)


def test_members_that_name_different_transfers_are_refused(
    program: Program, wires: TransferModel
) -> None:
    rows = [{"rank": rank, "kind": COLLECTIVE, "group": 0, "transfer": rank} for rank in (0, 1)]

    with pytest.raises(ReplayError, match="operations 0 and 1 match, but name transfers 0 and 1"):
        replay(program(rows, groups=[[0, 1]]), wires({"size_bytes": 10}, {"size_bytes": 20}))


def test_a_meeting_of_passive_members_only_is_refused(
    program: Program, wires: TransferModel
) -> None:
    rows = [{"rank": 0, "kind": COLLECTIVE, "group": 0, "passive": 1}]

    with pytest.raises(ReplayError, match="operation 0 matches only passive members"):
        replay(program(rows, groups=[[0]]), wires())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"work_ps": [0]}, "leg 0 uses resources but has no work"),
        ({"latency_ps": [-1]}, "latency_ps[0] is -1"),
        ({"then": [0]}, "then[0] does not lead to a higher leg"),
        ({"use_share": [0]}, "use_share[0] is 0"),
        ({"use_share": [FULL + 1]}, "use_share[0] is"),
        ({"use_resource": [1]}, "use_resource[0] is 1, allowed is 0 to 0"),
        ({"use_offsets": [0, 2]}, "use_offsets must rise from 0 to 1"),
        ({"use_bytes": [2**53 + 1]}, "use_bytes[0] is"),
    ],
)
def test_transfers_that_make_no_sense_are_refused(
    program: Program, wires: TransferModel, change: dict[str, Any], message: str
) -> None:
    columns: dict[str, Any] = {name: np.array(column, np.int64) for name, column in change.items()}
    transfers = replace(wires({"size_bytes": 10}), **columns)

    with pytest.raises(FabricError) as caught:
        replay(program([{}]), transfers)

    assert message in str(caught.value)


@pytest.mark.parametrize("peak", [0.0, -1.0, np.nan, np.inf])
def test_a_peak_is_a_positive_number(program: Program, wires: TransferModel, peak: float) -> None:
    with pytest.raises(FabricError, match="peak must be 1 positive rates"):
        replay(program([{}]), replace(wires({"size_bytes": 10}), peak=np.array([peak])))
