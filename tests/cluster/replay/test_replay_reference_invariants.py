"""What holds for the reference whatever it is given; by agreement it holds for the kernel too."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import FULL
from cluster.replay.interface import Observer, Replayed
from cluster.replay.reference import replay_reference
from cluster.replay.reference.max_min import fair_speeds
from cluster.replay.reference.transfer_legs import Flow, Leg

ROUNDING = 1e-9

sane = settings(max_examples=80, derandomize=True, database=None, deadline=None)


def run(problem: Any, observer: Observer | None = None) -> Replayed | None:
    """None where the problem cannot end, or makes no sense."""
    try:
        return replay_reference(
            problem.operations,
            problem.transfers,
            contended=problem.contended,
            most_bins=problem.most_bins,
            observer=observer,
        )
    except ValueError:
        return None


@sane
@given(data=st.data())
def test_bytes_are_conserved_on_every_link(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    replayed = run(problem)
    if replayed is None:
        return

    requested = np.zeros(problem.transfers.resources, np.int64)
    for matched_call in range(len(replayed.begin_ps)):
        leg = problem.operations.transfer[replayed.matched_call == matched_call].max()
        while leg >= 0:
            uses = slice(*problem.transfers.use_offsets[leg : leg + 2])
            requested[problem.transfers.use_resource[uses]] += problem.transfers.use_bytes[uses]
            leg = problem.transfers.then[leg]

    np.testing.assert_array_equal(replayed.load_bytes.sum(axis=0), requested)
    assert replayed.load_bytes.min(initial=0) >= 0


@sane
@given(data=st.data())
def test_rows_follow_their_streams_their_dependencies_and_their_meetings(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    replayed = run(problem)
    if replayed is None:
        return
    rows, start_ps, end_ps = problem.operations, replayed.start_ps, replayed.end_ps

    earliest_ps = np.zeros_like(start_ps)
    for queue in {*zip(rows.rank.tolist(), rows.stream.tolist(), strict=True)}:
        in_line = np.flatnonzero((rows.rank == queue[0]) & (rows.stream == queue[1]))
        for one, other in pairwise(in_line):
            earliest_ps[other] = end_ps[one]
    waiting = np.repeat(np.arange(len(start_ps)), np.diff(rows.dep_offsets))
    np.maximum.at(earliest_ps, waiting, end_ps[rows.deps])
    there_ps = start_ps + rows.duration_ps
    calls = replayed.matched_call >= 0
    finish_ps = np.where(calls, np.append(replayed.finish_ps, 0)[replayed.matched_call], 0)

    np.testing.assert_array_equal(start_ps, earliest_ps)
    np.testing.assert_array_equal(end_ps, np.maximum(there_ps, finish_ps))
    for matched_call, begin_ps in enumerate(replayed.begin_ps):
        drivers = (replayed.matched_call == matched_call) & (rows.passive == 0)
        assert begin_ps == there_ps[drivers].max()


@sane
@given(data=st.data())
def test_a_transfer_takes_its_own_time_or_longer_and_exactly_that_without_contention(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)
    replayed = run(problem)
    if replayed is None:
        return

    alone_ps = np.append(problem.transfers.alone_ps(), 0)
    named = np.full(len(replayed.begin_ps), -1)
    calls = replayed.matched_call >= 0
    np.maximum.at(named, replayed.matched_call[calls], problem.operations.transfer[calls])
    delay_ps = replayed.finish_ps - replayed.begin_ps - alone_ps[named]

    assert delay_ps.min(initial=0) >= 0
    assert problem.contended or delay_ps.max(initial=0) == 0


@st.composite
def crowds(draw: st.DrawFn) -> Sequence[Flow]:
    """Flows over up to four resources, all in each other's way or not."""
    uses = st.dictionaries(
        st.integers(0, 3), st.sampled_from([1, 7, FULL // 3, FULL // 2, FULL - 1, FULL]), min_size=1
    )
    wants = draw(st.lists(st.tuples(st.floats(0.01, 100), uses), min_size=1, max_size=8))
    return [
        Flow(number, (number, 0), leg_of(peak, shares))
        for number, (peak, shares) in enumerate(wants)
    ]


def leg_of(peak: float, shares: dict[int, int]) -> Leg:
    return Leg(latency_ps=0, work_ps=1, peak=peak, then=-1, shares=shares, moves=shares)


@settings(sane, max_examples=300)
@given(crowd=crowds())
def test_speeds_are_max_min_fair(crowd: Sequence[Flow]) -> None:
    """A flow is at full speed, or meets a full resource on which nobody is given a higher rate."""
    speeds = fair_speeds(crowd)

    def used(resource: int) -> float:
        return sum(flow.leg.shares.get(resource, 0) * speeds[flow] for flow in crowd)

    def rate(flow: Flow) -> float:
        return speeds[flow] * flow.leg.peak

    def held_back(flow: Flow, resource: int) -> bool:
        others = [other for other in crowd if resource in other.leg.shares]
        return used(resource) >= FULL * (1 - ROUNDING) and rate(flow) >= (1 - ROUNDING) * max(
            map(rate, others)
        )

    assert all(0 < speed <= 1 for speed in speeds.values())
    assert all(used(resource) <= FULL * (1 + ROUNDING) for resource in range(4))
    assert all(
        speed == 1 or any(held_back(flow, resource) for resource in flow.leg.shares)
        for flow, speed in speeds.items()
    )


class Watch:
    """An observer that takes notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[int, ...]] = []

    def started(self, total_operations: int) -> None:
        self.notes.append((total_operations,))

    def advanced(self, now_ps: int, done: int) -> None:
        self.notes.append((now_ps, done))

    def finished(self) -> None:
        self.notes.append(())


def test_an_observer_hears_of_windows_and_of_the_end(program: Any, wires: Any) -> None:
    watch = Watch()

    replay_reference(program([{"duration_ps": 2}] * 5000), wires(), observer=watch)

    assert watch.notes == [(5000,), (2 * 4096, 4096), (10_000, 5000), ()]
