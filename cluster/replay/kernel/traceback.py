"""Reads a finished run: the critical path, merged intervals, and the ends of steps."""

from typing import NamedTuple

import numpy as np

from cluster.compiled import compiled, inlined
from cluster.perf_model.tables import Records
from cluster.replay.interface import Operations, Replayed
from cluster.replay.kernel.build import queues_of
from cluster.replay.kernel.state import NONE
from cluster.replay.matching import pair
from corsair_common.units import Integers

WORK, PREPARE, TRANSFER = 0, 1, 2
"""An operation that takes its own time; what a rank does before it communicates; from the last
driver's coming to the end of the matched call."""
COMPUTES, MOVES = 1, 2
"""Activity of a row; both are possible."""

PAST_ROW = np.dtype(
    [
        (name, np.int64)
        for name in (
            "duration_ps",
            "varies",
            "matched_call",
            "passive",
            "before",  # row before it in its queue; of the first one, the last
            "back",  # how many operations earlier that one is
            "does",  # COMPUTES, MOVES
        )
    ]
)
SEGMENT = np.dtype([(name, np.int64) for name in ("operation", "phase", "from_ps", "until_ps")])


class Past(NamedTuple):
    """A run and its rows, as compiled code reads them."""

    rows: Records
    """[n]"""
    varying_ps: Integers
    dep_offsets: Integers
    deps: Integers
    member_offsets: Integers
    """[m + 1] of the matched calls of one repeat."""
    members: Integers
    start_ps: Integers
    end_ps: Integers
    begin_ps: Integers
    finish_ps: Integers


def past_of(operations: Operations, replayed: Replayed, does: Integers | None = None) -> Past:
    """Lay a run out; ``does[n]`` is what each row does, if requested."""

    def owned(column: Integers) -> Integers:
        return np.require(column, np.int64, ["C", "W"])

    queue, count = queues_of(operations), operations.rows
    order = np.argsort(queue, kind="stable")
    heads = np.flatnonzero(np.diff(queue[order], prepend=-1))
    before = np.roll(order, 1)
    before[heads] = order[np.append(heads[1:], count)[: len(heads)] - 1]
    rows = np.zeros(count, PAST_ROW)
    rows["before"][order] = before
    rows["back"][order] = order - before
    rows["back"][order[heads]] += count
    rows["varies"] = operations.varies if len(operations.varies) else NONE
    rows["duration_ps"] = operations.duration_ps
    rows["matched_call"] = replayed.matched_call
    rows["passive"] = operations.passive
    rows["does"] = 0 if does is None else does
    matched_calls = pair(operations)
    return Past(
        rows=rows,
        varying_ps=owned(operations.varying_ps),
        dep_offsets=owned(operations.dep_offsets),
        deps=owned(operations.deps),
        member_offsets=owned(matched_calls.member_offsets),
        members=owned(matched_calls.members),
        start_ps=owned(replayed.start_ps),
        end_ps=owned(replayed.end_ps),
        begin_ps=owned(replayed.begin_ps),
        finish_ps=owned(replayed.finish_ps),
    )


@inlined
def duration_ps(past: Past, repeat: int, row: int) -> int:
    """An operation's own duration."""
    own = past.rows[row]
    if own["varies"] == NONE:
        return int(own["duration_ps"])
    return int(past.varying_ps[repeat, own["varies"]])


@compiled
def walk(past: Past, operation: int, segments: Records) -> tuple[int, int]:
    """Walk back from an operation, writing segments that have a length, the latest first.

    Returns how many were written, and the operation to go on from, NONE at the beginning.
    """
    count, total = 0, len(past.rows)
    each = len(past.member_offsets) - 1
    while operation != NONE and count + 2 <= len(segments):
        repeat = operation // total
        row = operation - repeat * total
        start, end = past.start_ps[operation], past.end_ps[operation]
        matched_call = past.rows[row]["matched_call"]
        if matched_call == NONE:
            count = note(segments, count, operation, WORK, start, end)
        else:
            there = start + duration_ps(past, repeat, row)
            if end > there:
                met = repeat * each + matched_call
                begin = past.begin_ps[met]
                count = note(segments, count, operation, TRANSFER, begin, past.finish_ps[met])
                row = driver(past, repeat, matched_call, begin)
                operation = repeat * total + row
                start, there = past.start_ps[operation], begin
            count = note(segments, count, operation, PREPARE, start, there)
        operation = waited_for(past, operation, row)
    return count, operation


