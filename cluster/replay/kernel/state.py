"""What the kernel remembers: structured arrays of int64 and, for speeds, float64."""

from typing import NamedTuple

import numpy as np

from cluster.machine.tables import Integers, Records

NONE = -1
"""No operation, no meeting, no leg, no entry."""
NEVER = -1
"""It has not happened."""
LONGEST_PS = 9 * 10**15
"""Of any one duration: exact as a float64, and no sum of a time and three of them leaves int64."""

RUNNING, DONE, LATE, STUCK = 0, 1, 2, 3
"""How things stand after a window."""
THERE, ENDED = -1, -2
"""Values of an operation's ``pending`` once nothing keeps it from starting."""
COMING, ACTIVE = 0, 1
"""What the leg of a slot will do next: enter, or leave."""


def _record(*names: str, floats: tuple[str, ...] = ()) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names] + [(name, np.float64) for name in floats])


CONTROL = _record(
    "operations",
    "contended",
    "bin_ps",
    # where the run stands
    "now_ps",
    "end_ps",
    "done",
    "status",
    "ready",  # first of the chain of operations that can start
    "queued",  # slots in the heap
    "dirty",  # resources whose legs may need other speeds
    # scratch of the component being filled
    "serial",
    "slots",
    "resources",
    "free",
)

OPERATION = _record(
    "duration_ps",
    "meeting",
    "passive",
    "pending",  # rows that it still waits for, or THERE, or ENDED
    "first",  # of its successors; the next operation's is one past the last
    "next",  # in the chain of those that can start
    "start_ps",  # latest end so far of what it waits for, until it starts
    "end_ps",  # when it was there, until its meeting ends
)
"""One cache line each; one more than there are operations."""

MEETING = _record(
    "leg",
    "missing",  # drivers that are not there yet
    "home",  # slot
    "first",  # of its members
    "begin_ps",
    "finish_ps",
)

LEG = _record("latency_ps", "work_ps", "then", "first", floats=("peak",))

USE = _record("resource", "share", "bytes", floats=("weight",))
"""``weight`` is share / peak."""

SLOT = _record(
    "heap",  # which slot stands at this place of the heap; no property of this one
    "place",  # where this one stands in it, or NONE
    "event_ps",
    "state",
    "meeting",
    "leg",
    "since_ps",
    "entry",  # the first of its own entries
    "mark",  # serial of the component that it was last part of
    "fixed",
    floats=("remaining", "speed", "fresh"),
)
"""A home: one (rank, stream)."""

ENTRY = _record("slot", "before", "after")
"""A use of an active leg, in the list of its resource, which is ordered by slots."""

RESOURCE = _record(
    "demand",
    "head",
    "mark",
    "is_dirty",
    "stale",  # its reach must be found anew
    "free",  # legs on it that are not fixed
    floats=("reach",),
)


class State(NamedTuple):
    """Everything, in arrays that the kernel may write."""

    control: Records
    """[1]"""
    operations: Records
    """[n + 1]"""
    successors: Integers
    """Operations that wait for each operation: the next of its queue, and those with it in deps."""
    meetings: Records
    """[m + 1]"""
    members: Integers
    legs: Records
    """[t + 1]"""
    uses: Records
    slots: Records
    """[rank x stream]"""
    entries: Records
    """Of each slot as many as the widest leg whose home it is has uses."""
    resources: Records
    """[r]"""
    dirty: Integers
    """[r] scratch: resources to look at."""
    part_slots: Integers
    """[slot] scratch: the component."""
    part_resources: Integers
    """[r] scratch: the component."""
    loads: Integers
    """[bin, r] bytes"""
