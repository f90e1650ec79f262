"""Attributes the critical path to causes: bounds of operations, links, latency, contention."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.collectives import Transfers
from cluster.replay.critical_path import Path, Phase
from cluster.replay.interface import Operations, Replayed
from cluster.replay.op_durations import LAUNCH, RECORDED, bound_among
from corsair_common.units import Integers
from results.schema import OTHER_CAUSES

INSIDE = -1
"""The resource of exchanges inside a rank, and of everything that is not a transfer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Causes:
    """The path's time in parts: j of them, in order of step, cause and resource."""

    step: Integers
    cause: Integers
    """Positions in ``names``."""
    resource: Integers
    """INSIDE for none."""
    elapsed_ps: Integers
    names: tuple[str, ...]
    """All causes that there are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Columns of the k rows on the path."""

    step: Integers
    bound: Integers
    """Positions in ``bounds``, or RECORDED."""
    dispatch_ps: Integers
    bounds: tuple[str, ...]
    """What can set the time of the device."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ledger:
    """The resources of a run and their loads."""

    transfers: Transfers
    latency_ps: Integers
    """[r] latency for finding the longest; 0 for resources that are not links."""
    moved_bytes: Integers
    """[r] in the whole run."""


def causes_after(bounds: tuple[str, ...]) -> tuple[str, ...]:
    """The causes of time on a device with these bounds, which come first.

    ``network`` is time in which bytes move, ``latency`` what passes before, ``contention`` what
    others on the same links add, ``recorded`` durations that the trace gave.
    """
    return (*bounds, *OTHER_CAUSES)


def causes_of(
    path: Path, rows: Rows, operations: Operations, replayed: Replayed, ledger: Ledger
) -> Causes:
    """Split the path by cause. ``rows`` describes the path's operations, in its order.

    Transfer time is attributed to the link that the bytes fill most, latency to the longest link on
    their path, contention to the link of their path that carried most in the run.
    """
    elapsed = path.elapsed_ps
    none = np.full(len(elapsed), INSIDE, np.int64)
    zero = np.zeros(len(elapsed), np.int64)
    work, moved = path.phase == Phase.WORK, path.phase == Phase.TRANSFER
    dispatch = np.where(work, np.minimum(rows.dispatch_ps, elapsed), elapsed)
    dispatch[moved] = 0
    names = causes_after(rows.bounds)
    bound = np.where(rows.bound == RECORDED, names.index("recorded"), rows.bound)
    own = np.where(work, elapsed - dispatch, 0)
    latency, contention = zero.copy(), zero.copy()
    links = np.tile(none, (3, 1))
    if moved.any():
        met = replayed.matched_call[path.operation[moved] % operations.rows]
        first = _transfer(operations, replayed)[met]
        latency[moved], contention[moved], links[:, moved] = _transferred(
            first, elapsed[moved], ledger
        )
    moving = np.where(moved, elapsed - latency - contention, 0)
    launched = bound_among(rows.bounds, LAUNCH)
    others = [names.index(name) for name in ("network", "latency", "contention")]
    return _summed(
        names,
        np.tile(rows.step, 5),
        np.concatenate([bound, *(zero + cause for cause in (launched, *others))]),
        np.concatenate([none, none, *links]),
        np.concatenate([own, dispatch, moving, latency, contention]),
    )


def _transfer(operations: Operations, replayed: Replayed) -> Integers:
    """[matched call of a repeat] its first leg, -1 where the matched call is all that happens."""
    found = np.full(replayed.matched_calls, -1, np.int64)
    rows = np.flatnonzero(operations.transfer >= 0)
    found[replayed.matched_call[rows]] = operations.transfer[rows]
    return found


def _transferred(
    first: Integers, elapsed: Integers, ledger: Ledger
) -> tuple[Integers, Integers, Integers]:
    """Latency, contention and [3] the links of moving and of either, by transfers' first legs."""
    used = np.unique(first)
    facts = np.array([_facts(int(leg), ledger) for leg in used], np.int64)
    latency, alone, *links = facts[np.searchsorted(used, first)].T
    latency = np.minimum(latency, elapsed)
    return latency, np.maximum(0, elapsed - np.maximum(alone, latency)), np.stack(links)


def _facts(leg: int, ledger: Ledger) -> tuple[int, int, int, int, int]:
    """Latency, time alone, and the links: filled most, longest, busiest."""
    transfers = ledger.transfers
    latency = alone = longest = 0
    neck = INSIDE
    crossed: list[int] = []
    while leg >= 0:
        latency += int(transfers.latency_ps[leg])
        alone += int(transfers.latency_ps[leg] + transfers.work_ps[leg])
        uses = slice(transfers.use_offsets[leg], transfers.use_offsets[leg + 1])
        resources = transfers.use_resource[uses]
        crossed += resources.tolist()
        if resources.size and transfers.work_ps[leg] > longest:
            longest = int(transfers.work_ps[leg])
            neck = int(resources[np.argmax(transfers.use_share[uses])])
        leg = int(transfers.then[leg])
    if not crossed:
        return latency, alone, INSIDE, INSIDE, INSIDE
    links = np.unique(crossed)
    busy_s = ledger.moved_bytes[links] / transfers.capacity_bytes_per_s[links]
    far, busy = links[np.argmax(ledger.latency_ps[links])], links[np.argmax(busy_s)]
    return latency, alone, neck, int(far), int(busy)


def _summed(
    names: tuple[str, ...],
    step: Integers,
    cause: Integers,
    resource: Integers,
    elapsed: Integers,
) -> Causes:
    """Equal parts joined, empty ones left out."""
    some = elapsed > 0
    places = int(resource.max(initial=INSIDE)) - INSIDE + 1
    key = (step[some] * len(names) + cause[some]) * places + resource[some] - INSIDE
    kinds, which = np.unique(key, return_inverse=True)
    total = np.zeros(len(kinds), np.int64)
    np.add.at(total, which, elapsed[some])
    return Causes(
        step=kinds // places // len(names),
        cause=kinds // places % len(names),
        resource=kinds % places + INSIDE,
        elapsed_ps=total,
        names=names,
    )
