"""A Chakra trace as columns: every node of every rank, and what waits for what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import ClassVar

import numpy as np

from corsair_common.units import Flags, Indices, Integers
from workloads.program.schema import COMPUTE, MEMORY, NETWORK, RECEIVE, SEND

PS_PER_MICROSECOND = 1_000_000
NOT_RECORDED = -1
"""Marks an absent value; no such quantity is negative."""


class ChakraError(ValueError):
    """An invalid Chakra trace; names file, node, what was found and what is allowed."""

    exit_code: ClassVar[int] = 2


class NodeType(IntEnum):
    """Type of a node; files may have other numbers, which are preserved and counted."""

    INVALID = 0
    METADATA = 1
    MEM_LOAD = 2
    MEM_STORE = 3
    COMPUTE = 4
    SEND = 5
    RECV = 6
    COLLECTIVE = 7


HOST = 5
"""The stream of operations on the CPU; it follows those of ``workloads.program.schema``."""

LAST_QUEUE = 127
"""Queues of a rank are numbered from 0 to here."""

KNOWN_TYPES = frozenset(NodeType) - {NodeType.INVALID}

_STREAMS: Mapping[int, int] = {
    NodeType.MEM_LOAD: MEMORY,
    NodeType.MEM_STORE: MEMORY,
    NodeType.SEND: SEND,
    NodeType.RECV: RECEIVE,
    NodeType.COLLECTIVE: NETWORK,
}

COLLECTIVES = (
    "all_reduce",
    "reduce",
    "all_gather",
    "gather",
    "scatter",
    "broadcast",
    "all_to_all",
    "reduce_scatter",
    "reduce_scatter_block",
    "barrier",
)
"""Names of the codes of ``comm_type``, 0 first."""


def stream_of(type: int, *, on_cpu: bool) -> int:
    """The queue of a node of this type, unless it names a CUDA stream or a queue."""
    if on_cpu or type == NodeType.METADATA:
        return HOST
    return _STREAMS.get(type, COMPUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Counts of the file's unused content."""

    unknown_types: Mapping[int, int] = field(default_factory=dict)
    """Node type -> nodes of it. Only their time and dependencies are used."""
    unused_attributes: Mapping[str, int] = field(default_factory=dict)
    """Attribute or field -> count of unused occurrences."""
    unknown_fields: int = 0
    """Protobuf fields that the schema 0.0.4 does not have."""
    launches: int = 0
    """Communication on the CPU: it launches another node's, and takes its recorded time."""
    unsized: int = 0
    """Collectives that name neither kind nor size: they take their recorded time."""
    control_left_out: int = 0
    """Control dependencies that are not followed."""
    control_reason: str = ""
    unordered: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Two queues with kernels that no dependency orders -> ranks of which this is so."""
    default_group: str = ""
    """What is particular about process group "0"."""

    def lines(self) -> tuple[str, ...]:
        """One sentence per kind of finding; empty if everything was used."""
        found = []
        for code, count in sorted(self.unknown_types.items()):
            found.append(f"{count} nodes of unknown type {code} only take their recorded time")
        if self.launches:
            found.append(
                f"{self.launches} communication nodes on the CPU are launches, taken as compute"
            )
        if self.unsized:
            found.append(f"{self.unsized} collectives without kind and size take recorded time")
        if self.control_left_out:
            found.append(
                f"{self.control_left_out} control dependencies are left out: {self.control_reason}"
            )
        if self.unordered:
            pairs = [f"{one} and {two}" for one, two in sorted(self.unordered)]
            more = f"; and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
            found.append(
                f"nothing orders the kernels of {'; of '.join(pairs[:3])}{more} (ranks: "
                f"{max(self.unordered.values())}): no dependency leads from one to the other, so "
                "they overlap freely; Chakra's converter loses such dependencies (mlcommons/chakra "
                "issue 215)"
            )
        if self.default_group:
            found.append(self.default_group)
        if self.unknown_fields:
            found.append(f"{self.unknown_fields} unknown protobuf fields are skipped")
        if self.unused_attributes:
            named = ", ".join(f"{name} ({n})" for name, n in sorted(self.unused_attributes.items()))
            found.append(f"unused attributes and fields: {named}")
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChakraTrace:
    """n nodes of all ranks, rank after rank; a rank's nodes follow their dependencies.

    Otherwise they are in the order of their ids. Absent values are NOT_RECORDED. Two traces are
    equal when all columns, names and groups are.
    """

    ranks: int
    rank: Indices
    node: Integers
    """[n] the node's id in its file"""
    type: Indices
    """[n] NodeType, or a number that has no meaning here"""
    name: Indices
    """[n] index into ``names``"""
    names: tuple[str, ...]
    on_cpu: Flags
    stream: Indices
    """[n] queue of its rank: ``stream_of`` its type, that of its CUDA stream, or its own number"""
    duration_ps: Integers
    """[n] recorded; a recorded zero cannot be distinguished from none"""
    flop: Integers
    """[n] ``num_ops``"""
    memory_bytes: Integers
    """[n] ``tensor_size``"""
    comm_bytes: Integers
    """[n] ``comm_size``: of an all-gather one rank's contribution, else one rank's vector"""
    collective: Indices
    """[n] index into COLLECTIVES, -1 for nodes that are not collectives between ranks"""
    group: Indices
    """[n] index into ``groups``, -1 likewise"""
    peer: Indices
    """[n] the other rank of a send or receive, else -1"""
    tag: Integers
    groups: tuple[tuple[int, ...], ...]
    """Ranks of each group, in the order of the group"""
    group_names: tuple[str, ...]
    """``pg_name``; the empty name is the group of all ranks"""
    dep_offsets: Integers
    """[n + 1] start of each node's dependencies in ``deps``"""
    deps: Integers
    """[m] rows of the dependencies, in this table"""
    dep_is_control: Flags
    """[m] whether it was a control dependency (else data)"""
    notes: Notes = field(default_factory=Notes)

    def __len__(self) -> int:
        return len(self.rank)

    def __eq__(self, other: object) -> bool:
        """Whether all columns are the same; notes are about the file, not about the trace."""
        if not isinstance(other, ChakraTrace):
            return NotImplemented
        names = [each.name for each in fields(self) if each.name != "notes"]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other))
    return one == other
