"""Reads measurements: the layout by the file's columns, every cell checked, columns as arrays."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.measured.layout import SI, Column, Layout
from workloads.measured.layouts import LAYOUTS
from workloads.measured.tables import Texts, read_names, read_table
from workloads.requests import TraceError

_ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One file: a column of its layout each, as arrays of equal length."""

    path: Path
    layout: Layout
    columns: Mapping[str, npt.NDArray[Any]]
    """Words as objects, counts as int64, numbers as float64 and flags as bool, in file units."""
    others: Mapping[str, Sequence[str]]
    """Text of the columns that the layout does not name (CSV only)."""
    texts: Texts
    """Any of its columns, for the places of rows."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def where(self, row: int) -> str:
        """The place of a row, for an error: ``points.csv:3``."""
        return self.texts.where(self.path, row)

    def si(self, name: str) -> npt.NDArray[np.float64]:
        """A column of numbers or counts in SI units."""
        unit = next(column.unit for column in self.layout.columns if column.name == name)
        return np.asarray(self.columns[name], np.float64) * SI[unit]

    def row(self, number: int) -> dict[str, Any]:
        """One row as plain Python values, NaN as None, with the columns of no layout as text."""
        values = {name: column[number] for name, column in self.columns.items()}
        plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}
        return {
            **{name: None if value != value else value for name, value in plain.items()},
            **{name: texts[number] for name, texts in self.others.items()},
        }


def find_measured(folder: str | Path) -> list[tuple[Path, Layout]]:
    """Every file below a folder whose columns are those of a layout, in the order of their paths.

    Raises
    ------
    TraceError
        The folder does not exist, holds no such file, or a file of it cannot be read.
    """
    root = Path(folder)
    paths = [root] if root.is_file() else sorted(root.rglob("*"))
    found = [
        (path, layout)
        for path in paths
        if path.suffix in _ENDINGS and path.is_file() and (layout := _layout(read_names(path)))
    ]
    if not found:
        lacking = "holds no file of a known layout" if root.exists() else "no such folder"
        raise TraceError(f"{root}: {lacking} (CSV or Parquet with the columns of {_named()})")
    return found


def detect_layout(path: str | Path) -> Layout:
    """The layout that a file's columns are of; TraceError names the nearest where there is none."""
    names = read_names(Path(path))
    if layout := _layout(names):
        return layout
    near = max(LAYOUTS, key=lambda layout: len(set(layout.needed) & set(names)))
    missing = [name for name in near.needed if name not in names]
    close = difflib.get_close_matches(missing[0], names, n=1)
    hint = f" (it has {close[0]!r})" if close else ""
    raise TraceError(
        f"{path}:1: its columns are of no known layout ({_named()}); the nearest is {near.name}, "
        f"of which it misses {', '.join(map(repr, missing))}{hint}"
    )


def read_measured(path: str | Path, layout: Layout | None = None) -> Measured:
    """Read one file, of the layout that its columns are of.

    Raises
    ------
    TraceError
        No such file, torn, no known layout, or the first cell that is wrong, with its line (CSV)
        or row (Parquet, counted from 0).
    """
    path = Path(path)
    layout = layout or detect_layout(path)
    wanted = {column.name: column for column in layout.columns}
    table = read_table(path, tuple(wanted))
    if missing := [name for name in layout.needed if name not in table.columns]:
        raise TraceError(
            f"{path}:1: misses column {', '.join(map(repr, missing))} "
            f"({layout.name} has {', '.join(layout.needed)})"
        )
    columns = {
        name: _typed(path, column, table.columns.get(name), table.rows)
        for name, column in wanted.items()
    }
    return Measured(
        path=path,
        layout=layout,
        columns=columns,
        others=table.others,
        texts=next(iter(table.columns.values())),
    )


def _layout(names: Sequence[str]) -> Layout | None:
    """Of several layouts whose columns are all there, the one with the most."""
    fitting = [layout for layout in LAYOUTS if set(layout.needed) <= set(names)]
    return max(fitting, key=lambda layout: len(layout.needed), default=None)


def _named() -> str:
    return ", ".join(layout.name for layout in LAYOUTS)


def _typed(path: Path, column: Column, values: Texts | None, rows: int) -> npt.NDArray[Any]:
    """A column as an array of its type; the first wrong cell is an error."""
    if values is None:
        return _empty(column, rows)
    if column.type == "word":
        words = values.words()
        _refuse(path, column, values, _wrong_words(column, words))
        return words
    if column.type == "flag":
        words = values.words()
        allowed = ("True", "False", "true", "false", *([""] if column.may_be_empty else []))
        _refuse(path, column, values, ~np.isin(words.astype(str), allowed), "True or False")
        return np.isin(words.astype(str), ("True", "true"))
    numbers, unreadable = values.numbers()
    empty = np.isnan(numbers) & ~unreadable
    wrong = unreadable | np.isinf(numbers) | (numbers < column.least)
    if not column.may_be_empty:
        wrong |= empty
    if column.type == "number":
        _refuse(path, column, values, wrong, f"a number of at least {column.least:g}")
        return numbers
    wrong |= ~empty & (numbers != np.floor(numbers))
    _refuse(path, column, values, wrong, f"a whole number of at least {column.least:g}")
    return np.where(empty, 0, numbers).astype(np.int64)


def _wrong_words(column: Column, words: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    wrong = np.zeros(words.size, np.bool_)
    if not column.may_be_empty:
        wrong |= words == ""
    if column.allowed:
        wrong |= ~np.isin(words.astype(str), (*column.allowed, ""))
    return wrong


def _refuse(
    path: Path, column: Column, values: Texts, wrong: npt.NDArray[np.bool_], needed: str = ""
) -> None:
    if not wrong.any():
        return
    row = int(wrong.argmax())
    found = values.text(row)
    needed = needed or ("one of " + ", ".join(column.allowed) if column.allowed else "text")
    near = difflib.get_close_matches(found, column.allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TraceError(
        f"{values.where(path, row)}: column {column.name!r}: found "
        f"{repr(found) if found else 'an empty value'}; {needed} is needed{hint}"
    )


def _empty(column: Column, rows: int) -> npt.NDArray[Any]:
    fills: dict[str, Any] = {"word": "", "flag": False, "count": 0, "number": np.nan}
    types: dict[str, Any] = {"word": object, "flag": np.bool_, "count": np.int64}
    return np.full(rows, fills[column.type], types.get(column.type, np.float64))
