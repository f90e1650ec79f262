"""The ``axes`` of a sweep file: grid, zip, list, sample; each becomes rows of assignments."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, TypeAlias

from cluster.studies.sweep.axes import Block, leaves
from cluster.studies.sweep.errors import SweepError, nearest
from cluster.studies.sweep.sampling import METHODS, Range, Spread, sample
from topology.strict_yaml import Document, KeyPath

Rows: TypeAlias = list[dict[str, Any]]

MOST_SAMPLES = 1_000_000


def read_blocks(document: Document) -> tuple[Block, ...]:
    """Blocks of axes, to be multiplied with one another: a mapping is one grid of lists.

    Raises
    ------
    SweepError
        With file, line and key.
    """
    requested = document.mapping()["axes"]
    if isinstance(requested, Mapping):
        return tuple(_single(document, ("axes", key), key, requested[key]) for key in requested)
    if not isinstance(requested, list):
        raise SweepError(
            f"{document.where(('axes',))}: axes are keys with lists of values, or a list of"
            f" {', '.join(KINDS)}; found {requested!r}"
        )
    return tuple(block for n, each in enumerate(requested) for block in _read(document, n, each))


def _read(document: Document, number: int, requested: Any) -> Iterator[Block]:
    path: KeyPath = ("axes", number)
    if not isinstance(requested, Mapping) or len(requested) != 1:
        raise SweepError(
            f"{document.where(path)}: each item of axes holds one of {', '.join(KINDS)}"
        )
    (kind,) = requested
    if kind not in KINDS:
        raise SweepError(f"{document.where((*path, kind))}: unknown kind {nearest(kind, KINDS)}")
    yield Block(rows=tuple(_leafed(KINDS[kind](document, (*path, kind), requested[kind]))))


def _single(document: Document, path: KeyPath, key: str, values: Any) -> Block:
    found = _values(document, path, values)
    return Block(rows=tuple(_leafed([{key: value} for value in found])))


def _leafed(rows: Rows) -> Iterator[dict[str, Any]]:
    return (dict(leaves(row)) for row in rows)


def _grid(document: Document, path: KeyPath, requested: Any) -> Rows:
    lists = _lists(document, path, requested)
    return [dict(zip(lists, row, strict=True)) for row in product(*lists.values())]


def _zip(document: Document, path: KeyPath, requested: Any) -> Rows:
    lists = _lists(document, path, requested)
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        printed = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise SweepError(f"{document.where(path)}: zip takes lists of one length; {printed}")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _list(document: Document, path: KeyPath, requested: Any) -> Rows:
    rows = _values(document, path, requested)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not row:
            where = document.where((*path, number))
            raise SweepError(f"{where}: an item of list holds keys with values, found {row!r}")
    return [dict(row) for row in rows]


def _sample(document: Document, path: KeyPath, requested: Any) -> Rows:
    allowed = ("count", "method", "seed", "of")
    if not isinstance(requested, Mapping) or "of" not in requested or "count" not in requested:
        raise SweepError(f"{document.where(path)}: sample has count and of (and method, seed)")
    for key in requested:
        if key not in allowed:
            raise SweepError(f"{document.where((*path, key))}: unknown key {nearest(key, allowed)}")
    method = requested.get("method", "latin_hypercube")
    if method not in METHODS:
        where = document.where((*path, "method"))
        raise SweepError(f"{where}: unknown method {nearest(method, METHODS)}")
    count, seed = requested["count"], requested.get("seed", 0)
    for key, value, low in (("count", count, 1), ("seed", seed, 0)):
        if not _whole(value) or not low <= value <= MOST_SAMPLES:
            where = document.where((*path, key))
            raise SweepError(f"{where}: {key} is {value!r}; must be a whole number from {low} on")
    of = requested["of"]
    if not isinstance(of, Mapping) or not of:
        raise SweepError(f"{document.where((*path, 'of'))}: of holds paths with their ranges")
    spreads = {key: _spread(document, (*path, "of", key), of[key]) for key in of}
    return [dict(zip(spreads, row, strict=True)) for row in sample(spreads, count, method, seed)]


KINDS: Mapping[str, Callable[[Document, KeyPath, Any], Rows]] = MappingProxyType(
    {"grid": _grid, "zip": _zip, "list": _list, "sample": _sample}
)


def _lists(document: Document, path: KeyPath, requested: Any) -> dict[str, list[Any]]:
    if not isinstance(requested, Mapping) or not requested:
        raise SweepError(f"{document.where(path)}: {path[-1]} holds paths with lists of values")
    return {key: _values(document, (*path, key), requested[key]) for key in requested}


def _values(document: Document, path: KeyPath, requested: Any) -> list[Any]:
    if not isinstance(requested, list) or not requested:
        raise SweepError(
            f"{document.where(path)}: {path[-1]} is {requested!r}; an axis is a list of values"
        )
    return requested


def _spread(document: Document, path: KeyPath, requested: Any) -> Spread:
    where, name = document.where(path), path[-1]
    if isinstance(requested, Mapping) and set(requested) == {"choices"}:
        return tuple(_values(document, (*path, "choices"), requested["choices"]))
    if not isinstance(requested, Mapping) or not {"low", "high"} <= set(requested):
        raise SweepError(f"{where}: {name} has low and high (and scale), or choices")
    for key in requested:
        if key not in ("low", "high", "scale"):
            known = ("low", "high", "scale", "choices")
            raise SweepError(f"{document.where((*path, key))}: unknown key {nearest(key, known)}")
    low, high, scale = requested["low"], requested["high"], requested.get("scale", "linear")
    if not (_number(low) and _number(high) and low < high):
        raise SweepError(f"{where}: {name} needs numbers low < high, found {low!r} and {high!r}")
    if scale not in ("linear", "log"):
        raise SweepError(f"{where}: scale is {nearest(scale, ('linear', 'log'))}")
    if scale == "log" and low <= 0:
        raise SweepError(f"{where}: {name} on a log scale needs low above 0, found {low!r}")
    return Range(low=low, high=high, log=scale == "log")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    finite = isinstance(value, int | float) and -1e308 < value < 1e308
    return finite and not isinstance(value, bool)
