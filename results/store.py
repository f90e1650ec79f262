"""Writes Arrow tables as Parquet, atomically.

A run is built in a hidden folder, its manifest last, and then renamed to its run_id: no manifest,
no run. Equal columns give equal bytes for any sizes of the parts.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from corsair_common.files import sync
from corsair_common.folders import hidden_folder, publish, sweep
from results.arrow import Columns, arrow_schema, arrow_table, dictionary, row_count
from results.errors import ResultsError, explained, replacing
from results.provenance import manifest_json, sealed
from results.remote_parts import ArrowBytes, decoded
from results.schema import TABLES, Table

ROWS_AT_ONCE = 1 << 17
"""Rows of parts that are converted together."""
FEW_ROWS = 1 << 10
"""Often have all words of a row group."""
MANIFEST = "manifest.json"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RunWriter:
    """Writes a run part by part; without a commit all files are removed.

    >>> with RunWriter(root, run_id) as writer:               # doctest: +SKIP
    ...     writer.append("steps", {"start_ps": starts, ...})  # as often as needed
    ...     folder = writer.commit(manifest)
    """

    def __init__(self, root: Path, run_id: str, declared: Mapping[str, Table] = TABLES) -> None:
        """``declared`` are the tables of the run's device (``results.schema.run_tables``)."""
        if not _RUN_ID.fullmatch(run_id):
            raise ResultsError(f"{run_id!r} cannot be a run's name: letters, digits, '_', '-', '.'")
        self._root = Path(root)
        self._run_id = run_id
        self._declared = declared
        self._files: dict[str, _TableFile] = {}
        self._committed = False

    def __enter__(self) -> Self:
        """Make the hidden folder: here, so that no signal comes between it and its removal."""
        made: tuple[Path, int] | None = None
        try:
            with explained(self._root, "store runs here"):
                sweep(self._root)
                made = hidden_folder(self._root, self._run_id)
                self._folder, self._lock = made
        except BaseException:
            if made is not None:
                shutil.rmtree(made[0], ignore_errors=True)
                os.close(made[1])
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:  # afterwards another writer may use the hidden name
            for file in self._files.values():
                file.abandon()
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def append(self, table: str, columns: Columns | ArrowBytes) -> None:
        """Add rows to a table. They are copied: the caller may reuse its arrays at once.

        Columns that another process encoded with ``results.remote_parts.encoded`` are accepted too.

        Raises
        ------
        ValueError
            The columns are not those of the table.
        ResultsError
            They cannot be written.
        """
        if isinstance(columns, Mapping):
            self._write(table, arrow_table(self._declared[table], columns))
        else:
            self._write(table, decoded(self._declared[table], columns))

    def extend(self, table: str, parts: Iterable[Columns | ArrowBytes]) -> None:
        """Add the parts of a table, some at once: arrays that they share are converted once.

        Arrays must stay as they are until the last part. Columns of other processes are not mixed
        with those of this one.

        Raises
        ------
        ValueError, ResultsError
            As ``append``.
        """
        declared, waiting, rows = self._declared[table], list[Columns](), 0
        for part in parts:
            if not isinstance(part, Mapping):
                self._write(table, decoded(declared, part))
                continue
            waiting.append(part)
            rows += next(filter(None, map(row_count, part.values())), 1)
            if rows >= ROWS_AT_ONCE:
                self._write(table, arrow_table(declared, *waiting))
                waiting, rows = [], 0
        if waiting:
            self._write(table, arrow_table(declared, *waiting))

    def _write(self, table: str, part: pa.Table) -> None:
        with explained(self._root / self._run_id, "write the run"):
            if table not in self._files:
                self._files[table] = _TableFile(self._declared[table], self._folder)
            self._files[table].append(part)

    def commit(self, manifest: Mapping[str, object]) -> Path:
        """Finish every table, write the manifest and rename the run to its id."""
        if manifest["run_id"] != self._run_id:
            raise ValueError(f"manifest of {manifest['run_id']!r} for a run {self._run_id!r}")
        with explained(self._root / self._run_id, "write the run"):
            tables = {name: file.finish() for name, file in sorted(self._files.items())}
            path = self._folder / MANIFEST
            path.write_text(manifest_json(sealed({**manifest, "tables": tables})), encoding="utf-8")
            sync(path)
            sync(self._folder)
            target = publish(self._folder, self._run_id)
            self._committed = True
        return target


