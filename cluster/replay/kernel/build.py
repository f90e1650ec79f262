"""The kernel's records at the start of a run, copied from what the engine was given."""

from typing import NamedTuple

import numpy as np

from cluster.compiled import compiled
from cluster.machine.fabric import Transfers
from cluster.machine.tables import Integers, Records
from cluster.replay.kernel.state import (
    CONTROL,
    ENTRY,
    LEG,
    MEETING,
    NEVER,
    NONE,
    OPERATION,
    RESOURCE,
    SLOT,
    USE,
    State,
)
from cluster.replay.pair import Meetings
from cluster.replay.problem import FIRST_BIN_PS, Operations


class Program(NamedTuple):
    """What compiled code reads of the operations."""

    queue: Integers
    """[n] number of each one's (rank, stream)."""
    dep_offsets: Integers
    deps: Integers
    duration_ps: Integers
    meeting: Integers
    passive: Integers


def build(
    operations: Operations,
    meetings: Meetings,
    transfers: Transfers,
    *,
    contended: bool,
    most_bins: int,
) -> State:
    """Make the state of a run in which nothing has happened yet.

    Everything is owned, writable and contiguous, so that the kernel is compiled for one type only.
    """
    program = _program(operations, meetings)
    homes = _homes(operations, meetings, program.queue)
    slots, entries = _slots(transfers, meetings, homes, int(program.queue.max(initial=0)) + 1)
    control = np.zeros(1, CONTROL)
    control["operations"], control["contended"] = len(program.queue), contended
    control["bin_ps"], control["ready"] = FIRST_BIN_PS, NONE
    rows, successors = _linked(program, control, len(slots))
    resources = np.zeros(transfers.resources, RESOURCE)
    resources["head"] = NONE
    return State(
        control=control,
        operations=rows,
        successors=successors,
        meetings=_meetings(meetings, homes),
        members=np.array(meetings.members, np.int64),
        legs=_legs(transfers),
        uses=_uses(transfers),
        slots=slots,
        entries=entries,
        resources=resources,
        dirty=np.zeros(transfers.resources, np.int64),
        part_slots=np.zeros(len(slots), np.int64),
        part_resources=np.zeros(transfers.resources, np.int64),
        loads=np.zeros((most_bins, transfers.resources), np.int64),
    )


def _program(operations: Operations, meetings: Meetings) -> Program:
    """The columns as compiled code wants them; copied only where they are not so already."""

    def owned(column: Integers) -> Integers:
        return np.require(column, np.int64, ["C", "W"])

    streams = int(operations.stream.max(initial=0)) + 1
    return Program(
        queue=operations.rank * streams + operations.stream,
        dep_offsets=owned(operations.dep_offsets),
        deps=owned(operations.deps),
        duration_ps=owned(operations.duration_ps),
        meeting=owned(meetings.of),
        passive=owned(operations.passive),
    )


def _linked(program: Program, control: Records, queues: int) -> tuple[Records, Integers]:
    """Operations that know who waits for them, and those who wait."""
    total = len(program.queue)
    rows = np.zeros(total + 1, OPERATION)
    firsts = np.zeros(total + 1, np.int64)
    successors = np.zeros(total + len(program.deps), np.int64)
    last = np.empty(queues, np.int64)
    count(program, last, firsts)
    firsts.cumsum(out=firsts)
    succeed(program, last, firsts, successors)
    lay_out(program, last, firsts, rows, control)
    return rows, successors


@compiled
def count(program: Program, last: Integers, firsts: Integers) -> None:
    """Count who waits for each operation: the next of its queue, and those with it in deps."""
    last[:] = NONE
    for o in range(len(program.queue)):
        before = last[program.queue[o]]
        last[program.queue[o]] = o
        if before != NONE:
            firsts[before] += 1
        for place in range(program.dep_offsets[o], program.dep_offsets[o + 1]):
            firsts[program.deps[place]] += 1


