"""A sweep's dataset on disk: parts written atomically, a manifest, one writer at a time.

``points/status=completed/part-000001.parquet`` and so on: Hive partitions, which pandas, Polars and
DuckDB read directly, also while the sweep runs.
"""

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from corsair_common.files import locked, sync
from corsair_common.folders import hidden_folder, publish, standing, sweep
from corsair_common.limits import read_bounded, refuse_beyond_memory, unpacked_bytes
from results.arrow import TYPES, arrow_schema
from results.errors import ResultsError, explained, replacing
from results.provenance import MOST_MANIFEST_BYTES, check_seal, manifest_json, sealed
from results.schema import POINT_STATUSES, SCHEMA_VERSION, Table

Row: TypeAlias = Mapping[str, Any]

SMALL = 1000
"""Rows below which a part is not compressed: it is written often, and soon merged with others."""
SWEEP = "sweep.json"
POINTS = "points"
_PART = re.compile(r"part-(?P<number>\d+)\.parquet")


class SweepWriter:
    """The only writer of a sweep's folder; others are refused while it is open."""

    def __init__(self, folder: str | Path, table: Table) -> None:
        self.folder = Path(folder)
        self._table = table
        with explained(self.folder, "store a sweep here"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            _take(self._lock, self.folder)
            sweep(self.folder)
            _clear(self.folder / POINTS)
        self._next = 1 + max((number for _, _, number in parts(self.folder)), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def write_manifest(self, content: Mapping[str, object]) -> None:
        """Write ``sweep.json`` atomically."""
        with replacing(self.folder / SWEEP) as file:
            whole = sealed({"schema_version": SCHEMA_VERSION, **content})
            file.write(manifest_json(whole).encode())

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows as one part per status; each holds ``status`` and columns of the table.

        Raises
        ------
        ResultsError
            A part cannot be written (a full disk, say); those before it are intact.
        """
        self._write(self.folder / POINTS, rows)

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Replace all rows by these, atomically, in order of their points.

        A concurrent reader may have to read again.
        """
        with explained(self.folder, "rewrite the points"):
            hidden, lock = hidden_folder(self.folder, POINTS)
            try:
                self._write(hidden, sorted(rows, key=lambda row: int(row["point"])))
                for part in hidden.iterdir():
                    sync(part)
                publish(hidden, POINTS)
            finally:
                os.close(lock)
                shutil.rmtree(hidden, ignore_errors=True)

    def compact(self) -> None:
        """Merge the parts of each status into one; for duplicate points the later row is kept."""
        found = list(parts(self.folder))
        if len(found) > len({status for _, status, _ in found}):
            self.rewrite(read_points(self.folder, self._table).to_pylist())

    def _write(self, points: Path, rows: Sequence[Row]) -> None:
        by_status: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_status[row["status"]].append(row)
        for status in POINT_STATUSES:
            if status not in by_status:
                continue
            place = points / f"status={status}"
            content = _encoded(self._table, by_status[status])
            with explained(place, "write a part"):
                place.mkdir(parents=True, exist_ok=True)
            with replacing(place / f"part-{self._next:06d}.parquet") as file:
                file.write(content)
        self._next += 1


def parts(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """Every part of a sweep in the order of writing: its file, status and number.

    Raises
    ------
    ResultsError
        A foreign file is among the parts.
    """
    points = standing(folder, POINTS)
    found = []
    for file in points.rglob("*") if points else ():
        if file.is_dir() or file.name.startswith("."):
            continue
        name, status = _PART.fullmatch(file.name), file.parent.name.removeprefix("status=")
        if name is None or status not in POINT_STATUSES:
            raise ResultsError(
                f"{file}: not a part of a sweep; points/ holds only"
                " status=<status>/part-<number>.parquet: remove the file"
            )
        found.append((file, status, int(name["number"])))
    yield from sorted(found, key=lambda each: (each[2], each[1]))


def read_part(file: Path, table: Table) -> pa.Table:
    """The rows of one part, as the table of the sweep declares them.

    Raises
    ------
    ResultsError
        The file is damaged or cut short, or is of another sweep.
    """
    read = _opened(file)
    wanted = arrow_schema(table)
    if read.schema.remove_metadata() != wanted.remove_metadata():
        strange = sorted(set(read.column_names) ^ set(wanted.names)) or ["the types of columns"]
        raise ResultsError(f"{file}: of another sweep (differs in {', '.join(strange)}); {REMEDY}")
    return read


REMEDY = "delete it and resume the sweep: its points are then computed again"


def _opened(file: Path) -> pa.Table:
    try:
        part = pq.ParquetFile(file, page_checksum_verification=True)
        refuse_beyond_memory(2 * unpacked_bytes(part.metadata), f"reading {file}", REMEDY)
        return part.read()
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise ResultsError(f"{file}: damaged or cut short ({first}); {REMEDY}") from error


def read_points(folder: Path, table: Table) -> pa.Table:
    """All parts in one table, in order of their points, ``status`` beside ``run_id``.

    For duplicate points the later row is kept. Raises ResultsError as ``read_part``.
    """
    read = []
    for file, status, _ in parts(folder):
        part = read_part(file, table)
        where = part.schema.get_field_index("run_id") + 1
        read.append(
            part.add_column(where, "status", pa.array([status] * part.num_rows, pa.string()))
        )
    if not read:
        empty = arrow_schema(table).empty_table()
        return empty.add_column(2, "status", pa.array([], pa.string()))
    whole = pa.concat_tables(read).combine_chunks()
    last = {point: row for row, point in enumerate(whole.column("point").to_pylist())}
    return whole.take(pa.array([last[point] for point in sorted(last)], pa.int64()))


def identities(folder: Path, table: Table) -> dict[int, tuple[str | None, str]] | None:
    """run_id and status by point; None if the parts have the columns of another sweep."""
    wanted = arrow_schema(table).remove_metadata()
    found: dict[int, tuple[str | None, str]] = {}
    for file, status, _ in parts(folder):
        part = _opened(file)
        if part.schema.remove_metadata() != wanted:
            return None
        pairs = zip(part["point"].to_pylist(), part["run_id"].to_pylist(), strict=True)
        found.update({point: (run_id, status) for point, run_id in pairs})
    return found


def loose_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every row of every part with ``status``, for any other columns; later ones last.

    Raises
    ------
    ResultsError
        A part is damaged, or is not a table of points.
    """
    for file, status, _ in parts(folder):
        part = _opened(file)
        if not {"point", "run_id"} <= set(part.column_names):
            raise ResultsError(f"{file}: not a part of a sweep: no point and run_id; {REMEDY}")
        for row in part.to_pylist():
            yield {**row, "status": status}


def read_sweep_manifest(folder: Path) -> dict[str, Any]:
    """The content of ``sweep.json``.

    Raises
    ------
    ResultsError
        There is none, it is damaged, or of a newer version.
    """
    path = folder / SWEEP
    try:
        content: dict[str, Any] = json.loads(read_bounded(path, MOST_MANIFEST_BYTES))
    except FileNotFoundError:
        raise ResultsError(f"{folder}: not a sweep: it has no {SWEEP}") from None
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not a sweep's manifest, or a damaged one: {error}") from error
    missing = [name for name in FIELDS if not isinstance(content, dict) or name not in content]
    if missing:
        raise ResultsError(f"{path}: the manifest lacks {', '.join(missing)}")
    found = content["schema_version"]
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ResultsError(
            f"{path}: written by a newer corsair-sim (schema {content['schema_version']}); this one"
            f" reads schemas up to {SCHEMA_VERSION}"
        )
    check_seal(path, content)
    return content


FIELDS = ("schema_version", "name", "points", "digest", "axes", "metrics", "kind", "definition")
"""Required fields of a sweep's manifest."""


def _encoded(table: Table, rows: Sequence[Row]) -> bytes:
    """One part as Parquet, in memory, so that a full disk fails a single write."""
    arrays = []
    for column in table.columns:
        try:
            arrays.append(pa.array([row.get(column.name) for row in rows], TYPES[column.type]))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ResultsError(f"column {column.name!r} of a stored part: {error}; {REMEDY}") from (
                None
            )
    buffer = BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=arrow_schema(table)),
        buffer,
        version="2.6",
        compression="zstd" if len(rows) > SMALL else "none",
        use_dictionary=len(rows) > SMALL,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _take(lock: int, folder: Path) -> None:
    """Lock the folder until this process ends, where the file system has locks."""
    if locked(lock) is False:
        os.close(lock)
        raise ResultsError(f"{folder}: another process is writing this sweep")


def _clear(points: Path) -> None:
    """Remove partial files of a killed writer."""
    for file in points.glob("status=*/.tmp-*"):
        file.unlink(missing_ok=True)
