"""The sweep file: a base scenario, axes, conditions to skip, what to keep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from cluster.scenario.load import bundled_text
from cluster.studies.sweep.axes import Block, Grid, clash
from cluster.studies.sweep.blocks import read_blocks
from cluster.studies.sweep.condition import Condition, read_condition
from cluster.studies.sweep.errors import SweepError, nearest
from cluster.studies.sweep.hold import Hold, read_hold
from results.schema import TypeName
from topology.strict_yaml import Document, KeyPath, parse_document, read_document

Store: TypeAlias = Literal["summary", "runs"]

KEYS = (
    "name",
    "base",
    "axes",
    "hold",
    "skip",
    "metrics",
    "store",
    "repeat",
    "timeout_s",
    "retries",
)
STORES: tuple[Store, ...] = get_args(Store)
MOST_POINTS = 1_000_000
MOST_RETRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A sweep definition; every point is ``base`` with the values of its axes."""

    name: str
    base: Document
    folders: tuple[Path, Path]
    """Base folders of relative paths in the base, and in axes."""
    grid: Grid
    hold: Hold | None
    """A figure that follows the axes."""
    skip: tuple[Condition, ...]
    metrics: tuple[str, ...]
    """Names of the summary's metrics to store, ``*`` allowed; empty means all."""
    store: Store
    repeat: int
    """Seeds per point."""
    timeout_s: float | None
    """Time limit of one point."""
    retries: int
    """Retries of a point whose process died, ran out of memory or timed out."""
    source: Document
    held: dict[int, float] = field(default_factory=dict, compare=False)
    """Values of ``hold`` by point, as far as known."""

    @property
    def types(self) -> dict[str, TypeName]:
        """Every axis, and what follows, with the type of its column."""
        followed: dict[str, TypeName] = {self.hold.path: "float64"} if self.hold else {}
        return {**self.grid.types, **followed}

    def values(self, number: int) -> dict[str, Any]:
        """The leaves of a point; with what follows, once its scenario was loaded."""
        values = self.grid[number]
        if self.hold and number in self.held:
            values[self.hold.path] = self.held[number]
        return values

    @property
    def content(self) -> dict[str, Any]:
        """Plain values from which ``of_content`` reproduces the sweep, in any folder."""
        return {
            "sweep": {**self.source.mapping(), "name": self.name, "base": self.base.data},
            "folders": [str(folder) for folder in self.folders],
        }


def read_definition(source: str | Path | Mapping[str, Any]) -> Definition:
    """Read a sweep file, or a mapping of the same shape (paths then start in the current folder).

    Raises
    ------
    SweepError, DocumentError
        With file, line and key of the error, and the allowed values.
    """
    if isinstance(source, Mapping):
        document = Document(name="sweep", data=_plain(source), lines={})
        return _definition(document, Path.cwd(), "sweep")
    return _definition(read_document(source), Path(source).resolve().parent, Path(source).stem)


def _plain(value: Any) -> Any:
    """A value as a file would hold it: rows as lists, and NumPy's numbers as Python's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def of_content(content: Mapping[str, Any], name: str) -> Definition:
    """The sweep that a manifest holds; ``name`` is the manifest's."""
    base_folder, folder = (Path(each) for each in content["folders"])
    document = Document(name=name, data=dict(content["sweep"]), lines={})
    return _definition(document, folder, name, base_folder)


def _definition(
    document: Document, folder: Path, name: str, base_folder: Path | None = None
) -> Definition:
    data = document.mapping()
    for key in data:
        if key not in KEYS:
            raise SweepError(f"{document.where((key,))}: unknown key {nearest(key, KEYS)}")
    if "axes" not in data:
        raise SweepError(f"{document.where()}: axes is missing: the keys that vary between points")
    base, beside = _base(document, folder)
    for where, tree, path in ((base, base.data, ()), (document, data["axes"], ("axes",))):
        _refuse_infinite(where, tree, path)
    repeat = _whole(document, "repeat", 1, (1, 10_000))
    grid = _grid(document, base, repeat)
    return Definition(
        name=_name(document, name),
        base=base,
        folders=(base_folder or beside, folder),
        grid=grid,
        hold=_hold(document, grid),
        skip=tuple(
            read_condition(text, document.where(("skip", number)))
            for number, text in enumerate(_list(document, "skip"))
        ),
        metrics=_metrics(document),
        store=_store(document),
        repeat=repeat,
        timeout_s=_timeout(document),
        retries=_whole(document, "retries", 2, (0, MOST_RETRIES)),
        source=document,
    )


