"""Converts an operation program to a Chakra trace, within the limits of the format."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Indices, Integers
from workloads.chakra.columns import COLLECTIVES, NOT_RECORDED, ChakraError, ChakraTrace, NodeType
from workloads.chakra.program import GATHER
from workloads.chakra.toposort import Edges, run_order
from workloads.program import Operations, Program
from workloads.program.columns import ROW_COLUMNS
from workloads.program.schema import COLLECTIVES as PROGRAM_COLLECTIVES
from workloads.program.schema import KINDS

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]

_TYPES = {
    "load": NodeType.MEM_LOAD,
    "store": NodeType.MEM_STORE,
    "send": NodeType.SEND,
    "recv": NodeType.RECV,
    "collective": NodeType.COLLECTIVE,
}
_NODE_TYPE = np.array([_TYPES.get(kind, NodeType.COMPUTE) for kind in KINDS], np.int32)
_CODES = np.array([*(COLLECTIVES.index(name) for name in PROGRAM_COLLECTIVES), -1], np.int32)
_COLLECTIVE = KINDS.index("collective")


def from_program(program: Program, duration_ps: Integers | None = None) -> ChakraTrace:
    """Make the trace of a program; repeats are expanded.

    ``duration_ps`` [len(program)] has the priced durations, since a trace has operations and bytes
    but no shapes; without it only recorded durations are written. Layer, step, phase and shapes
    have no place in a trace; a collective inside a rank becomes compute.

    Raises
    ------
    ChakraError
        Dependencies between ranks or in a circle, or an all-gather whose parts are uneven.
    """
    whole = program.expanded()
    own = whole.operations
    rows, edges = _in_order(own)
    columns = {name: getattr(own, name)[rows] for name in ROW_COLUMNS}
    if duration_ps is not None:
        columns["duration_ps"] = np.asarray(duration_ps, np.int64)[rows]
    is_inner = (columns["kind"] == _COLLECTIVE) & (columns["group"] < 0)
    type_ = np.where(is_inner, NodeType.COMPUTE, _NODE_TYPE[columns["kind"]]).astype(np.int32)
    communicates = type_ >= NodeType.SEND
    collective = np.where(type_ == NodeType.COLLECTIVE, _CODES[columns["collective"]], -1)
    used_names, name = _first_use(columns["name"])
    used_groups, group = _first_use(columns["group"])
    groups = tuple(whole.groups[each] for each in used_groups)
    return ChakraTrace(
        ranks=whole.ranks,
        rank=columns["rank"],
        node=_numbers(columns["rank"]),
        type=type_,
        name=name,
        names=tuple(whole.words["name"][each] for each in used_names),
        on_cpu=np.zeros(len(own), np.bool_),
        stream=columns["stream"].astype(np.int32),
        duration_ps=np.where(communicates, NOT_RECORDED, columns["duration_ps"]),
        flop=_some(columns["flop"]),
        memory_bytes=_some(columns["read_bytes"] + columns["write_bytes"]),
        comm_bytes=np.where(communicates, _given(columns, whole, collective), NOT_RECORDED),
        collective=collective.astype(np.int32),
        group=group,
        peer=columns["peer"],
        tag=columns["tag"],
        groups=groups,
        group_names=_group_names(groups, whole.ranks),
        dep_offsets=_offsets(edges, len(own)),
        deps=edges.deps,
        dep_is_control=edges.is_control,
    )


def _in_order(own: Operations) -> tuple[Integers, Edges]:
    """Rows, rank after rank, each after its dependencies and its stream's earlier rows."""
    count = len(own)
    waits = np.repeat(np.arange(count), np.diff(own.dep_offsets))
    if (strange := np.flatnonzero(own.rank[waits] != own.rank[own.deps])).size:
        row, dep = waits[strange[0]], own.deps[strange[0]]
        raise ChakraError(
            f"operation {row} of rank {own.rank[row]} waits for operation {dep} of rank "
            f"{own.rank[dep]}; a Chakra trace has dependencies within a rank only"
        )
    queue = np.lexsort((np.arange(count), own.stream, own.rank))
    follows = (own.rank[queue][1:] == own.rank[queue][:-1]) & (
        own.stream[queue][1:] == own.stream[queue][:-1]
    )
    after = np.concatenate((waits, queue[1:][follows]))
    before = np.concatenate((own.deps, queue[:-1][follows]))
    order = np.array(
        run_order(count, Edges(waits=after, deps=before, is_control=np.zeros(0, np.bool_))),
        np.int64,
    )
    if len(order) < count:
        stuck = np.setdiff1d(np.arange(count), order)[0]
        raise ChakraError(f"operation {stuck} is part of a dependency cycle; it has no trace")
    rows = order[np.argsort(own.rank[order], kind="stable")]
    place = np.empty(count, np.int64)
    place[rows] = np.arange(count)
    by_waiter = np.argsort(place[waits], kind="stable")
    edges = Edges(
        waits=place[waits][by_waiter],
        deps=place[own.deps][by_waiter],
        is_control=np.zeros(len(waits), np.bool_),
    )
    return rows, edges


def _offsets(edges: Edges, count: int) -> Integers:
    per_row = np.bincount(edges.waits, minlength=count)
    return np.concatenate(([0], np.cumsum(per_row))).astype(np.int64)


def _numbers(rank: Indices) -> Integers:
    """Ids counted from 0 in every rank; ranks are contiguous."""
    first = np.searchsorted(rank, rank)
    return np.arange(len(rank), dtype=np.int64) - first


def _first_use(codes: npt.NDArray[Any]) -> tuple[list[int], Indices]:
    """The codes from 0 up that occur, in order of first use, and each row's place among them."""
    used = [code for code in dict.fromkeys(codes.tolist()) if code >= 0]
    places = np.full(max(used, default=-1) + 2, -1, np.int32)  # the last one is for code -1
    places[used] = np.arange(len(used))
    return used, places[codes]


def _some(amounts: Integers) -> Integers:
    return np.where(amounts > 0, amounts, NOT_RECORDED)


def _given(columns: Columns, whole: Program, collective: Indices) -> Integers:
    """[n] ``comm_size``: of an all-gather the part of one rank."""
    sizes = np.array([len(ranks) for ranks in whole.groups] or [1], np.int64)
    parts = np.where(collective == GATHER, sizes[columns["group"]], 1)
    payload: Integers = columns["payload_bytes"]
    if (uneven := np.flatnonzero(payload % parts)).size:
        row = uneven[0]
        raise ChakraError(
            f"an all-gather of {payload[row]} bytes over {parts[row]} ranks has uneven parts; a "
            "Chakra trace has the size of one"
        )
    return payload // parts


def _group_names(groups: Sequence[tuple[int, ...]], ranks: int) -> tuple[str, ...]:
    """Numbers from 1 up, since readers parse names as numbers; no name for all ranks in order."""
    everyone = tuple(range(ranks))
    nameless = groups.index(everyone) if everyone in groups else -1
    return tuple("" if at == nameless else str(at + 1) for at in range(len(groups)))
