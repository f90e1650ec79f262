"""How each rank spends the run: computing, communicating, both at once, or neither."""

from dataclasses import dataclass

import numpy as np

from cluster.machine.tables import Integers
from cluster.replay.problem import Kind, Operations, Replayed
from workloads.program.words import HOST, NETWORK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Usage:
    """Picoseconds of each rank; the union of intervals, so no time counts twice."""

    compute_ps: Integers
    """[rank] at work, or preparing to communicate."""
    communication_ps: Integers
    """[rank] in a transfer that is under way; waiting for others is none."""
    overlap_ps: Integers
    """[rank] both at once."""
    idle_ps: Integers
    """[rank] neither: the bubble."""


def usage_of(operations: Operations, replayed: Replayed) -> Usage:
    """Measure every rank from 0 to the makespan. The host's time is none of the card's."""
    ranks = int(operations.rank.max(initial=-1)) + 1
    work = operations.kind == Kind.WORK
    there = replayed.start_ps + operations.duration_ps
    computes = np.where(work, (operations.stream != NETWORK) & (operations.stream != HOST), True)
    computes &= there > replayed.start_ps
    begin, finish = replayed.start_ps.copy(), replayed.end_ps.copy()
    begin[~work] = replayed.begin_ps[replayed.meeting[~work]]
    finish[~work] = replayed.finish_ps[replayed.meeting[~work]]
    moves = (~work | (operations.stream == NETWORK)) & (finish > begin)
    busy = np.zeros((ranks, 3), np.int64)
    order = np.argsort(_narrow(operations.rank), kind="stable")
    offsets = np.searchsorted(operations.rank[order], np.arange(ranks + 1))
    for rank in range(ranks):
        rows = order[offsets[rank] : offsets[rank + 1]]
        own, sent = rows[computes[rows]], rows[moves[rows]]
        busy[rank] = (
            covered(replayed.start_ps[own], there[own]),
            covered(begin[sent], finish[sent]),
            covered(
                np.concatenate([replayed.start_ps[own], begin[sent]]),
                np.concatenate([there[own], finish[sent]]),
            ),
        )
    compute, communication, either = busy.T
    return Usage(
        compute_ps=compute,
        communication_ps=communication,
        overlap_ps=compute + communication - either,
        idle_ps=replayed.makespan_ps - either,
    )


def covered(start: Integers, end: Integers) -> int:
    """How much time lies in at least one of the intervals.

    Examples
    --------
    >>> covered(np.array([0, 5, 20]), np.array([10, 7, 21]))
    11
    """
    if not start.size:
        return 0
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    gaps = np.maximum(0, start[1:] - reach[:-1])
    return int(reach[-1] - start[0] - gaps.sum())


def _narrow(rank: Integers) -> np.ndarray:
    """Small numbers are sorted by radix, which is much quicker."""
    return rank.astype(np.int16) if rank.max(initial=0) < np.iinfo(np.int16).max else rank
