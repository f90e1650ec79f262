"""The event loop: all events of one instant, then new speeds, then the next instant."""

from collections.abc import Sequence
from enum import IntEnum
from heapq import heappop, heappush

import numpy as np

from cluster.perf_model.collectives import Transfers
from cluster.replay.interface import (
    FIRST_BIN_PS,
    LAST_PS,
    MOST_BINS,
    DeadlockError,
    Kind,
    Observer,
    Operations,
    Replayed,
    RunTooLongError,
)
from cluster.replay.reference.deadlock import explain
from cluster.replay.reference.matching import MatchedCall, pair
from cluster.replay.reference.max_min import fair_speeds
from cluster.replay.reference.operation import Operation, read_operations
from cluster.replay.reference.transfer_legs import Flow, read_legs
from corsair_common.units import PS_PER_DAY, Integers


def bin_width_ps(end_ps: int, most_bins: int) -> int:
    """The first width, doubled until ``most_bins`` bins reach the end.

    Examples
    --------
    >>> bin_width_ps(1000 * 10**6, 1000), bin_width_ps(1000 * 10**6 + 1, 1000)
    (1000000, 2000000)
    """
    width_ps = FIRST_BIN_PS
    while end_ps > most_bins * width_ps:
        width_ps *= 2
    return width_ps


