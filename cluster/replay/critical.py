"""The critical path: walked backward from the last end, always to whoever was waited for.

Its segments lie end to end from 0 to the makespan, so their times sum to it exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from cluster.machine.tables import Integers
from cluster.replay.problem import Operations, Replayed


class Phase(IntEnum):
    """What a segment of the path is."""

    WORK = 0
    """An operation that takes its own time."""
    PREPARE = 1
    """What a rank does before it communicates."""
    TRANSFER = 2
    """From the last driver's coming to the end of the meeting."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """Segments, the latest first."""

    row: Integers
    """[k] operation whose segment it is."""
    phase: Integers
    """[k] values of Phase."""
    from_ps: Integers
    until_ps: Integers

    @property
    def elapsed_ps(self) -> Integers:
        return self.until_ps - self.from_ps


def critical_path(operations: Operations, replayed: Replayed) -> Path:
    """Walk back from the operation that ended last; of equal ones, from the lowest row."""
    if not len(operations.rank):
        none = np.zeros(0, np.int64)
        return Path(row=none, phase=none, from_ps=none, until_ps=none)
    segments = np.array(list(_walk(operations, replayed)), np.int64)
    row, phase, from_ps, until_ps = segments[segments[:, 3] > segments[:, 2]].T
    return Path(row=row, phase=phase, from_ps=from_ps, until_ps=until_ps)


def _walk(operations: Operations, replayed: Replayed) -> Iterator[tuple[int, int, int, int]]:
    """Yield (row, phase, from, until); those of no length, too."""
    steps = _Steps(operations, replayed)
    row = int(np.argmax(replayed.end_ps))
    while row >= 0:
        start, end = int(replayed.start_ps[row]), int(replayed.end_ps[row])
        meeting = int(replayed.meeting[row])
        if meeting < 0:
            yield row, Phase.WORK, start, end
        else:
            there = start + int(operations.duration_ps[row])
            if end > there:
                begin = int(replayed.begin_ps[meeting])
                yield row, Phase.TRANSFER, begin, int(replayed.finish_ps[meeting])
                row = steps.driver(meeting)
                start, there = int(replayed.start_ps[row]), begin
            yield row, Phase.PREPARE, start, there
        row = steps.before(row)


class _Steps:
    """From a row or meeting to the row that it waited for."""

    def __init__(self, operations: Operations, replayed: Replayed) -> None:
        self._operations = operations
        self._replayed = replayed
        self._previous = _previous(operations)
        rows = np.flatnonzero(replayed.meeting >= 0)
        order = np.argsort(replayed.meeting[rows], kind="stable")
        self._members = rows[order]
        self._offsets = np.searchsorted(
            replayed.meeting[self._members], np.arange(len(replayed.begin_ps) + 1)
        )

    def driver(self, meeting: int) -> int:
        """The lowest row that came last."""
        members = self._members[self._offsets[meeting] : self._offsets[meeting + 1]]
        there = self._replayed.start_ps[members] + self._operations.duration_ps[members]
        last = (there == self._replayed.begin_ps[meeting]) & (
            self._operations.passive[members] == 0
        )
        return int(members[np.argmax(last)])

    def before(self, row: int) -> int:
        """What ended when ``row`` started, dependencies before the queue; -1 at the beginning."""
        start = self._replayed.start_ps[row]
        if start == 0:
            return -1
        ends, offsets = self._replayed.end_ps, self._operations.dep_offsets
        for dep in self._operations.deps[offsets[row] : offsets[row + 1]]:
            if ends[dep] == start:
                return int(dep)
        return int(self._previous[row])


def _previous(operations: Operations) -> Integers:
    """[n] the row before in the same queue, -1 for the first."""
    queue = operations.rank * (int(operations.stream.max(initial=0)) + 1) + operations.stream
    if int(queue.max(initial=0)) < np.iinfo(np.int16).max:
        queue = queue.astype(np.int16)  # sorted by radix: much quicker
    order = np.argsort(queue, kind="stable")
    previous = np.full(len(queue), -1, np.int64)
    same = queue[order[1:]] == queue[order[:-1]]
    previous[order[1:][same]] = order[:-1][same]
    return previous