@compiled
def succeed(program: Program, last: Integers, firsts: Integers, successors: Integers) -> None:
    """Write them down from the end of each operation's part to its start, where ``firsts`` ends."""
    last[:] = NONE
    for o in range(len(program.queue)):
        before = last[program.queue[o]]
        last[program.queue[o]] = o
        if before != NONE:
            firsts[before] -= 1
            successors[firsts[before]] = o
        for place in range(program.dep_offsets[o], program.dep_offsets[o + 1]):
            other = program.deps[place]
            firsts[other] -= 1
            successors[firsts[other]] = o


@compiled
def lay_out(
    program: Program, last: Integers, firsts: Integers, rows: Records, control: Records
) -> None:
    """Fill the records in one go, and chain those that wait for nobody, the lowest first."""
    last[:] = NONE
    tail = NONE
    for o in range(len(program.queue)):
        row = rows[o]
        row["duration_ps"] = program.duration_ps[o]
        row["meeting"] = program.meeting[o]
        row["passive"] = program.passive[o]
        row["first"] = firsts[o]
        row["next"] = NONE
        pending = program.dep_offsets[o + 1] - program.dep_offsets[o]
        if last[program.queue[o]] != NONE:
            pending += 1
        last[program.queue[o]] = o
        row["pending"] = pending
        if pending == 0:
            if tail == NONE:
                control[0]["ready"] = o
            else:
                rows[tail]["next"] = o
            tail = o
    rows[len(program.queue)]["first"] = firsts[len(program.queue)]


def _homes(operations: Operations, meetings: Meetings, queue: Integers) -> Integers:
    """[m] the lowest queue of a driver; that of any member where all drivers are missing."""
    if not len(meetings):
        return np.zeros(0, np.int64)
    queues = queue[meetings.members]
    beyond = int(queues.max()) + 1
    shifted = queues + beyond * operations.passive[meetings.members]
    lowest: Integers = np.minimum.reduceat(shifted, meetings.member_offsets[:-1])
    return lowest % beyond


def _slots(
    transfers: Transfers, meetings: Meetings, homes: Integers, queues: int
) -> tuple[Records, Records]:
    """Slots, each with as many entries as the widest leg of its meetings needs."""
    uses = np.diff(transfers.use_offsets)
    for leg in np.flatnonzero(transfers.then >= 0)[::-1]:
        uses[leg] = max(uses[leg], uses[transfers.then[leg]])
    widest = np.zeros(queues, np.int64)
    moves = meetings.transfer >= 0
    np.maximum.at(widest, homes[moves], uses[meetings.transfer[moves]])
    slots = np.zeros(queues, SLOT)
    slots["place"] = NONE
    slots["entry"] = np.cumsum(widest) - widest
    entries = np.zeros(int(widest.sum()), ENTRY)
    entries["slot"] = np.repeat(np.arange(queues), widest)
    return slots, entries


def _meetings(meetings: Meetings, homes: Integers) -> Records:
    rows = np.zeros(len(meetings) + 1, MEETING)
    rows["leg"][:-1] = meetings.transfer
    rows["missing"][:-1] = meetings.drivers
    rows["home"][:-1] = homes
    rows["first"] = meetings.member_offsets
    rows["finish_ps"] = NEVER
    return rows


def _legs(transfers: Transfers) -> Records:
    legs = np.zeros(transfers.legs + 1, LEG)
    for name in ("latency_ps", "work_ps", "then", "peak"):
        legs[name][:-1] = getattr(transfers, name)
    legs["first"] = transfers.use_offsets
    return legs


def _uses(transfers: Transfers) -> Records:
    uses = np.zeros(len(transfers.use_resource), USE)
    for name in ("resource", "share", "bytes"):
        uses[name] = getattr(transfers, f"use_{name}")
    uses["weight"] = transfers.use_share / np.repeat(transfers.peak, np.diff(transfers.use_offsets))
    return uses
