"""Analyses a replay's times: critical path, waits, overlap, bubbles and steps."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.replay.bottleneck_attribution import INSIDE, Causes, ResourceLoads, Rows, causes_of
from cluster.replay.critical_path import critical_path
from cluster.replay.interface import Kind, Operations, Replayed
from cluster.replay.kernel.build import queues_of
from cluster.replay.kernel.traceback import COMPUTES, MOVES, Past, bound_steps, join, past_of
from cluster.replay.run import ReplayMachine, ReplayOutcome
from cluster.replay.translate import operations_of
from corsair_common.units import PS_PER_S, Integers
from workloads.program.schema import HOST, NETWORK


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


def work_of(operations: Operations) -> Integers:
    """[n] what each row does while it lasts: COMPUTES and MOVES. The host's time is neither."""
    work = operations.kind == Kind.WORK
    network = operations.stream == NETWORK
    computes = ~work | ~(network | (operations.stream == HOST))
    does: Integers = computes * COMPUTES + (~work | network) * MOVES
    return does


def usage_of(operations: Operations, replayed: Replayed, past: Past | None = None) -> Usage:
    """Measure every rank from 0 to the makespan.

    ``past`` is ``past_of`` the same run and its ``work_of``, where it is at hand already.
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
    """How much time lies in at least one of the intervals.

    Nobody is under way between the k-th end and the start after the k-th, where that is later.

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measures:
    """Quantities derived from the times of a replay."""

    usage: Usage
    causes: Causes
    step_start_ps: Integers
    """[step]"""
    step_end_ps: Integers
    """[step] of its last operation; at least that of the previous step."""


def measures_of(machine: ReplayMachine, outcome: ReplayOutcome) -> Measures:
    """Trace the critical path, merge intervals, and find the ends of steps."""
    replayed, program, operations = outcome.replayed, machine.program, outcome.operations
    past = past_of(operations, replayed, work_of(operations))
    path = critical_path(operations, replayed, past)
    repeat, own = np.divmod(path.operation, max(1, operations.rows))
    op = np.searchsorted(outcome.entry, own, "right") - 1
    written, row = np.divmod(op, max(1, len(program.operations)))
    rows = Rows(
        step=program.operations.step[row] + (repeat + written) * program.steps_per_repeat,
        bound=machine.work.bound[row].astype(np.int64),
        dispatch_ps=np.where(outcome.entry[op] == own, machine.work.dispatch_ps[row], 0),
        bounds=machine.work.bounds,
    )
    loads = ResourceLoads(
        transfers=machine.calls.transfers,
        latency_ps=_latencies(machine),
        moved_bytes=replayed.load_bytes.sum(axis=0),
    )
    start_ps, end_ps = _steps(machine, outcome, past)
    return Measures(
        usage=usage_of(operations, replayed, past),
        causes=causes_of(path, rows, operations, replayed, loads),
        step_start_ps=start_ps,
        step_end_ps=end_ps,
    )


def _latencies(machine: ReplayMachine) -> Integers:
    """[r] of the links; 0 for other resources.

    A link that leaves a switch (or NIC, or leaf) counts with the longest one into it, so that a
    path through a switch is compared as a whole with a bridge.
    """
    paths = machine.racks.routes if machine.racks else machine.network
    found = np.zeros(len(machine.resources.capacity_bytes_per_s), np.int64)
    if paths is None:
        return found
    longest: dict[str, int] = {}
    ends = [str(name).split(">", 1) for name in paths.link_name]
    for (_, target), latency in zip(ends, paths.link_latency_ps.tolist(), strict=True):
        longest[target] = max(longest.get(target, 0), latency)
    endpoints = _endpoints(machine)
    found[: machine.resources.links] = [
        latency + (0 if source in endpoints else longest.get(source, 0))
        for (source, _), latency in zip(ends, paths.link_latency_ps.tolist(), strict=True)
    ]
    return found


def _endpoints(machine: ReplayMachine) -> set[str]:
    """Names of all cards, or of the ranks of a plain network."""
    if machine.racks is not None:
        return set(machine.racks.routes.card_id.tolist())
    return {str(rank) for rank in range(machine.network.ranks if machine.network else 0)}


