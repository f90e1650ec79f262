"""From an Arrow table of one format to rows: units, failures, and one look at every column."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.columns import MOST_TOKENS, Integers, ids_fit
from workloads.readers.form import Form, Rows, take

_TICKS_PER_S = {"s": 10**9, "ms": 10**9, "ns": 10**9, "wall": 10**9, "ps": 10**12}
_NS = {"s": 1e9, "ms": 1e6}
_LAST_NS = 9.2e18  # int64 nanoseconds end here, after 291 years


def rows_of(table: Any, form: Form, *, block_tokens: int = 0) -> Rows | None:
    """Turn a table that holds a format's columns into rows, or give None if any value is wrong.

    The checks are whole-column ones; which value it was is for ``faults.first_fault`` to find.
    ``block_tokens`` stands in for the format's own where each file has another.
    """
    table = _without_empty_ids(table, form)
    if any(column.null_count for column in table.columns):
        return None
    ticks = _ticks(table[form.time], form)
    if ticks is None:
        return None
    found = _ids(table, form)
    if found is None:
        return None
    offsets, ids = found
    rows = Rows(
        ticks=ticks,
        ticks_per_s=_TICKS_PER_S[form.time_unit],
        prompt_tokens=as_numpy(table[form.prompt]),
        output_tokens=as_numpy(table[form.output]),
        hash_offsets=offsets,
        hash_ids=ids,
        hash_block_tokens=0 if ids is None else block_tokens or form.hash_block_tokens,
    )
    if form.zero_output_fails:
        rows = _without_failures(rows)
    return rows if _in_range(rows) else None


def as_numpy(column: Any) -> Any:
    """Give a column without nulls as one array; ``to_numpy`` would import pandas for it."""
    return np.from_dlpack(column.combine_chunks())


def _ticks(column: Any, form: Form) -> Integers | None:
    """Give the ticks from the trace's start: nanoseconds, or the file's own picoseconds."""
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


def _without_empty_ids(table: Any, form: Form) -> Any:
    """Drop the column of block ids if no row has any: then the file simply came without."""
    if form.hash_ids not in table.column_names or not len(table):
        return table
    empty = table[form.hash_ids].null_count == len(table)
    return table.drop_columns([form.hash_ids]) if empty else table


def _ids(table: Any, form: Form) -> tuple[Integers | None, Integers | None] | None:
    if form.hash_ids not in table.column_names:
        return None, None
    lists = table[form.hash_ids]
    counts = as_numpy(pc.list_value_length(lists)).astype(np.int64)
    ids = pc.list_flatten(lists)
    if ids.null_count:
        return None
    return np.concatenate(([0], np.cumsum(counts))), as_numpy(ids)


def _without_failures(rows: Rows) -> Rows:
    served = np.flatnonzero(rows.output_tokens != 0)
    kept = take(rows, served)
    return Rows(
        ticks=kept.ticks,
        ticks_per_s=kept.ticks_per_s,
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        skipped=len(rows) - len(kept),
    )


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
