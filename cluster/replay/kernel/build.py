"""The kernel's records at the start of a run, copied from the engine's inputs."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.compiled import compiled, inlined
from cluster.perf_model.collectives import Transfers
from cluster.perf_model.tables import Records
from cluster.replay.interface import FIRST_BIN_PS, Operations
from cluster.replay.kernel.state import (
    CONTROL,
    ENTRY,
    FOLLOWER,
    LEG,
    MEETING,
    MET,
    NONE,
    READY,
    RESOURCE,
    ROW,
    SLOT,
    USE,
    State,
)
from cluster.replay.matching import MatchedCalls
from corsair_common.units import NEVER, Integers


class Program(NamedTuple):
    """The operations for compiled code: the rows of one repeat."""

    queue: Integers
    """[n] number of each one's (rank, stream)."""
    dep_offsets: Integers
    deps: Integers


def build(
    operations: Operations,
    matched_calls: MatchedCalls,
    transfers: Transfers,
    *,
    contended: bool,
    most_bins: int,
) -> State:
    """Make the initial state of a run.

    Everything is owned, writable and contiguous, so that the kernel is compiled for one type only.
    """
    queue = queues_of(operations)
    queues = int(queue.max(initial=0)) + 1
    homes = _homes(operations, matched_calls, queue)
    slots, entries = _slots(transfers, matched_calls, homes, queues)
    control = np.zeros(1, CONTROL)
    control["operations"], control["rows"] = operations.total, operations.rows
    control["matched_calls"] = len(matched_calls)
    control["contended"], control["bin_ps"] = contended, FIRST_BIN_PS
    seen, ready = np.zeros(operations.total, np.int32), np.zeros(queues, READY)
    rows, followers = _linked(operations, matched_calls, queue, seen)
    _stack(rows, seen, ready, control)
    resources = np.zeros(transfers.resources, RESOURCE)
    resources["head"] = NONE
    return State(
        control=control,
        rows=rows,
        followers=followers,
        varying_ps=np.array(operations.varying_ps, np.int64, order="C"),
        start_ps=np.zeros(operations.total, np.int64),
        end_ps=np.zeros(operations.total, np.int64),
        seen=seen,
        ready=ready,
        matched_calls=_matched_calls(matched_calls, homes),
        met=_met(matched_calls, operations.repeats),
        members=np.array(matched_calls.members, np.int64),
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


def queues_of(operations: Operations) -> Integers:
    """[n] a number for each row's (rank, stream), in their order."""
    streams = int(operations.stream.max(initial=0)) + 1
    return operations.rank * streams + operations.stream


def _linked(
    operations: Operations,
    matched_calls: MatchedCalls,
    queue: Integers,
    seen: npt.NDArray[np.int32],
) -> tuple[Records, Records]:
    """Rows with their successors, and the successors; ``seen`` at the start of the first repeat.

    Dependencies of the first repeat on the previous one count as seen.
    """
    total = operations.rows
    program = Program(
        queue=queue,
        dep_offsets=np.require(operations.dep_offsets, np.int64, ["C", "W"]),
        deps=np.require(operations.deps, np.int64, ["C", "W"]),
    )
    rows = np.zeros(total + 1, ROW)
    varies = operations.varies if len(operations.varies) else np.full(total, NONE)
    rows["varies"][:-1] = varies
    rows["duration_ps"][:-1] = np.where(varies >= 0, 0, operations.duration_ps)
    rows["matched_call"][:-1] = matched_calls.of
    rows["passive"][:-1] = operations.passive
    last = np.empty((int(queue.max(initial=0)) + 1, 2), np.int64)
    followers = np.zeros(total + len(operations.deps), FOLLOWER)
    count(program, last, rows, seen)
    rows["first"].cumsum(out=rows["first"])
    follow(program, last, rows, followers)
    return rows, followers


@compiled
def count(program: Program, last: Integers, rows: Records, seen: npt.NDArray[np.int32]) -> None:
    """Count the successors of each row: the next of its queue, and rows with it in deps."""
    last[:] = NONE
    total = len(program.queue)
    for row in range(total):
        queue = program.queue[row]
        if last[queue, 1] == NONE:
            last[queue, 0] = row
            seen[row] += 1
        else:
            rows[last[queue, 1]]["first"] += 1
        last[queue, 1] = row
        wanted = 1
        for place in range(program.dep_offsets[row], program.dep_offsets[row + 1]):
            other = program.deps[place]
            wanted += 1
            if other < 0:
                other += total
                seen[row] += 1
            rows[other]["first"] += 1
        rows[row]["wanted"] = wanted
    for place in range(len(last)):
        if last[place, 1] != NONE:
            rows[last[place, 1]]["first"] += 1


@compiled
def follow(program: Program, last: Integers, rows: Records, followers: Records) -> None:
    """Write them down from the end of each row's part to its start, where ``first`` ends."""
    total = len(program.queue)
    for place in range(len(last)):
        if last[place, 1] != NONE:  # the first of the next repeat follows the last of this one
            write(rows, followers, last[place, 1], last[place, 0], total)
            last[place, 1] = NONE
    for row in range(total):
        queue = program.queue[row]
        if last[queue, 1] != NONE:
            write(rows, followers, last[queue, 1], row, 0)
        last[queue, 1] = row
        for place in range(program.dep_offsets[row], program.dep_offsets[row + 1]):
            other = program.deps[place]
            if other < 0:
                write(rows, followers, other + total, row, total)
            else:
                write(rows, followers, other, row, 0)


@inlined
def write(rows: Records, followers: Records, row: int, later: int, further: int) -> None:
    """One more follower of a row; ``further`` operations lie between their repeats."""
    rows[row]["first"] -= 1
    follower = followers[rows[row]["first"]]
    follower["row"] = later
    follower["further"] = later - row + further


def _stack(rows: Records, seen: npt.NDArray[np.int32], ready: Records, control: Records) -> None:
    """Operations of the first repeat without dependencies, the lowest on top."""
    first = np.flatnonzero(seen[: len(rows) - 1] == rows["wanted"][:-1])[::-1]
    control["ready"] = len(first)
    ready["operation"][: len(first)] = ready["row"][: len(first)] = first


def _homes(operations: Operations, matched_calls: MatchedCalls, queue: Integers) -> Integers:
    """[m] the lowest queue of a driver; that of any member where all drivers are missing."""
    if not len(matched_calls):
        return np.zeros(0, np.int64)
    queues = queue[matched_calls.members]
    beyond = int(queues.max()) + 1
    shifted = queues + beyond * operations.passive[matched_calls.members]
    lowest: Integers = np.minimum.reduceat(shifted, matched_calls.member_offsets[:-1])
    return lowest % beyond


def _slots(
    transfers: Transfers, matched_calls: MatchedCalls, homes: Integers, queues: int
) -> tuple[Records, Records]:
    """Slots, each with as many entries as the widest leg of its matched calls needs."""
    uses = np.diff(transfers.use_offsets)
    for leg in np.flatnonzero(transfers.then >= 0)[::-1]:
        uses[leg] = max(uses[leg], uses[transfers.then[leg]])
    widest = np.zeros(queues, np.int64)
    moves = matched_calls.transfer >= 0
    np.maximum.at(widest, homes[moves], uses[matched_calls.transfer[moves]])
    slots = np.zeros(queues, SLOT)
    slots["place"] = NONE
    slots["entry"] = np.cumsum(widest) - widest
    entries = np.zeros(int(widest.sum()), ENTRY)
    entries["slot"] = np.repeat(np.arange(queues), widest)
    return slots, entries


def _matched_calls(matched_calls: MatchedCalls, homes: Integers) -> Records:
    rows = np.zeros(len(matched_calls) + 1, MEETING)
    rows["leg"][:-1] = matched_calls.transfer
    rows["drivers"][:-1] = matched_calls.drivers
    rows["home"][:-1] = homes
    rows["first"] = matched_calls.member_offsets
    return rows


def _met(matched_calls: MatchedCalls, repeats: int) -> Records:
    met = np.zeros((repeats, len(matched_calls)), MET)
    met["missing"] = matched_calls.drivers
    met["finish_ps"] = NEVER
    return met.ravel()


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
