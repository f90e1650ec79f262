"""Time of each rank by activity: computing, communicating, both at once, or neither."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.tables import Integers
from cluster.replay.interface import Kind, Operations, Replayed
from cluster.replay.kernel.build import queues_of
from cluster.replay.kernel.traceback import COMPUTES, MOVES, Past, join, past_of
from workloads.program.schema import HOST, NETWORK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Usage:
    """Picoseconds of each rank; the union of intervals, so no time counts twice."""

    compute_ps: Integers
    """[rank] computing, or preparing to communicate."""
    communication_ps: Integers
    """[rank] in an active transfer; waiting for others is excluded."""
    overlap_ps: Integers
    """[rank] both at once."""
    idle_ps: Integers
    """[rank] neither: the bubble."""


def work_of(operations: Operations) -> Integers:
    """[n] activity of each row: COMPUTES and MOVES. The host's time is neither."""
    work = operations.kind == Kind.WORK
    network = operations.stream == NETWORK
    computes = ~work | ~(network | (operations.stream == HOST))
    does: Integers = computes * COMPUTES + (~work | network) * MOVES
    return does


def usage_of(operations: Operations, replayed: Replayed, past: Past | None = None) -> Usage:
    """Measure every rank from 0 to the makespan.

    ``past`` is ``past_of`` the same run and its ``work_of``, if already computed.
    """
    past = past or past_of(operations, replayed, work_of(operations))
    ranks = int(operations.rank.max(initial=-1)) + 1
    queue = queues_of(operations)
    order = np.argsort(queue, kind="stable")
    heads = np.flatnonzero(np.diff(queue[order], prepend=-1))
    longest = int(np.diff(heads, append=len(order)).max(initial=0))
    scratch = np.empty((2, longest * operations.repeats), np.int64)
    spent: list[dict[int, list[Integers]]] = [{COMPUTES: [], MOVES: []} for _ in range(ranks)]
    for rows in np.split(order, heads[1:]) if heads.size else []:
        for what, found in spent[int(operations.rank[rows[0]])].items():
            count = join(past, rows, what, scratch)
            found.append(scratch[:, :count].copy())
    none = np.zeros((2, 0), np.int64)
    compute, communication, either = (
        np.array([covered(*np.concatenate([none, *found], axis=1)) for found in lists], np.int64)
        for lists in (
            [own[COMPUTES] for own in spent],
            [own[MOVES] for own in spent],
            [own[COMPUTES] + own[MOVES] for own in spent],
        )
    )
    return Usage(
        compute_ps=compute,
        communication_ps=communication,
        overlap_ps=compute + communication - either,
        idle_ps=replayed.makespan_ps - either,
    )


def covered(start: Integers, end: Integers) -> int:
    """Total time in at least one of the intervals.

    No interval is active between the k-th end and the start after the k-th, if that is later.

    Examples
    --------
    >>> covered(np.array([0, 5, 20]), np.array([10, 7, 21]))
    11
    """
    if not start.size:
        return 0
    start, end = (np.sort(one, kind="stable") for one in (start, end))
    gaps = np.maximum(0, start[1:] - end[:-1])
    return int(end[-1] - start[0] - gaps.sum())
