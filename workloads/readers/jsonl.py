"""Files of one JSON object per line, through Arrow's parser."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.json

from workloads.readers.faults import check_columns, first_fault, parsed_object, text_lines
from workloads.readers.form import Form, Rows
from workloads.readers.table import rows_of

_BLOCK_BYTES = 1 << 25  # a line must fit a block: 32 MiB is 100 times the longest line known


def read_jsonl(path: Path, form: Form) -> Rows:
    """Read the rows of a JSON-lines file; TraceError names the first line that is wrong."""
    keys = first_object(path)
    check_columns(path, form, list(keys))
    schema = [
        (form.time, pa.int64() if form.time_unit == "ns" else pa.float64()),
        (form.prompt, pa.int64()),
        (form.output, pa.int64()),
    ]
    if form.hash_ids:
        schema.append((form.hash_ids, pa.list_(pa.int64())))
    try:
        table = pyarrow.json.read_json(
            path,
            read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(schema), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid as error:
        raise first_fault(path, form, otherwise=str(error)) from None
    rows = rows_of(table, form)
    if rows is None:
        raise first_fault(path, form, otherwise="holds a value out of range")
    return rows


def first_object(path: Path) -> Mapping[str, object]:
    """Read the object on the first line that is not blank; none gives an empty one."""
    return next((parsed_object(path, *line) for line in text_lines(path)), {})
