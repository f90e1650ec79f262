"""The critical path, traced back from the last end to the operation that was waited for.

Its segments are contiguous from 0 to the makespan, so their times sum to it exactly.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from cluster.replay.interface import Operations, Replayed
from cluster.replay.kernel.state import NONE
from cluster.replay.kernel.traceback import PREPARE, SEGMENT, TRANSFER, WORK, Past, past_of, walk
from corsair_common.units import Integers

WINDOW = 1 << 16
"""Segments traced per call."""


class Phase(IntEnum):
    """Kind of a segment of the path."""

    WORK = WORK
    """An operation that takes its own time."""
    PREPARE = PREPARE
    """A rank's work before it communicates."""
    TRANSFER = TRANSFER
    """From the last driver's arrival to the end of the matched call."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """Segments, the latest first."""

    operation: Integers
    """[k] operation of the segment."""
    phase: Integers
    """[k] values of Phase."""
    from_ps: Integers
    until_ps: Integers

    @property
    def elapsed_ps(self) -> Integers:
        return self.until_ps - self.from_ps


def critical_path(operations: Operations, replayed: Replayed, past: Past | None = None) -> Path:
    """Walk back from the operation that ended last; of equal ones, from the lowest.

    ``past`` is ``past_of`` the same run, if already computed.
    """
    found = [np.zeros(0, SEGMENT)]
    if operations.total:
        past = past or past_of(operations, replayed)
        operation = int(np.argmax(replayed.end_ps))
        window = np.zeros(WINDOW, SEGMENT)
        while operation != NONE:
            count, operation = walk(past, operation, window)
            found.append(window[:count].copy())
    segments = np.concatenate(found)
    return Path(
        operation=np.ascontiguousarray(segments["operation"]),
        phase=np.ascontiguousarray(segments["phase"]),
        from_ps=np.ascontiguousarray(segments["from_ps"]),
        until_ps=np.ascontiguousarray(segments["until_ps"]),
    )
