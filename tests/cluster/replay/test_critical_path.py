"""The critical path by hand."""

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import FULL, FabricError, Transfers
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.replay.analysis import usage_of
from cluster.replay.bottleneck_attribution import INSIDE, ResourceLoads, Rows, causes_of
from cluster.replay.critical_path import Phase, critical_path
from cluster.replay.engine import replay
from cluster.replay.interface import (
    DeadlockError,
    Kind,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)

WORK, SEND, RECV = int(Kind.WORK), int(Kind.SEND), int(Kind.RECV)


def transfers() -> Transfers:
    """One leg: 10 ps of latency, then 100 ps in which it fills the only link."""
    return Transfers(
        latency_ps=np.array([10]),
        work_ps=np.array([100]),
        peak=np.array([1.0]),
        then=np.array([-1]),
        use_offsets=np.array([0, 1]),
        use_resource=np.array([0]),
        use_share=np.array([FULL]),
        use_bytes=np.array([100]),
        resource_name=np.array(["a>b"]),
        capacity_bytes_per_s=np.array([1e12]),
    )


def program(rows: list[tuple[int, int, int, int, int, int, list[int]]]) -> Operations:
    """Rows of (rank, stream, kind, duration, transfer, peer, deps)."""
    rank, stream, kind, duration, transfer, peer = np.array([row[:-1] for row in rows]).T
    deps = [row[-1] for row in rows]
    none = np.full(len(rows), -1)
    return Operations(
        rank=rank,
        stream=stream,
        kind=kind,
        duration_ps=duration,
        transfer=transfer,
        group=none,
        peer=peer,
        tag=np.zeros(len(rows), np.int64),
        passive=(kind == RECV).astype(np.int64),
        dep_offsets=np.cumsum([0, *(len(each) for each in deps)]),
        deps=np.array([dep for each in deps for dep in each], np.int64),
        group_offsets=np.array([0]),
        group_ranks=np.zeros(0, np.int64),
    )


def parts_by_cause(
    operations: Operations,
    replayed: Replayed,
    bounds: tuple[str, ...] = BOUNDS,
    **rows: Any,
) -> dict[tuple[str, int], int]:
    """Time of the path by cause and resource."""
    path = critical_path(operations, replayed)
    zero = np.zeros(len(path.operation), np.int64)
    facts = {"step": zero, "bound": zero, "dispatch_ps": zero, "bounds": bounds, **rows}
    loads = ResourceLoads(
        transfers=transfers(),
        latency_ps=np.array([10]),
        moved_bytes=replayed.load_bytes.sum(axis=0),
    )
    causes = causes_of(path, Rows(**facts), operations, replayed, loads)
    keys = zip(causes.cause.tolist(), causes.resource.tolist(), strict=True)
    found = zip(keys, causes.elapsed_ps.tolist(), strict=True)
    return {(causes.names[cause], resource): elapsed for (cause, resource), elapsed in found}


SENT = [
    (0, 0, WORK, 50, -1, -1, []),
    (0, 3, SEND, 5, 0, 1, [0]),
    (1, 4, RECV, 0, -1, 0, []),
    (1, 0, WORK, 30, -1, -1, []),
    (1, 0, WORK, 20, -1, -1, [2]),
]


def test_the_path_goes_through_the_send_to_its_sender() -> None:
    operations = program(SENT)
    replayed = replay(operations, transfers())
    path = critical_path(operations, replayed)

    assert path.operation.tolist() == [4, 2, 1, 0]
    assert path.phase.tolist() == [Phase.WORK, Phase.TRANSFER, Phase.PREPARE, Phase.WORK]
    assert path.until_ps.tolist() == [185, 165, 55, 50]
    assert path.from_ps.tolist() == [165, 55, 50, 0]


def test_a_transfer_is_latency_and_the_link_that_it_fills() -> None:
    operations = program(SENT)

    assert parts_by_cause(operations, replay(operations, transfers())) == {
        ("stream", INSIDE): 70,
        ("dispatch", INSIDE): 5,
        ("latency", 0): 10,
        ("network", 0): 100,
    }


def test_a_device_s_own_bounds_name_the_causes() -> None:
    operations = program(SENT)
    gpu = ("memory", "tensor", "vector", "network", "launch", "host")

    assert parts_by_cause(operations, replay(operations, transfers()), gpu) == {
        ("memory", INSIDE): 70,
        ("launch", INSIDE): 5,
        ("latency", 0): 10,
        ("network", 0): 100,
    }


def test_what_others_add_is_contention() -> None:
    operations = program(
        [
            (0, 3, SEND, 0, 0, 1, []),
            (1, 4, RECV, 0, -1, 0, []),
            (2, 3, SEND, 0, 0, 3, []),
            (3, 4, RECV, 0, -1, 2, []),
        ]
    )

    assert parts_by_cause(operations, replay(operations, transfers())) == {
        ("latency", 0): 10,
        ("network", 0): 100,
        ("contention", 0): 100,
    }


def test_time_counts_once_in_each_ranks_usage() -> None:
    operations = program(SENT)
    usage = usage_of(operations, replay(operations, transfers()))

    assert usage.compute_ps.tolist() == [55, 50]
    assert usage.communication_ps.tolist() == [110, 110]
    assert usage.overlap_ps.tolist() == [0, 0]
    assert usage.idle_ps.tolist() == [20, 25]


def test_a_program_of_nothing_has_no_path() -> None:
    operations = program([(0, 0, WORK, 0, -1, -1, [])])

    assert critical_path(operations, replay(operations, transfers())).operation.size == 0


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_the_path_is_contiguous_from_the_start_to_the_makespan(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    try:
        replayed = replay(problem.operations, problem.transfers, contended=problem.contended)
    except (DeadlockError, ReplayError, FabricError, RunTooLongError):
        assume(False)
        return
    path = critical_path(problem.operations, replayed)
    usage = usage_of(problem.operations, replayed)
    joined = usage.compute_ps + usage.communication_ps - usage.overlap_ps + usage.idle_ps

    assert path.until_ps.max(initial=0) == replayed.makespan_ps
    assert path.until_ps[1:].tolist() == path.from_ps[:-1].tolist()
    assert path.from_ps[-1:].tolist() in ([], [0])
    assert set(joined.tolist()) == {replayed.makespan_ps}
    assert (usage.idle_ps >= 0).all()
    assert (usage.overlap_ps >= 0).all()
