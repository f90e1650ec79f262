"""Rows that cost alike are priced once: which rows differ, and which of them each row is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from corsair_common.units import Integers
from workloads.program import Program
from workloads.program.schema import COLLECTIVES, KINDS

COLUMNS = (
    *("kind", "name", "layer", "tokens", "m", "k", "n", "count", "context_tokens", "flop"),
    *("read_bytes", "write_bytes", "payload_bytes", "collective"),
)
_MIX = np.random.default_rng(0).integers(1, 2**63, 64, np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One kind of row to be priced: its columns, words written out."""

    row: int
    """The first such row of the template."""
    kind: str
    name: str
    collective: str
    layer: int
    """Kind of layer (the first layer of that kind), -1 outside."""
    rank: int
    """Of the first such row: all others have equal ones in every way that matters."""
    peer: int
    group: int
    tokens: int
    m: int
    k: int
    n: int
    count: int
    context_tokens: int
    flop: int
    read_bytes: int
    write_bytes: int
    payload_bytes: int


def distinct(
    program: Program, layer_kind: Integers, where: Integers
) -> tuple[list[Request], Integers]:
    """Return one request for each kind of row, and the kind of every row of the template.

    ``layer_kind[layer]`` is the first layer like it; rows of unequal ``where`` differ as well.
    """
    own = program.operations
    layers = np.where((own.layer >= 0) & (own.layer < len(layer_kind)), own.layer, -1)
    columns: dict[str, Integers] = {name: getattr(own, name) for name in COLUMNS}
    columns["layer"] = np.append(layer_kind, -1)[layers]
    first, which = _classes([*columns.values(), where])
    requests = [_request(program, columns, int(row)) for row in first]
    return requests, which


def _request(program: Program, columns: Mapping[str, Integers], row: int) -> Request:
    own = program.operations
    numbers = {name: int(values[row]) for name, values in columns.items()}
    kind, name, collective = (numbers.pop(word) for word in ("kind", "name", "collective"))
    return Request(
        row=row,
        kind=KINDS[kind],
        name=program.word("name", name),
        collective=COLLECTIVES[collective] if collective >= 0 else "",
        rank=int(own.rank[row]),
        peer=int(own.peer[row]),
        group=int(own.group[row]),
        **numbers,
    )


def _classes(columns: list[Integers]) -> tuple[Integers, Integers]:
    """First row of each class of equal rows, and the class of each row.

    Rows are told apart by a 64-bit mix of their columns: one sort instead of one per column. Should
    two unequal rows ever mix alike, the columns are compared outright.
    """
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column, factor in zip(columns, _MIX, strict=False):
        mixed = (mixed ^ column.astype(np.uint64)) * factor
        mixed ^= mixed >> np.uint64(29)
    first, which = np.unique(mixed, return_index=True, return_inverse=True)[1:]
    if any(np.any(column != column[first][which]) for column in columns):
        stacked = np.stack([column.astype(np.int64) for column in columns], axis=1)
        first, which = np.unique(stacked, axis=0, return_index=True, return_inverse=True)[1:]
    return first.astype(np.int64), which.ravel().astype(np.int64)