def _encodings(table: Table) -> dict[str, Any]:
    """Dictionaries for words only: the compressor finds numbers that repeat, in half of the time.

    Columns of distinct values use byte-stream split (floats) or delta encoding (integers). Readers
    skip row groups by numbers and by the names of cards and links, which come in order: other words
    have no statistics.
    """
    types = {column.name: column.type for column in table.columns}
    laid = {"float64": "BYTE_STREAM_SPLIT", "int64": "DELTA_BINARY_PACKED"}
    return {
        "use_dictionary": [name for name in types if types[name] == "category"],
        "write_statistics": [
            name for name in types if types[name] != "category" or name.endswith("_name")
        ],
        "column_encoding": {name: laid[types[name]] for name in table.distinct},
    }


class _TableFile:
    """One Parquet file that grows by row groups."""

    def __init__(self, table: Table, folder: Path) -> None:
        self._table = table
        self._path = folder / f"{table.name}.parquet"
        self._rows = 0
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._closing = ExitStack()
        # Page checksums let a reader detect damage; the rest is fixed so that bytes are
        # reproducible.
        writer = pq.ParquetWriter(
            self._path,
            arrow_schema(table),
            version="2.6",
            compression="zstd",
            compression_level=3,
            data_page_version="1.0",
            write_page_checksum=True,
            **_encodings(table),
        )
        self._writer = self._closing.enter_context(writer)

    def append(self, part: pa.Table) -> None:
        group = self._table.rows_per_group
        self._rows += part.num_rows
        self._waiting.append(part)
        self._waiting_rows += part.num_rows
        if self._waiting_rows >= group:
            self._flush(self._waiting_rows - self._waiting_rows % group)

    def finish(self) -> dict[str, object]:
        """Close the file and describe it for the manifest."""
        self._flush(self._waiting_rows)
        self._closing.close()
        sync(self._path)
        with self._path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        return {"rows": self._rows, "bytes": self._path.stat().st_size, "sha256": digest}

    def abandon(self) -> None:
        """Close the file without finishing it."""
        try:
            self._closing.close()
        except OSError:
            return

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        group = self._table.rows_per_group
        whole = pa.concat_tables(self._waiting).unify_dictionaries().combine_chunks()
        for first in range(0, rows, group):
            part = whole.slice(first, min(group, rows - first))
            self._writer.write_table(_with_own_words(part), row_group_size=group)
        self._waiting = [whole.slice(rows)]
        self._waiting_rows -= rows


def _with_own_words(group: pa.Table) -> pa.Table:
    """The same with dictionaries of the words in it, in order, whatever lay beside it."""
    for place, field in enumerate(group.schema):
        if pa.types.is_dictionary(field.type):
            own = _own_words(group.column(place).combine_chunks())
            group = group.set_column(place, field, own)
    return group


def _own_words(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """As ``dictionary_encode``, which would import ``pyarrow.compute``: a tenth of a second."""
    validity, numbers = column.indices.buffers()
    rows = slice(column.indices.offset, column.indices.offset + len(column))
    codes, known = np.frombuffer(numbers, np.int32)[rows], None
    if column.null_count:
        bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
        known = bits[rows].astype(bool)
    words = len(column.dictionary)
    order = _by_first(codes[:FEW_ROWS] if known is None else codes[known], words)
    if known is None and len(order) < words and len(codes) > FEW_ROWS:
        order = _by_first(codes, words)
    if len(order) == words and (order == np.arange(words)).all():
        return column
    own = np.zeros(words + 1, np.int32)
    own[order] = np.arange(len(order))
    there = column.dictionary.to_pylist()
    return dictionary(
        own[codes if known is None else np.where(known, codes, -1)],
        [there[place] for place in order],
        None if known is None else ~known,
    )


def _by_first(codes: npt.NDArray[np.int32], words: int) -> npt.NDArray[np.int64]:
    """The codes that there are, of ``words``, by their first row."""
    first = np.full(words, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes the last one written is kept
    return np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]


def write_table(table: Table, columns: Columns, path: str | Path) -> None:
    """Write ``columns`` as ``table`` declares them; the file appears whole or not at all."""
    rows = arrow_table(table, columns)
    with replacing(Path(path)) as file:
        pq.write_table(rows, file, compression="zstd")
