"""From an Arrow table of one format to rows: units, failures, and one look at every column."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corsair_common.units import Integers
from workloads.readers.blocks import hash_tokens
from workloads.readers.trace_format import Rows, TraceFormat
from workloads.requests import MOST_TOKENS, ids_fit

_TICKS_PER_S = {"s": 10**9, "ms": 10**9, "us": 10**9, "ns": 10**9, "wall": 10**9, "ps": 10**12}
_NS = {"s": 1e9, "ms": 1e6, "us": 1e3}
_LAST_NS = 9.2e18  # int64 nanoseconds end here, after 291 years


def rows_of(table: Any, form: TraceFormat, *, block_tokens: int = 0) -> Rows | None:
    """Turn a table that holds a format's columns into rows, or give None if any value is wrong.

    Rows without prompt or output tokens are failed requests: left out and counted. The checks are
    whole-column ones; which value it was is for ``faults.first_fault`` to find.
    ``block_tokens`` stands in for the format's own where each file has another.
    """
    if any(table[name].null_count for name in form.needed):
        return None
    ticks = _ticks(table, form)
    if ticks is None:
        return None
    prompt, output = as_numpy(table[form.prompt]), as_numpy(table[form.output])
    served = (prompt != 0) & (output != 0)
    table = _without_empty_ids(_filtered(table, served), form)
    if any(column.null_count for column in table.columns):
        return None
    found = _ids(table, form, block_tokens or form.hash_block_tokens)
    if found is None:
        return None
    offsets, ids = found
    rows = Rows(
        ticks=ticks[served],
        ticks_per_s=_TICKS_PER_S[form.time_unit],
        prompt_tokens=prompt[served],
        output_tokens=output[served],
        hash_offsets=offsets,
        hash_ids=ids,
        hash_block_tokens=0 if ids is None else block_tokens or form.hash_block_tokens,
        skipped=len(served) - int(served.sum()),
        timed=bool(form.time),
        time_unit=form.time_unit,
    )
    return rows if _in_range(rows) else None


def as_numpy(column: Any) -> Any:
    """Give a column without nulls as one array; ``to_numpy`` would import pandas for it."""
    return np.from_dlpack(column.combine_chunks())


def _filtered(table: Any, served: npt.NDArray[np.bool_]) -> Any:
    if served.all():
        return table
    return table.take(pa.array(np.flatnonzero(served).tolist(), pa.int64()))


def _ticks(table: Any, form: TraceFormat) -> Integers | None:
    """Give the ticks from the trace's start: nanoseconds, or the file's own picoseconds."""
    if not form.time:
        return np.zeros(len(table), dtype=np.int64)
    column = table[form.time]
    if form.time_unit == "wall":
        moments: Integers = as_numpy(column.cast(pa.int64()))
        return moments - moments.min() if len(moments) else moments
    times = as_numpy(column)
    if form.time_unit in {"ns", "ps"}:
        return np.asarray(times, dtype=np.int64)
    times = times * _NS[form.time_unit]
    if not (np.abs(times) < _LAST_NS).all():
        return None
    nanoseconds: Integers = np.rint(times).astype(np.int64)
    return nanoseconds


def _without_empty_ids(table: Any, form: TraceFormat) -> Any:
    """Drop the column of block ids if no row has any: then the file simply came without."""
    name = form.token_ids or form.hash_ids
    if name not in table.column_names or not len(table):
        return table
    empty = table[name].null_count == len(table)
    return table.drop_columns([name]) if empty else table


def _ids(
    table: Any, form: TraceFormat, block_tokens: int
) -> tuple[Integers | None, Integers | None] | None:
    name = form.token_ids or form.hash_ids
    if name not in table.column_names:
        return None, None
    lists = table[name]
    counts = as_numpy(pc.list_value_length(lists)).astype(np.int64)
    ids = pc.list_flatten(lists)
    if ids.null_count:
        return None
    offsets, values = np.concatenate(([0], np.cumsum(counts))), as_numpy(ids)
    if not form.token_ids:
        return offsets, values
    if not np.array_equal(counts, as_numpy(table[form.prompt])):
        return None
    return hash_tokens(offsets, values, block_tokens)


def _in_range(rows: Rows) -> bool:
    if not len(rows):
        return True
    columns = (rows.ticks, rows.prompt_tokens - 1, rows.output_tokens - 1)
    if any(column.min() < 0 for column in columns):
        return False
    if max(rows.prompt_tokens.max(), rows.output_tokens.max()) > MOST_TOKENS:
        return False
    if rows.hash_offsets is None:
        return True
    counts = np.diff(rows.hash_offsets)
    return bool(ids_fit(counts, rows.prompt_tokens, rows.hash_block_tokens).all())
