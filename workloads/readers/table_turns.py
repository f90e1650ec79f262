"""Sessions in tables: a column that names the session, and how long a turn waits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corsair_common.units import Integers
from workloads.readers.diagnose import text_lines
from workloads.readers.table import as_numpy
from workloads.readers.trace_format import Rows, TraceFormat
from workloads.requests import FIRST, TraceError

_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "wall": 1e9}
_LAST_NS = 9.2e18


def turn_columns(form: TraceFormat, names: list[str]) -> dict[str, Any]:
    """Types of the columns of sessions that a file has; none without the session's own."""
    if form.session not in names or not form.time:
        return {}
    waits = [name for name in (form.elapsed, form.delay) if name and name in names]
    return {form.session: pa.string(), **dict.fromkeys(waits, pa.float64())}


def with_turns(path: Path, rows: Rows, table: Any, form: TraceFormat) -> Rows:
    """The rows as turns of their sessions, in the order of their times.

    With a delay a turn comes that long after the end of the one before; with elapsed times as long
    after it as it did there; else at its recorded time, or when the one before has ended.
    """
    prompt, output = as_numpy(table[form.prompt]), as_numpy(table[form.output])
    served = np.flatnonzero((prompt != 0) & (output != 0))
    names = table[form.session].combine_chunks()
    numbers: Integers = np.from_dlpack(pc.dictionary_encode(names).indices).astype(np.int64)
    unnamed = np.from_dlpack(pc.utf8_length(names)) == 0
    session = np.where(unnamed, len(numbers) + np.arange(len(numbers)), numbers)[served]
    order = np.lexsort((rows.ticks, session))
    follows = np.flatnonzero(np.diff(session[order], prepend=-1) == 0)
    turns, before = order[follows], order[follows - 1]
    previous = np.full(len(rows), FIRST, np.int64)
    previous[turns] = before
    delay, recorded = np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64)
    if form.delay and form.delay in table.column_names:
        waits = _ns(path, table, form.delay, _NS[form.time_unit])[served]
        delay[turns], recorded[turns] = waits[turns], 0
    elif form.elapsed and form.elapsed in table.column_names:
        took = _ns(path, table, form.elapsed, 1e9)[served]
        gaps = rows.ticks[turns] - rows.ticks[before] - took[before]
        delay[turns], recorded[turns] = np.maximum(gaps, 0), 0
    return replace(rows, session=session, previous=previous, delay=delay, recorded=recorded)


def _ns(path: Path, table: Any, name: str, per_unit: float) -> Integers:
    """A column of durations in nanoseconds; TraceError for the first that is none."""
    values = as_numpy(table[name].fill_null(0.0)) * per_unit
    wrong = np.flatnonzero(~((values >= 0) & (values < _LAST_NS)))
    if len(wrong):
        row = int(wrong[0])
        line = [number for number, _ in text_lines(path)][row + 1]
        raise TraceError(
            f"{path}:{line}: column {name!r}: found {values[row] / per_unit:g}; a duration of at "
            "least 0 is needed"
        )
    durations: Integers = np.rint(values).astype(np.int64)
    return durations
