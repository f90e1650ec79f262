"""Our own request files: Parquet with the columns of ``workloads.requests``, units included."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corsair_common.limits import refuse_beyond_memory, unpacked_bytes
from corsair_common.units import Integers
from workloads.readers.blocks import number_ids
from workloads.readers.diagnose import check_columns
from workloads.readers.files import BYTES_PER_ROW, open_trace
from workloads.readers.table import as_numpy, rows_of
from workloads.readers.trace_format import Rows, TraceFormat
from workloads.requests import (
    FIRST,
    MOST_TOKENS,
    REQUEST_COLUMNS,
    SESSION_COLUMNS,
    Requests,
    TraceError,
)

PARQUET = TraceFormat(
    name="parquet",
    container="parquet",
    time="arrival_ps",
    time_unit="ps",
    prompt="prompt_tokens",
    output="output_tokens",
    hash_ids="hash_ids",
)
_TYPES = {"int64": pa.int64(), "list<int64>": pa.list_(pa.int64())}
_BLOCK_KEY = b"hash_block_tokens"
_COMMON_KEY = b"common_tokens"
_ROW_GROUP = 1 << 18
_MOST_IDS = 2**31 - 1  # Arrow's lists count in 32 bits


def read_parquet(path: Path, hash_block_tokens: int = 0) -> Rows:
    """Read a file of our own kind; TraceError names the first row that is wrong, counted from 0.

    ``hash_block_tokens`` overrides the file's value, unless it is 0.
    """
    schema = _opened(path, pq.read_schema)
    check_columns(path, PARQUET, schema.names)
    has_ids = PARQUET.hash_ids in schema.names
    turns = [name for name in SESSION_COLUMNS if name in schema.names]
    if turns and len(turns) < len(SESSION_COLUMNS):
        raise TraceError(
            f"{path}: found {', '.join(turns)}; session, previous and delay_ps go together"
        )
    names = [*PARQUET.needed, *([PARQUET.hash_ids] if has_ids else []), *turns]
    need_bytes = _opened(path, partial(_memory_of, names=names))
    refuse_beyond_memory(need_bytes, f"reading {path}", "cut it into several files")
    table = _opened(path, partial(pq.read_table, columns=names))
    block_tokens = (hash_block_tokens or _block_tokens(path, schema)) if has_ids else 0
    typed = pa.Table.from_arrays([_typed(path, table[name], name) for name in names], names)
    rows = rows_of(typed, PARQUET, block_tokens=block_tokens)
    if rows is None:
        raise _first_fault(path, typed, block_tokens)
    return _with_turns(path, rows, typed, schema) if turns else rows


def _with_turns(path: Path, rows: Rows, table: Any, schema: Any) -> Rows:
    """The rows with their columns of sessions; the first row that is wrong is named."""
    session, previous, delay = (as_numpy(table[name]) for name in SESSION_COLUMNS)
    failed = len(previous) - len(rows)
    wrong = np.flatnonzero((previous < FIRST) | (previous >= np.arange(len(previous))))
    negative = np.flatnonzero((delay < 0) & (previous != FIRST))
    if failed or len(wrong) or len(negative):
        name, row = ("previous", wrong) if len(wrong) else ("delay_ps", negative)
        if not len(row):
            raise TraceError(f"{path}: has sessions and {failed} requests without tokens")
        raise TraceError(
            f"{path}: row {row[0]}: column {name!r}: found {table[name][int(row[0])].as_py()}; "
            + ("an earlier row, or -1," if name == "previous" else "at least 0")
            + " is needed"
        )
    own = rows.ticks > rows.ticks[previous] + delay  # else it is the earliest that it could be
    recorded = np.where((previous == FIRST) | own, 1, 0)
    common = (schema.metadata or {}).get(_COMMON_KEY, b"0")
    return replace(
        rows,
        session=session,
        previous=previous,
        delay=delay,
        recorded=recorded,
        common_tokens=int(common) if common.isdigit() and len(common) < 13 else 0,
    )


def write_parquet(file: BinaryIO, requests: Requests) -> None:
    """Write requests into an open file; ``trace.write_trace`` replaces a whole one."""
    arrays = [
        _as_arrow(column)
        for column in (requests.arrival_ps, requests.prompt_tokens, requests.output_tokens)
    ]
    metadata = {}
    if requests.hash_ids is not None and requests.hash_offsets is not None:
        arrays.append(_as_lists(requests.hash_offsets, requests.hash_ids))
        metadata[_BLOCK_KEY] = str(requests.hash_block_tokens).encode()
    left_out = {PARQUET.hash_ids} if requests.hash_ids is None else set()
    if requests.previous is None:
        left_out |= set(SESSION_COLUMNS)
    else:
        arrays += [_as_arrow(getattr(requests, name)) for name in SESSION_COLUMNS]
        metadata[_COMMON_KEY] = str(requests.common_tokens).encode()
    fields = [
        pa.field(
            column.name,
            _TYPES[column.type],
            nullable=False,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in REQUEST_COLUMNS
        if column.name not in left_out
    ]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
    pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP)


def _opened(path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        with open_trace(path) as file:
            return read(file)
    except (pa.ArrowException, OSError, ValueError) as error:  # a torn file raises any of them
        raise TraceError(f"{path}: not a readable Parquet file ({error})") from None


def _memory_of(file: BinaryIO, names: list[str]) -> int:
    """Forecast of the memory to read these columns, by rows and by what they unpack to."""
    metadata = pq.read_metadata(file)
    return max(int(metadata.num_rows) * BYTES_PER_ROW, 3 * unpacked_bytes(metadata, names))


def _as_arrow(column: Integers) -> Any:
    """Wrap the memory as it lies (``pa.array`` would import pandas, for a third of a second)."""
    whole = np.ascontiguousarray(column)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])


def _as_lists(offsets: Integers, ids: Integers) -> Any:
    if len(ids) > _MOST_IDS:
        raise TraceError(f"{len(ids)} block ids, one file holds at most {_MOST_IDS}")
    narrow = pa.py_buffer(offsets.astype(np.int32))
    kind = pa.list_(pa.field("item", pa.int64()))
    return pa.Array.from_buffers(kind, len(offsets) - 1, [None, narrow], children=[_as_arrow(ids)])


def _block_tokens(path: Path, schema: Any) -> int:
    found = (schema.metadata or {}).get(_BLOCK_KEY, b"")
    if not found.isdigit() or len(found) > 10 or int(found) < 1:
        raise TraceError(
            f"{path}: column 'hash_ids' needs the key 'hash_block_tokens' (a whole number, at "
            f"least 1) in the file's metadata, found {found[:60].decode(errors='replace')!r}"
        )
    return int(found)


def _typed(path: Path, column: Any, name: str) -> Any:
    wanted = pa.list_(pa.int64()) if name == PARQUET.hash_ids else pa.int64()
    if pa.types.is_list(column.type) and _is_identity(column.type.value_type):
        return _numbered(path, column, name)
    inner = column.type.value_type if pa.types.is_list(column.type) else column.type
    if pa.types.is_list(column.type) != pa.types.is_list(wanted) or not pa.types.is_integer(inner):
        raise TraceError(f"{path}: column {name!r}: found {column.type}; {wanted} is needed")
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid as error:
        raise TraceError(f"{path}: column {name!r}: {error}") from None


def _is_identity(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_uint64(kind))


def _numbered(path: Path, column: Any, name: str) -> Any:
    """Number block ids that are strings or unsigned; equal ones stay equal."""
    lists = column.to_pylist()
    if any(ids is None or None in ids for ids in lists):
        raise TraceError(f"{path}: column {name!r}: found an empty value; all rows need their ids")
    return pa.chunked_array([_as_lists(*number_ids(lists))])


def _first_fault(path: Path, table: Any, block_tokens: int) -> TraceError:
    for name, least in zip(PARQUET.needed, (0, 1, 1), strict=True):
        values = table[name].to_pylist()
        for row, value in enumerate(values):
            if value is None or value < 0:  # no tokens: a failed request, left out
                found = "an empty value" if value is None else value
                return TraceError(
                    f"{path}: row {row}: column {name!r}: found {found}; at least {least} is needed"
                )
            if name != PARQUET.time and value > MOST_TOKENS:
                return TraceError(
                    f"{path}: row {row}: column {name!r}: found {value}; at most {MOST_TOKENS} is "
                    "allowed"
                )
    prompts: Integers = as_numpy(table[PARQUET.prompt])
    outputs: Integers = as_numpy(table[PARQUET.output])
    for row, ids in enumerate(table[PARQUET.hash_ids].to_pylist()):
        if not prompts[row] or not outputs[row]:
            continue
        full, started = prompts[row] // block_tokens, -(-prompts[row] // block_tokens)
        if ids is None or None in ids or not full <= len(ids) <= started:
            found = "an empty value" if ids is None or None in ids else f"{len(ids)} ids"
            return TraceError(
                f"{path}: row {row}: column 'hash_ids': found {found}; {prompts[row]} tokens in "
                f"blocks of {block_tokens} need {full} to {started}"
            )
    return TraceError(f"{path}: holds a value out of range")