def waits(machine: ReplayMachine, outcome: ReplayOutcome, measures: Measures) -> dict[str, float]:
    """Share of the critical path by switch or link that it waits for, the largest first.

    A link is reported as the switch (NIC, leaf, spine) that it leaves, or as itself if it leaves a
    card; inside cards as the capacity.
    """
    endpoints, elapsed_by = _endpoints(machine), Counter[str]()
    makespan = max(1, outcome.replayed.makespan_ps)
    causes = measures.causes
    for link, elapsed in zip(causes.resource.tolist(), causes.elapsed_ps.tolist(), strict=True):
        if link != INSIDE:
            name = str(machine.resources.name[link])
            source, joined, _ = name.partition(">")
            place = source if joined and source not in endpoints else name
            elapsed_by[place] += elapsed
    ranked = sorted(elapsed_by.items(), key=lambda one: (-one[1], one[0]))
    return {place: elapsed / makespan for place, elapsed in ranked}


def _steps(machine: ReplayMachine, outcome: ReplayOutcome, past: Past) -> tuple[Integers, Integers]:
    """[step] first start and last end."""
    program = machine.program
    each, template = program.steps_per_repeat, program.operations.step.astype(np.int64)
    written = program.repeats // outcome.operations.repeats
    step = (np.arange(written)[:, None] * each + template).ravel()
    bounds = np.zeros((2, program.steps), np.int64)
    bounds[0] = np.iinfo(np.int64).max
    if outcome.operations.total:
        bound_steps(past, np.stack([outcome.entry, outcome.exit, step]), written * each, bounds)
    last = np.maximum.accumulate(bounds[1])
    return np.minimum(bounds[0], last), last


def stage_bubbles(
    machine: ReplayMachine, outcome: ReplayOutcome, measures: Measures
) -> list[float]:
    """Fraction of the run in which the cards of each pipeline stage are idle, over all replicas."""
    racks = machine.racks
    if racks is None or not racks.stages:
        return []
    stage = racks.stage_of % racks.stages
    idle = np.bincount(stage, weights=measures.usage.idle_ps, minlength=racks.stages)
    makespan = max(1, outcome.replayed.makespan_ps)
    shares: list[float] = (idle / np.bincount(stage, minlength=racks.stages) / makespan).tolist()
    return shares


def replay_summary(
    machine: ReplayMachine, outcome: ReplayOutcome, measures: Measures
) -> dict[str, Any]:
    """The summary of the replay, without its identity and flags."""
    makespan = outcome.replayed.makespan_ps
    usage, ends = measures.usage, measures.step_end_ps
    whole = makespan * max(1, machine.program.ranks)
    communication = int(usage.communication_ps.sum())
    names = measures.causes.names
    totals = np.zeros(len(names), np.int64)
    np.add.at(totals, measures.causes.cause, measures.causes.elapsed_ps)

    def share(part: int, of: int) -> float:
        return part / of if of else 0.0

    return {
        "makespan_s": makespan / PS_PER_S,
        "operations": len(machine.program),
        "ranks": machine.program.ranks,
        "steps": len(ends),
        "mean_step_s": makespan / len(ends) / PS_PER_S,
        "steady_step_s": int(ends[-1] - ends[0]) / (len(ends) - 1) / PS_PER_S
        if len(ends) > 1
        else None,
        "operations_per_s": len(machine.program) / (makespan / PS_PER_S) if makespan else None,
        "compute_share": share(int(usage.compute_ps.sum()), whole),
        "communication_share": share(communication, whole),
        "overlap_share": int(usage.overlap_ps.sum()) / communication if communication else None,
        "bubble_share": share(int(usage.idle_ps.sum()), whole),
        "critical_share": {
            name: share(int(total), makespan) for name, total in zip(names, totals, strict=True)
        },
    }


def least_ps(machine: ReplayMachine) -> int:
    """The work of the busiest stream of any rank, calls without their transfers.

    A stream does one operation after the other, so no replay is shorter.
    """
    operations = operations_of(machine.program, machine.work, machine.calls)
    total = operations.duration_ps * operations.repeats
    varies = operations.varies >= 0
    total[varies] = operations.varying_ps.sum(axis=0)[operations.varies[varies]]
    queues = operations.stream + (operations.stream.max(initial=0) + 1) * operations.rank
    spent = np.zeros(int(queues.max(initial=0)) + 1, np.int64)
    np.add.at(spent, queues, total)
    return int(spent.max(initial=0))
