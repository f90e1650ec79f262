"""Converts a Chakra trace to an operation program."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corsair_common.units import PS_PER_S, Integers
from workloads.chakra.columns import COLLECTIVES, NOT_RECORDED, ChakraError, ChakraTrace, NodeType
from workloads.program import Program, program_of
from workloads.program.schema import COLLECTIVES as PROGRAM_COLLECTIVES
from workloads.program.schema import KINDS

_KINDS = {
    NodeType.MEM_LOAD: "load",
    NodeType.MEM_STORE: "store",
    NodeType.SEND: "send",
    NodeType.RECV: "recv",
    NodeType.COLLECTIVE: "collective",
}
_ALIKE = {"reduce_scatter_block": "reduce_scatter"}
GATHER = COLLECTIVES.index("all_gather")
"""The collective whose size is one rank's part here, and the whole vector in a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of a plain network: its compute and memory rates."""

    flop_per_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        for name, rate in (("flop_per_s", self.flop_per_s), ("bytes_per_s", self.bytes_per_s)):
            if not 0 < rate < float("inf"):
                raise ChakraError(f"endpoint.{name} must be positive and finite, got {rate!r}")

    def work_ps(self, flop: Integers, moved_bytes: Integers) -> Integers:
        """The slower of arithmetic and memory, in whole picoseconds (at least 1)."""
        seconds = np.maximum(flop / self.flop_per_s, moved_bytes / self.bytes_per_s)
        work_ps = np.rint(seconds * PS_PER_S).astype(np.int64)
        return np.maximum(work_ps, ((flop > 0) | (moved_bytes > 0)).astype(np.int64))


def to_program(trace: ChakraTrace, endpoint: Endpoint | None = None) -> Program:
    """Make the operation program of a trace.

    Work takes its recorded duration, else its ``num_ops`` and ``tensor_size`` through ``endpoint``,
    else no time. The network model times communication between ranks: recorded durations belong to
    another network. Only a collective of a single rank takes its recorded time.

    Raises
    ------
    ChakraError
        Work that has sizes but no duration, without an endpoint, or a collective that
        operation programs do not know (reduce, gather, scatter).
    """
    flop, moved = np.maximum(trace.flop, 0), np.maximum(trace.memory_bytes, 0)
    communicates = _communicates(trace)
    duration_ps = _durations(trace, endpoint, communicates)
    sizes = np.array([len(ranks) for ranks in trace.groups] or [0], np.int64)
    payload = np.where(communicates, np.maximum(trace.comm_bytes, 0), 0)
    gathers = communicates & (trace.collective == GATHER)
    payload[gathers] *= sizes[trace.group[gathers]]
    collects = communicates & (trace.collective >= 0)
    is_store = trace.type == NodeType.MEM_STORE
    columns = {
        "rank": trace.rank,
        "stream": trace.stream,
        "kind": _kinds(trace, communicates),
        "name": [trace.names[name] for name in trace.name],
        "flop": flop,
        "read_bytes": np.where(is_store, 0, moved),
        "write_bytes": np.where(is_store, moved, 0),
        "payload_bytes": payload,
        "collective": _collectives(trace, collects),
        "group": np.where(collects, trace.group, -1),
        "peer": np.where(communicates, trace.peer, -1),
        "tag": np.where(communicates, trace.tag, 0),
        "duration_ps": duration_ps,
        "deps": (trace.dep_offsets, trace.deps),
    }
    return program_of(columns, trace.groups)


def _communicates(trace: ChakraTrace) -> npt.NDArray[np.bool_]:
    """[n] whether the node needs the network: a message, or a collective of several ranks."""
    sizes = np.array([len(ranks) for ranks in trace.groups] or [0], np.int64)
    message = np.isin(trace.type, (NodeType.SEND, NodeType.RECV)) & ~trace.on_cpu
    return message | ((trace.collective >= 0) & (sizes[trace.group] > 1))


def _durations(
    trace: ChakraTrace, endpoint: Endpoint | None, communicates: npt.NDArray[np.bool_]
) -> Integers:
    flop, moved = np.maximum(trace.flop, 0), np.maximum(trace.memory_bytes, 0)
    recorded = trace.duration_ps >= 0
    open_rows = ~communicates & ~recorded & ((flop > 0) | (moved > 0))
    if endpoint is None and open_rows.any():
        row = int(np.flatnonzero(open_rows)[0])
        raise ChakraError(
            f"rank {trace.rank[row]}, node {trace.node[row]} ({trace.names[trace.name[row]]!r}) "
            f"has {flop[row]} operations and {moved[row]} bytes but no duration; "
            "an endpoint {flop_per_s, bytes_per_s} prices such nodes"
        )
    priced = np.where(recorded, trace.duration_ps, 0)
    if endpoint is not None:
        priced = np.where(open_rows, endpoint.work_ps(flop, moved), priced)
    return np.where(communicates, NOT_RECORDED, priced)


def _kinds(trace: ChakraTrace, communicates: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    kinds = np.full(len(trace), KINDS.index("vector"), np.int8)
    for type_, kind in _KINDS.items():
        is_memory = type_ in (NodeType.MEM_LOAD, NodeType.MEM_STORE)
        kinds[(trace.type == type_) & (communicates | is_memory)] = KINDS.index(kind)
    return kinds


def _collectives(trace: ChakraTrace, collects: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """[n] index into the program's words, -1 for none."""
    codes = np.full(len(trace), -1, np.int8)
    for code, name in enumerate(COLLECTIVES):
        rows = np.flatnonzero(collects & (trace.collective == code))
        if not rows.size:
            continue
        word = _ALIKE.get(name, name)
        if word not in PROGRAM_COLLECTIVES:
            raise ChakraError(
                f"rank {trace.rank[rows[0]]}, node {trace.node[rows[0]]}: a {name} cannot be "
                f"replayed; known are {', '.join(PROGRAM_COLLECTIVES)}"
            )
        codes[rows] = PROGRAM_COLLECTIVES.index(word)
    return codes