def link_loads(flows: Sequence[Flow], resources: int, end_ps: int, bin_ps: int) -> Integers:
    """[bin, resource] bytes; a bin holds what moves after its begin, up to and with its end."""
    bins = max(1, -(-end_ps // bin_ps))
    load_bytes = np.zeros((bins, resources), np.int64)
    for flow in flows:
        first_bin = flow.stretches[0].since_ps // bin_ps
        for resource in flow.leg.shares:
            before = 0
            for bin_ in range(first_bin, bins):
                moved = flow.moved(resource, (bin_ + 1) * bin_ps)
                load_bytes[bin_, resource] += moved - before
                before = moved
                if moved == flow.leg.moves[resource]:
                    break
    return load_bytes


class Fabric:
    """Knows who is active; finds speeds when it is told that a time is over."""

    def __init__(self, *, contended: bool) -> None:
        self.contended = contended
        self.active: dict[int, Flow] = {}
        """By matched call, which has one leg under way at a time."""
        self.flows: list[Flow] = []
        """All that ever were."""
        self._changed = False

    def enter(self, flow: Flow) -> None:
        self.active[flow.matched_call] = flow
        self.flows.append(flow)
        self._changed = True

    def next_leave_ps(self) -> int | None:
        """When the next flow leaves, of those that have a speed."""
        times = [flow.leave_ps for flow in self.active.values() if flow.leave_ps is not None]
        return min(times, default=None)

    def take_leaving(self, now_ps: int) -> Sequence[Flow]:
        """Remove the flows whose time has come."""
        leaving = [flow for flow in self.active.values() if flow.leave_ps == now_ps]
        for flow in leaving:
            del self.active[flow.matched_call]
        self._changed |= bool(leaving)
        return leaving

    def find_speeds(self, now_ps: int) -> Sequence[Flow]:
        """Give every flow the speed that suits those who are active; return them all."""
        if not self._changed:
            return ()
        self._changed = False
        flows = list(self.active.values())
        speeds = fair_speeds(flows) if self.contended else dict.fromkeys(flows, 1.0)
        for flow, speed in speeds.items():
            flow.go_on(speed, now_ps)
        return flows


WINDOW = 4096
"""Ends of operations between two calls of the observer."""


class Event(IntEnum):
    """Kinds of events, except leaving the fabric, whose time the fabric tracks.

    Simultaneous events need no order; they get one so that any heap will do.
    """

    LEAVE = 0
    """A matched call's leg that shares nothing is over."""
    ENTER = 1
    """A matched call's leg is past its latency."""
    THERE = 2
    """A row has finished its preparation."""
    END = 3
    """A row has ended."""


def replay_reference(
    operations: Operations,
    transfers: Transfers,
    *,
    contended: bool = True,
    most_bins: int = MOST_BINS,
    observer: Observer | None = None,
) -> Replayed:
    """Run all operations; return their starts and ends, and the loads of links.

    Raises
    ------
    ReplayError
        If calls cannot be matched, or partners name different transfers.
    DeadlockError
        If operations deadlock.
    RunTooLongError
        If the end would lie past ``LAST_PS``.
    """
    simulation = Simulation(operations, transfers, contended=contended, observer=observer)
    if observer is not None:
        observer.started(len(simulation.operations))
    simulation.run()
    if observer is not None:
        observer.finished()
    return simulation.replayed(transfers.resources, most_bins)


class Simulation:
    """The rows, their matched calls, and the fabric between them."""

    def __init__(
        self,
        columns: Operations,
        transfers: Transfers,
        *,
        contended: bool,
        observer: Observer | None,
    ) -> None:
        self.operations = read_operations(columns)
        self.repeats = columns.repeats
        self.matched_calls = pair(self.operations, columns)
        self.meeting_of = {
            member: matched_call
            for matched_call in self.matched_calls
            for member in matched_call.members
        }
        self.legs = read_legs(transfers)
        self.fabric = Fabric(contended=contended)
        self.agenda: list[tuple[int, Event, int, int]] = []
        """A heap of (time, what, number of the row or matched call, leg)."""
        self.observer = observer
        self.done = 0

    def run(self) -> None:
        now_ps = 0
        for operation in self.operations:
            if operation.waits_for == 0:
                self._start(operation, now_ps)
        while (next_ps := self._next_event_ps()) is not None:
            now_ps = next_ps
            self._live_through(now_ps)
            for flow in self.fabric.find_speeds(now_ps):
                self._refuse_late(flow.leave_ps)
        self._look(now_ps)
        if self.done < len(self.operations):
            raise DeadlockError(explain(self.operations, self.matched_calls))

    def replayed(self, resources: int, most_bins: int) -> Replayed:
        """The outcome as columns."""
        end_ps = max((operation.end_ps or 0 for operation in self.operations), default=0)
        bin_ps = bin_width_ps(end_ps, most_bins)
        first = self.operations[: len(self.operations) // self.repeats]
        meeting_of = [self.meeting_of.get(operation) for operation in first]
        return Replayed(
            start_ps=_times([operation.start_ps for operation in self.operations]),
            end_ps=_times([operation.end_ps for operation in self.operations]),
            matched_call=_times([-1 if met is None else met.number for met in meeting_of]),
            matched_calls=len(self.matched_calls) // self.repeats,
            begin_ps=_times([matched_call.begin_ps for matched_call in self.matched_calls]),
            finish_ps=_times([matched_call.finish_ps for matched_call in self.matched_calls]),
            makespan_ps=end_ps,
            bin_ps=bin_ps,
            load_bytes=link_loads(self.fabric.flows, resources, end_ps, bin_ps),
        )

    def _next_event_ps(self) -> int | None:
        times = [self.fabric.next_leave_ps(), self.agenda[0][0] if self.agenda else None]
        return min((time for time in times if time is not None), default=None)

    def _live_through(self, now_ps: int) -> None:
        """Process all events that are due now, and their immediate consequences.

        None of these leaves the fabric at once: a flow stays for at least a picosecond.
        """
        for flow in self.fabric.take_leaving(now_ps):
            self._go_on(self.matched_calls[flow.matched_call], flow.leg.then, now_ps)
        while self.agenda and self.agenda[0][0] == now_ps:
            _, event, number, leg = heappop(self.agenda)
            match event:
                case Event.LEAVE:
                    self._go_on(self.matched_calls[number], self.legs[leg].then, now_ps)
                case Event.ENTER:
                    home = self.matched_calls[number].home
                    self.fabric.enter(Flow(number, home, self.legs[leg]))
                case Event.THERE:
                    self._be_there(self.operations[number], now_ps)
                case Event.END:
                    self._end(self.operations[number], now_ps)

    def _start(self, operation: Operation, now_ps: int) -> None:
        operation.start_ps = now_ps
        event = Event.END if operation.kind == Kind.WORK else Event.THERE
        self._plan(now_ps + operation.duration_ps, event, operation.row)

    def _be_there(self, operation: Operation, now_ps: int) -> None:
        operation.there_ps = now_ps
        matched_call = self.meeting_of[operation]
        if matched_call.finish_ps is not None:
            self._plan(now_ps, Event.END, operation.row)
        elif not operation.passive:
            matched_call.awaited -= 1
            if matched_call.awaited == 0:
                matched_call.begin_ps = now_ps
                self._go_on(matched_call, matched_call.transfer, now_ps)

    def _go_on(self, matched_call: MatchedCall, leg: int, now_ps: int) -> None:
        """Begin ``leg``, or finish where there is none."""
        if leg < 0:
            self._finish(matched_call, now_ps)
        elif self.legs[leg].shares:
            self._plan(now_ps + self.legs[leg].latency_ps, Event.ENTER, matched_call.number, leg)
        else:
            alone_ps = self.legs[leg].latency_ps + self.legs[leg].work_ps
            self._plan(now_ps + alone_ps, Event.LEAVE, matched_call.number, leg)

    def _finish(self, matched_call: MatchedCall, now_ps: int) -> None:
        matched_call.finish_ps = now_ps
        for member in matched_call.members:
            if member.there_ps is not None:
                self._plan(now_ps, Event.END, member.row)

    def _end(self, operation: Operation, now_ps: int) -> None:
        operation.end_ps = now_ps
        for follower in operation.followers:
            follower.waits_for -= 1
            if follower.waits_for == 0:
                self._start(follower, now_ps)
        self.done += 1
        if self.done % WINDOW == 0:
            self._look(now_ps)

    def _plan(self, time_ps: int, event: Event, number: int, leg: int = -1) -> None:
        self._refuse_late(time_ps)
        heappush(self.agenda, (time_ps, event, number, leg))

    def _refuse_late(self, time_ps: int | None) -> None:
        if time_ps is not None and time_ps > LAST_PS:
            days = LAST_PS // PS_PER_DAY
            raise RunTooLongError(f"the run goes on for more than {days} days, which is the most")

    def _look(self, now_ps: int) -> None:
        if self.observer is not None:
            self.observer.advanced(now_ps, self.done)


def _times(values: list[int | None] | list[int]) -> Integers:
    return np.array(values, np.int64)
