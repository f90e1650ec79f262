"""CSV and Parquet alike: named columns whose cells can be read as words or as numbers."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from corsair_common.limits import refuse_beyond_memory, unpacked_bytes
from workloads.requests import TraceError

_MAGIC = b"PAR1"


class Texts(Protocol):
    """One column of a file."""

    def words(self) -> npt.NDArray[Any]:
        """As text, empty where the cell is empty."""
        ...

    def numbers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """As numbers, NaN where the cell is empty; and which cells are no numbers."""
        ...

    def text(self, row: int) -> str:
        """One cell, for an error."""
        ...

    def where(self, path: Path, row: int) -> str:
        """The place of a row, for an error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The columns of a file that somebody asked for, and the text of the others of a CSV file."""

    columns: Mapping[str, Texts]
    others: Mapping[str, Sequence[str]]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CsvColumn:
    """Cells of a CSV column."""

    cells: list[str]
    lines: list[int]

    def words(self) -> npt.NDArray[Any]:
        return np.array(self.cells, object)

    def numbers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        values, wrong = np.full(len(self.cells), np.nan), np.zeros(len(self.cells), np.bool_)
        for row, cell in enumerate(self.cells):
            try:
                values[row] = float(cell or "nan")
            except ValueError:
                wrong[row] = True
        return values, wrong

    def text(self, row: int) -> str:
        return self.cells[row]

    def where(self, path: Path, row: int) -> str:
        return f"{path}:{self.lines[row]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrowColumn:
    """Cells of a Parquet column."""

    array: Any

    def words(self) -> npt.NDArray[Any]:
        encoded = self.array
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.cast(pa.string()).dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.unify_dictionaries().combine_chunks()
        known = np.array(["", *map(str, encoded.dictionary.to_pylist())], object)
        indices = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        found: npt.NDArray[Any] = known[indices + 1]
        return found

    def numbers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        kind = self.array.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return np.full(len(self.array), np.nan), np.ones(len(self.array), np.bool_)
        values = self.array.cast(pa.float64()).to_numpy()
        return values, np.zeros(values.size, np.bool_)

    def text(self, row: int) -> str:
        value = self.array[row].as_py()
        return "" if value is None else str(value)

    def where(self, path: Path, row: int) -> str:
        return f"{path}: row {row}"


def read_names(path: Path) -> list[str]:
    """The names of a file's columns."""
    if _is_parquet(path):
        return list(_parquet(path, pq.read_schema).names)
    return _csv_rows(path)[0]


def read_table(path: Path, names: Sequence[str]) -> Table:
    """The columns of these names that the file has."""
    if _is_parquet(path):
        present = [name for name in _parquet(path, pq.read_schema).names if name in set(names)]
        size = _parquet(path, lambda file: unpacked_bytes(pq.read_metadata(file), present))
        refuse_beyond_memory(3 * size, f"reading {path}", "cut it")
        table = _parquet(path, lambda file: pq.read_table(file, columns=present))
        columns = {name: ArrowColumn(array=table[name]) for name in present}
        return Table(columns=columns, others={}, rows=table.num_rows)
    header, lines, rows = _csv_rows(path)
    cells = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    return Table(
        columns={
            name: CsvColumn(cells=column, lines=lines)
            for name, column in cells.items()
            if name in set(names)
        },
        others={name: column for name, column in cells.items() if name not in set(names)},
        rows=len(rows),
    )


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == _MAGIC
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None


def _parquet(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except (pa.ArrowException, OSError, ValueError) as error:  # a torn file raises any of them
        raise TraceError(f"{path}: not a readable Parquet file ({error})") from None


def _csv_rows(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line of each row, and its cells."""
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise TraceError(
                        f"{path}:{reader.line_num}: found {len(cells)} cells; the header has "
                        f"{len(header)}"
                    )
                lines.append(reader.line_num)
                rows.append(cells)
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except csv.Error as error:
        raise TraceError(f"{path}: not CSV ({error})") from None
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TraceError(f"{path}:1: column {twice[0]!r} is given twice")
    return header, lines, rows
