"""Files of one JSON object per line, through Arrow's parser."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from workloads.readers.blocks import number_ids
from workloads.readers.diagnose import (
    check_columns,
    first_fault,
    is_id,
    parsed_object,
    text_lines,
)
from workloads.readers.files import open_trace
from workloads.readers.sessions import holds_sessions, read_turns
from workloads.readers.table import rows_of
from workloads.readers.trace_format import TOKEN_IDS, Rows, TraceFormat

_BLOCK_BYTES = 1 << 25  # a line must fit a block: 32 MiB is 100 times the longest line known


def read_jsonl(path: Path, form: TraceFormat) -> Rows:
    """Read the rows of a JSON-lines file; TraceError names the first line that is wrong.

    Block ids may be integers of 64 bits or strings; other than signed integers are numbered in
    order of appearance. A file with token ids and no block ids gets them hashed into blocks.
    """
    if holds_sessions(path, form):
        return read_turns(path, form)
    keys = first_object(path)
    check_columns(path, form, list(keys))
    if TOKEN_IDS in keys and form.hash_ids not in keys and form.hash_block_tokens:
        form = replace(form, hash_ids="", token_ids=TOKEN_IDS)
    try:
        table = _table(path, form, ids=True)
    except pa.ArrowInvalid as error:
        if not form.hash_ids:
            raise first_fault(path, form, otherwise=str(error)) from None
        table = _table_with_numbered_ids(path, form)
    rows = rows_of(table, form)
    if rows is None:
        raise first_fault(path, form, otherwise="holds a value out of range")
    return rows


def _table(path: Path, form: TraceFormat, *, ids: bool) -> Any:
    types = {form.prompt: pa.int64(), form.output: pa.int64()}
    if form.time:
        times = {"ns": pa.int64(), "wall": pa.timestamp("ns")}
        types[form.time] = times.get(form.time_unit, pa.float64())
    name = form.token_ids or form.hash_ids
    if name and ids:
        types[name] = pa.list_(pa.int64())
    with open_trace(path) as file:
        return pyarrow.json.read_json(
            file,
            read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        )


def _table_with_numbered_ids(path: Path, form: TraceFormat) -> Any:
    """Read the columns, and the ids by Python, whose integers and strings may be mixed."""
    try:
        table = _table(path, form, ids=False)
    except pa.ArrowInvalid as error:
        raise first_fault(path, form, otherwise=str(error)) from None
    found = [parsed_object(path, *line).get(form.hash_ids) for line in text_lines(path)]
    lists = [each if isinstance(each, list) else [] for each in found]
    if len(found) != len(table) or not all(is_id(each) for ids in lists for each in ids):
        raise first_fault(path, form, otherwise="holds a value out of range")
    offsets, numbers = number_ids(lists)
    places: list[int | None] = [*offsets.tolist()]
    for row, each in enumerate(found):
        if not isinstance(each, list):
            places[row] = None
    column = pa.ListArray.from_arrays(
        pa.array(places, pa.int32()), pa.array(numbers.tolist(), pa.int64())
    )
    return table.append_column(form.hash_ids, column)


def first_object(path: Path) -> Mapping[str, object]:
    """Read the object on the first line that is not blank; none gives an empty one."""
    return next((parsed_object(path, *line) for line in text_lines(path)), {})
