"""A program that repeats is run as if it were written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import FabricError, Messages, Transfers
from cluster.replay.analysis import usage_of
from cluster.replay.critical_path import critical_path
from cluster.replay.engine import replay
from cluster.replay.expand import expand
from cluster.replay.interface import (
    DeadlockError,
    Kind,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.loop_unroll import even, written_out
from cluster.replay.reference import replay_reference

Program: TypeAlias = Callable[..., Operations]
TransferModel: TypeAlias = Callable[..., Transfers]

TIMES = ("start_ps", "end_ps", "begin_ps", "finish_ps", "makespan_ps", "bin_ps", "load_bytes")
"""Results that do not depend on the form of the repeats."""

REFUSED = (DeadlockError, ReplayError, FabricError, RunTooLongError)


def again(operations: Operations, rng: np.random.Generator) -> Operations:
    """The same rows two or three times; some wait for the repeat before, some vary."""
    repeats, rows = int(rng.integers(2, 4)), operations.rows
    deps = operations.deps - rows * rng.integers(0, 2, len(operations.deps))
    return replace(
        operations,
        deps=deps,
        repeats=repeats,
        varies=rng.integers(-1, 2, rows),
        varying_ps=rng.integers(0, 50, (repeats, 2)),
    )


def replay_even(operations: Operations, transfers: Transfers, **options: Any) -> Replayed:
    return replay(even(operations), transfers, **options)


def replay_written_out(operations: Operations, transfers: Transfers, **options: Any) -> Replayed:
    return replay(written_out(operations), transfers, **options)


def outcome_of(engine: Callable[..., Replayed], problem: Any, operations: Operations) -> Any:
    try:
        return engine(
            operations,
            problem.transfers,
            contended=problem.contended,
            most_bins=problem.most_bins,
        )
    except REFUSED as error:
        return type(error)


@settings(max_examples=45, derandomize=True, database=None, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_kernel_and_reference_agree_on_compact_and_expanded_repeats(
    data: st.DataObject, seed: int, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    printed = again(problem.operations, np.random.default_rng(seed))
    expected = outcome_of(replay_reference, problem, printed)
    found = [outcome_of(engine, problem, printed) for engine in (replay_even, replay_written_out)]

    for outcome in found:
        if isinstance(expected, type) or isinstance(outcome, type):
            assert outcome == expected
        else:
            for name in TIMES:
                np.testing.assert_array_equal(getattr(outcome, name), getattr(expected, name), name)


@settings(max_examples=25, derandomize=True, database=None, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_a_run_reads_the_same_for_compact_and_expanded_repeats(
    data: st.DataObject, seed: int, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    printed = again(problem.operations, np.random.default_rng(seed))
    whole = written_out(printed)
    one, other = (outcome_of(replay, problem, each) for each in (printed, whole))
    assume(isinstance(one, Replayed) and isinstance(other, Replayed))

    for read in (critical_path, usage_of):
        mine, theirs = read(printed, one), read(whole, other)
        for name in mine.__slots__:
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), name)


def test_repeats_that_match_alike_stay_compact_and_others_are_expanded(program: Program) -> None:
    send = {"kind": Kind.SEND, "peer": 1}
    receive = {"rank": 1, "kind": Kind.RECV, "peer": 0, "passive": 1}
    alike = replace(program([send, receive]), repeats=3)
    # Six sends meet three receives, the first of each repeat those of others.
    uneven = replace(program([send, send, receive]), repeats=3)

    assert even(alike) is alike
    assert (even(uneven).repeats, even(uneven).rows) == (1, 9)
    with pytest.raises(ReplayError, match="expand the repeats"):
        replay(uneven, Transfers(**NOTHING))


NOTHING: dict[str, Any] = {
    **dict.fromkeys(
        ("latency_ps", "work_ps", "then", "use_resource", "use_share", "use_bytes"),
        np.zeros(0, np.int64),
    ),
    "peak": np.zeros(0),
    "use_offsets": np.zeros(1, np.int64),
    "resource_name": np.zeros(0, np.str_),
    "capacity_bytes_per_s": np.zeros(0),
}


def test_a_row_waits_for_the_previous_repeat_except_in_the_first(program: Program) -> None:
    rows = [{"duration_ps": 5, "deps": [-1]}, {"stream": 1, "duration_ps": 3, "deps": [0]}]
    operations = replace(
        program(rows),
        repeats=3,
        varies=np.array([-1, 0]),
        varying_ps=np.array([[3], [10], [1]]),
    )
    replayed = replay(operations, Transfers(**NOTHING))

    assert replayed.start_ps.tolist() == [0, 5, 8, 13, 23, 28]
    assert replayed.end_ps.tolist() == [5, 8, 13, 23, 28, 29]


def test_collectives_become_messages_in_every_repeat(
    program: Program, wires: TransferModel
) -> None:
    links = wires(*({"links": (link,), "size_bytes": 10 + link} for link in range(4)))
    call = {"stream": 1, "kind": Kind.COLLECTIVE, "group": 0, "transfer": 3}
    rows = [
        {"duration_ps": 3, "deps": [-1]},
        {**call, "rank": 0, "deps": [0]},
        {**call, "rank": 1},
        {"deps": [1, -3]},
    ]
    swap = Messages(
        round=np.array([0, 0, 1]),
        source=np.array([0, 1, 0]),
        target=np.array([1, 0, 1]),
        transfer=np.array([0, 1, 2]),
        after_ps=np.zeros(2, np.int64),
    )
    printed = replace(program(rows, groups=[[0, 1]]), repeats=3)
    short, long = (expand(each, {3: swap}) for each in (printed, written_out(printed)))
    one, other = (replay(each.operations, links) for each in (short, long))
    first = np.arange(3)[:, None] * short.operations.rows

    assert one.start_ps[first + short.entry].ravel().tolist() == (
        other.start_ps[long.entry].tolist()
    )
    assert one.end_ps[first + short.exit].ravel().tolist() == other.end_ps[long.exit].tolist()