@inlined
def note(
    segments: Records, count: int, operation: int, phase: int, from_ps: int, until_ps: int
) -> int:
    """Write a segment down if it has a length; return how many there are."""
    if until_ps <= from_ps:
        return count
    segment = segments[count]
    segment["operation"] = operation
    segment["phase"] = phase
    segment["from_ps"] = from_ps
    segment["until_ps"] = until_ps
    return count + 1


@inlined
def driver(past: Past, repeat: int, matched_call: int, begin_ps: int) -> int:
    """The lowest row that arrived last."""
    first = past.member_offsets[matched_call]
    for place in range(first, past.member_offsets[matched_call + 1]):
        row = past.members[place]
        start_ps = past.start_ps[repeat * len(past.rows) + row]
        there_ps = start_ps + duration_ps(past, repeat, row)
        if there_ps == begin_ps and past.rows[row]["passive"] == 0:
            return int(row)
    return int(past.members[first])


@inlined
def waited_for(past: Past, operation: int, row: int) -> int:
    """What ended when it started, dependencies before the queue; NONE at the beginning."""
    start_ps = past.start_ps[operation]
    if start_ps == 0:
        return NONE
    for place in range(past.dep_offsets[row], past.dep_offsets[row + 1]):
        other = operation - row + past.deps[place]
        if other >= 0 and past.end_ps[other] == start_ps:
            return int(other)
    before = operation - past.rows[row]["back"]
    return int(before) if before >= 0 else NONE


@compiled
def join(past: Past, queue: Integers, what: int, intervals: Integers) -> int:
    """Intervals in which the rows of a queue do ``what``, those that touch joined; how many.

    They stand in the order of their operations, which may not be that of their times.
    """
    count, total = 0, len(past.rows)
    each = len(past.member_offsets) - 1
    for repeat in range(len(past.end_ps) // total):
        for place in range(len(queue)):
            row = queue[place]
            if past.rows[row]["does"] & what == 0:
                continue
            operation, matched_call = repeat * total + row, past.rows[row]["matched_call"]
            from_ps = past.start_ps[operation]
            if what == COMPUTES:
                until_ps = from_ps + duration_ps(past, repeat, row)
            elif matched_call == NONE:
                until_ps = past.end_ps[operation]
            else:
                from_ps = past.begin_ps[repeat * each + matched_call]
                until_ps = past.finish_ps[repeat * each + matched_call]
            if until_ps <= from_ps:
                continue
            last = count - 1
            if count > 0 and intervals[0, last] <= from_ps <= intervals[1, last]:
                intervals[1, last] = max(intervals[1, last], until_ps)
            else:
                intervals[0, count], intervals[1, count] = from_ps, until_ps
                count += 1
    return count


@compiled
def bound_steps(past: Past, spans: Integers, each: int, bounds: Integers) -> None:
    """Widen ``bounds[0 or 1, step]`` to the first start and the last end of its operations.

    ``spans[:, i]`` are the row in which operation i of a repeat starts, that in which it ends, and
    its step; ``each`` is how many steps a repeat has.
    """
    total = len(past.rows)
    for repeat in range(len(past.end_ps) // total):
        first = repeat * total
        for i in range(spans.shape[1]):
            step = repeat * each + spans[2, i]
            bounds[0, step] = min(bounds[0, step], past.start_ps[first + spans[0, i]])
            bounds[1, step] = max(bounds[1, step], past.end_ps[first + spans[1, i]])