def _base(document: Document, folder: Path) -> tuple[Document, Path]:
    """The base scenario and the folder that its paths start from."""
    base = document.mapping().get("base")
    if base is None:
        return parse_document(bundled_text(), "the bundled example"), folder
    if isinstance(base, Mapping):
        lines = {path[1:]: at for path, at in document.lines.items() if path[:1] == ("base",)}
        return Document(name=document.name, data=dict(base), lines=lines), folder
    if not isinstance(base, str):
        where = document.where(("base",))
        raise SweepError(f"{where}: base is a scenario file or its keys, found {base!r}")
    file = folder / base
    return read_document(file), file.resolve().parent


def _refuse_infinite(document: Document, tree: Any, path: KeyPath) -> None:
    """Scenarios and manifests cannot hold numbers that are not finite."""
    if isinstance(tree, float) and not math.isfinite(tree):
        raise SweepError(f"{document.where(path)}: {tree} is no value of a scenario")
    items = tree.items() if isinstance(tree, Mapping) else ()
    for key, value in enumerate(tree) if isinstance(tree, list) else items:
        _refuse_infinite(document, value, (*path, key))


def _grid(document: Document, base: Document, repeat: int) -> Grid:
    blocks = read_blocks(document)
    if repeat > 1:
        first = base.mapping().get("seed", 0)
        if not isinstance(first, int) or isinstance(first, bool):
            raise SweepError(f"{base.where(('seed',))}: seed must be a whole number")
        rows = tuple({"seed": first + number} for number in range(repeat))
        blocks = (*blocks, Block(rows=rows))
    found = clash([path for block in blocks for path in block.paths])
    if found is not None:
        also = " (repeat sets it too)" if found[0] == "seed" and repeat > 1 else ""
        raise SweepError(
            f"{document.where(('axes',))}: {found[1]!r} is set by two axes, {found[0]!r} and"
            f" {found[1]!r}{also}; each value may have one"
        )
    grid = Grid(blocks=blocks)
    if len(grid) > MOST_POINTS:
        where = document.where(("axes",))
        raise SweepError(f"{where}: {len(grid):,} points; a sweep has at most {MOST_POINTS:,}")
    return grid


def _hold(document: Document, grid: Grid) -> Hold | None:
    hold = read_hold(document)
    if hold is not None:
        paths = [path for block in grid.blocks for path in block.paths]
        if clash([*paths, hold.path]) is not None:
            where = document.where(("hold",))
            raise SweepError(f"{where}: {hold.figure} is an axis too; it cannot follow the others")
    return hold


def _name(document: Document, default: str) -> str:
    name = document.mapping().get("name", default)
    if not isinstance(name, str) or not name or not set(name) <= _LETTERS or name[0] in ".-":
        where = document.where(("name",))
        raise SweepError(
            f"{where}: name {name!r} is also a folder's: letters, digits, '_', '-' and '.'"
        )
    return name


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def _list(document: Document, key: str) -> list[Any]:
    value = document.mapping().get(key, [])
    if not isinstance(value, list):
        raise SweepError(f"{document.where((key,))}: {key} is a list, found {value!r}")
    return value


def _metrics(document: Document) -> tuple[str, ...]:
    if document.mapping().get("metrics") == "all":
        return ()
    names = _list(document, "metrics")
    for number, name in enumerate(names):
        if not isinstance(name, str):
            where = document.where(("metrics", number))
            raise SweepError(f"{where}: a metric is a name of the summary, found {name!r}")
    return tuple(names)


def _store(document: Document) -> Store:
    store = document.mapping().get("store", "summary")
    if store not in STORES:
        raise SweepError(f"{document.where(('store',))}: store is {nearest(store, STORES)}")
    return cast(Store, store)


def _whole(document: Document, key: str, default: int, bounds: tuple[int, int]) -> int:
    value = document.mapping().get(key, default)
    low, high = bounds
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        where = document.where((key,))
        raise SweepError(
            f"{where}: {key} is {value!r}; must be a whole number from {low} to {high:,}"
        )
    return value


def _timeout(document: Document) -> float | None:
    value = document.mapping().get("timeout_s")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and 0 < value < float("inf")):
        return None if value is None else float(value)
    where = document.where(("timeout_s",))
    raise SweepError(f"{where}: timeout_s is {value!r}; must be a number above 0")
