"""The kernel's state: structured arrays of int64 and, for speeds, float64."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import Records
from corsair_common.units import Integers

NONE = -1
"""No operation, no matched call, no leg, no entry."""
LONGEST_PS = 9 * 10**15
"""Of any one duration: exact as a float64, and no sum of a time and three of them leaves int64."""

RUNNING, DONE, LATE, STUCK = 0, 1, 2, 3
"""Status after a window."""
THERE, ENDED = -1, -2
"""Values of an operation's ``seen`` once nothing keeps it from starting."""
COMING, ACTIVE = 0, 1
"""Next event of a slot's leg: enter, or leave."""


def _record(*names: str, floats: tuple[str, ...] = ()) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names] + [(name, np.float64) for name in floats])


CONTROL = _record(
    "operations",  # in all
    "rows",  # of one repeat
    "matched_calls",  # of one repeat
    "contended",
    "bin_ps",
    # where the run stands
    "now_ps",
    "end_ps",
    "done",
    "status",
    "ready",  # operations on the stack of those that can start
    "queued",  # slots in the heap
    "dirty",  # resources whose legs may need other speeds
    # scratch of the component being filled
    "serial",
    "slots",
    "resources",
    "free",
)

ROW = _record(
    "duration_ps",
    "varies",  # column of the durations that differ by repeat, or NONE
    "matched_call",  # in the first repeat
    "passive",
    "wanted",  # ends that it waits for in every repeat but the first
    "first",  # of its followers; the next row's is one past the last
)
"""A row of the program; one more than there are."""

FOLLOWER = _record("row", "further")
"""A row that waits for another, and by how many operations it comes later."""

READY = _record("operation", "row")

MEETING = _record("leg", "drivers", "home", "first")
"""Of one repeat; one more than there are. ``first`` is that of its members."""

MET = _record("missing", "begin_ps", "finish_ps")
"""Progress of a matched call of a repeat."""

LEG = _record("latency_ps", "work_ps", "then", "first", floats=("peak",))

USE = _record("resource", "share", "bytes", floats=("weight",))
"""``weight`` is share / peak."""

SLOT = _record(
    "heap",  # which slot stands at this place of the heap; no property of this one
    "place",  # where this one stands in it, or NONE
    "event_ps",
    "state",
    "matched_call",
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
    """The complete state, in arrays that the kernel may write."""

    control: Records
    """[1]"""
    rows: Records
    """[n + 1]"""
    followers: Records
    """Of each row: the next of its queue, and those with it in deps."""
    varying_ps: Integers
    """[repeats, column]"""
    start_ps: Integers
    """[operation] latest end so far of what it waits for, until it starts."""
    end_ps: Integers
    """[operation] when it was there, until its matched call ends."""
    seen: npt.NDArray[np.int32]
    """[operation] ends of those that it waits for that have come, or THERE, or ENDED."""
    ready: Records
    """[queue] a stack: the operations that can start, at most one of a queue."""
    matched_calls: Records
    """[m + 1]"""
    met: Records
    """[repeats x m]"""
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
