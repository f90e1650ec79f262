"""Topological order of one rank's nodes, with checks for unknown nodes and cycles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Flags, Integers
from workloads.chakra.record import RankFile, Record

Ids: TypeAlias = npt.NDArray[np.uint64]

_CIRCLE_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Dependencies: m pairs, grouped by the waiting node."""

    waits: Integers
    """[m] places of the nodes that wait, non-decreasing"""
    deps: Integers
    """[m] places of their dependencies"""
    is_control: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A rank's nodes in a valid order."""

    records: list[Record]
    edges: Edges
    """Places in ``records``"""
    control_left_out: int
    control_reason: str


def ordered(file: RankFile, control: str) -> Ordered:
    """Sort by id, then move nodes behind their dependencies.

    ``control`` is ``follow``, ``ignore``, or ``auto``: a file's control dependencies are followed
    if all name nodes of the file and are acyclic. Traces of PyTorch violate both rules, since there
    they name the calling operation, which may be absent or end later.

    Raises
    ------
    ChakraError
        An id twice, a dependency on an unknown id, a circle (of data, or of both under ``follow``).
    """
    records = sorted(file.records, key=lambda record: record.id)
    ids = np.array([record.id for record in records], np.uint64)
    if (twice := np.flatnonzero(ids[1:] == ids[:-1])).size:
        raise file.refusal(int(ids[twice[0]]), "its id is a duplicate")
    data, unknown = _edges(ids, [record.data_deps for record in records], is_control=False)
    if unknown:
        raise file.refusal(unknown[0][0], f"data dependency on unknown node {unknown[0][1]}")
    called, reason = _control_edges(file, ids, records, control)
    both = _joined(data, called)
    order = run_order(len(records), both)
    if len(order) < len(records) and control == "auto" and called.deps.size:
        called, both, reason = _NONE, data, "with the data dependencies they form a cycle"
        order = run_order(len(records), both)
    if len(order) < len(records):
        raise file.refusal(*_circle(ids, both, order))
    left_out = sum(len(record.control_deps) for record in records) - called.deps.size
    return Ordered(
        records=[records[place] for place in order],
        edges=_renumbered(both, order),
        control_left_out=left_out,
        control_reason=reason if left_out else "",
    )


_NONE = Edges(
    waits=np.empty(0, np.int64), deps=np.empty(0, np.int64), is_control=np.empty(0, np.bool_)
)


def _control_edges(
    file: RankFile, ids: Ids, records: Sequence[Record], control: str
) -> tuple[Edges, str]:
    if control == "ignore":
        return _NONE, "as requested"
    found, unknown = _edges(ids, [record.control_deps for record in records], is_control=True)
    if not unknown:
        return found, ""
    if control == "follow":
        node, dep = unknown[0]
        raise file.refusal(node, f"control dependency on unknown node {dep}")
    return _NONE, f"{len(unknown)} of a file's name nodes that it lacks"


def _edges(
    ids: Ids, deps: Sequence[Sequence[int]], *, is_control: bool
) -> tuple[Edges, list[tuple[int, int]]]:
    """Edges by place, and the (node, id) pairs whose id no node has."""
    wanted = np.array([dep for each in deps for dep in each], np.uint64)
    waits = np.repeat(np.arange(len(ids), dtype=np.int64), [len(each) for each in deps])
    places = np.searchsorted(ids, wanted)
    known = places < len(ids)
    known[known] = ids[places[known]] == wanted[known]
    unknown = [(int(ids[waits[at]]), int(wanted[at])) for at in np.flatnonzero(~known)]
    edges = Edges(
        waits=waits[known],
        deps=places[known].astype(np.int64),
        is_control=np.full(int(known.sum()), is_control),
    )
    return edges, unknown


def _joined(one: Edges, other: Edges) -> Edges:
    waits = np.concatenate((one.waits, other.waits))
    order = np.argsort(waits, kind="stable")
    return Edges(
        waits=waits[order],
        deps=np.concatenate((one.deps, other.deps))[order],
        is_control=np.concatenate((one.is_control, other.is_control))[order],
    )


def run_order(count: int, edges: Edges) -> list[int]:
    """Places in execution order, the lowest ready one first; without nodes that are never ready."""
    if bool(np.all(edges.deps < edges.waits)):
        return list(range(count))
    open_deps = np.bincount(edges.waits, minlength=count).tolist()
    followers: list[list[int]] = [[] for _ in range(count)]
    for waits, dep in zip(edges.waits.tolist(), edges.deps.tolist(), strict=True):
        followers[dep].append(waits)
    free = [place for place in range(count) if not open_deps[place]]
    heapify(free)
    order = []
    while free:
        place = heappop(free)
        order.append(place)
        for follower in followers[place]:
            open_deps[follower] -= 1
            if not open_deps[follower]:
                heappush(free, follower)
    return order


def _circle(ids: Ids, edges: Edges, order: Sequence[int]) -> tuple[int, str]:
    """A node of a cycle, and the cycle as text."""
    stuck = set(range(len(ids))) - set(order)
    awaited = {
        waits: dep
        for waits, dep in zip(edges.waits.tolist(), edges.deps.tolist(), strict=True)
        if waits in stuck and dep in stuck
    }
    place = min(stuck)
    walk: dict[int, int] = {}
    while place not in walk:
        walk[place] = len(walk)
        place = awaited[place]
    circle = [int(ids[each]) for each in (*list(walk)[walk[place] :], place)]
    shown = " waits for ".join(map(str, circle[:_CIRCLE_SHOWN]))
    more = " waits for ..." if len(circle) > _CIRCLE_SHOWN else ""
    return circle[0], f"its dependencies form a cycle: {shown}{more}"


def _renumbered(edges: Edges, order: Sequence[int]) -> Edges:
    new = np.empty(len(order), np.int64)
    new[np.array(order, np.int64)] = np.arange(len(order))
    waits = new[edges.waits]
    by_waiter = np.argsort(waits, kind="stable")
    return replace(
        edges,
        waits=waits[by_waiter],
        deps=new[edges.deps][by_waiter],
        is_control=edges.is_control[by_waiter],
    )
