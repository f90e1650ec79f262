"""The kernel's records at the start of a run, copied from what the engine was given."""

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
    streams = int(operations.stream.max(initial=0)) + 1
    queue = operations.rank * streams + operations.stream
    homes = _homes(operations, meetings, queue)
    slots, entries = _slots(transfers, meetings, homes, int(queue.max(initial=0)) + 1)
    control = np.zeros(1, CONTROL)
    control["operations"], control["contended"] = len(queue), contended
    control["bin_ps"], control["ready"] = FIRST_BIN_PS, NONE
    rows = _operations(operations, meetings)
    successors = np.zeros(len(queue) + len(operations.deps), np.int64)
    offsets, deps = (np.array(column, np.int64) for column in _deps(operations))
    link(control, rows, queue, np.empty(len(slots), np.int64), offsets, deps, successors)
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


@compiled
def link(
    control: Records,
    rows: Records,
    queue: Integers,
    last: Integers,
    offsets: Integers,
    deps: Integers,
    successors: Integers,
) -> None:
    """Turn dependencies and queues round: who waits for each operation, and who for nobody.

    Successors are counted, then written from the end of each operation's own part to its start.
    """
    last[:] = NONE
    for o in range(len(queue)):
        before = last[queue[o]]
        last[queue[o]] = o
        rows[o]["pending"] = offsets[o + 1] - offsets[o]
        if before != NONE:
            rows[o]["pending"] += 1
            rows[before]["first"] += 1
        for place in range(offsets[o], offsets[o + 1]):
            rows[deps[place]]["first"] += 1
    total = 0
    for o in range(len(rows)):
        total += rows[o]["first"]
        rows[o]["first"] = total
    last[:] = NONE
    for o in range(len(queue)):
        before = last[queue[o]]
        last[queue[o]] = o
        if before != NONE:
            rows[before]["first"] -= 1
            successors[rows[before]["first"]] = o
        for place in range(offsets[o], offsets[o + 1]):
            row = rows[deps[place]]
            row["first"] -= 1
            successors[row["first"]] = o
    for o in range(len(queue) - 1, -1, -1):
        if rows[o]["pending"] == 0:
            rows[o]["next"] = control[0]["ready"]
            control[0]["ready"] = o


def _deps(operations: Operations) -> tuple[Integers, Integers]:
    return operations.dep_offsets, operations.deps


def _operations(operations: Operations, meetings: Meetings) -> Records:
    rows = np.zeros(len(operations.rank) + 1, OPERATION)
    rows["meeting"][:-1] = meetings.of
    rows["duration_ps"][:-1] = operations.duration_ps
    rows["passive"][:-1] = operations.passive
    return rows


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
