"""Axes: blocks of assignments, multiplied with one another; columns are leaves of the scenario."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.scenario.load import keys_of
from results.schema import TypeName

Leaves: TypeAlias = Mapping[str, Any]
"""Values by dotted path of the scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Axes that move together: one row after the other."""

    rows: tuple[Leaves, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every leaf that any row sets, in order of appearance."""
        return tuple(dict.fromkeys(path for row in self.rows for path in row))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All combinations of the blocks' rows; the last block varies fastest."""

    blocks: tuple[Block, ...]

    def __len__(self) -> int:
        return math.prod(len(block.rows) for block in self.blocks)

    def __getitem__(self, point: int) -> dict[str, Any]:
        """The leaves of a point, by its number."""
        chosen: list[Leaves] = []
        for block in reversed(self.blocks):
            point, row = divmod(point, len(block.rows))
            chosen.append(block.rows[row])
        return {path: value for row in reversed(chosen) for path, value in row.items()}

    @property
    def types(self) -> dict[str, TypeName]:
        """Every axis with the type of its column."""
        return {
            path: _type([row[path] for row in block.rows if path in row])
            for block in self.blocks
            for path in block.paths
        }


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted path; a list is one value."""
    for key, value in tree.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def nested(values: Leaves) -> dict[str, Any]:
    """The tree of which these are the leaves."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, last = keys_of(path)
        here = tree
        for key in parents:
            here = here.setdefault(key, {})
        here[last] = value
    return tree


def clash(paths: Sequence[str]) -> tuple[str, str] | None:
    """Two paths of which one is, or holds, the other; None if all are apart."""
    known: dict[tuple[str, ...], str] = {}
    for path in sorted(paths, key=lambda each: len(keys_of(each))):
        keys = keys_of(path)
        for end in range(1, len(keys) + 1):
            if keys[:end] in known:
                return known[keys[:end]], path
        known[keys] = path
    return None


def cell(value: Any, type_: TypeName) -> Any:
    """A value as its column holds it; other types as JSON."""
    if value is None or (type_ == "string" and isinstance(value, str)):
        return value
    if type_ == "string":
        return json.dumps(value)
    return float(value) if type_ == "float64" else value


def _type(values: Sequence[Any]) -> TypeName:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds == {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return "int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return "string"
