"""CSV files of requests, through Arrow's parser: only the columns that count are kept."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from workloads.readers.diagnose import cells_of, check_columns, first_fault, text_lines
from workloads.readers.files import open_trace
from workloads.readers.table import rows_of
from workloads.readers.table_turns import turn_columns, with_turns
from workloads.readers.trace_format import Rows, TraceFormat


def read_csv(path: Path, form: TraceFormat) -> Rows:
    """Read the rows of a CSV file; TraceError names the first line that is wrong."""
    header, first = head(path)
    check_columns(path, form, header)
    dated = bool(form.time) and form.time_unit == "wall"
    zone = dated and _has_zone(first, header.index(form.time))
    number = pa.timestamp("ns", "UTC" if zone else None)
    time = number if dated else pa.float64()
    types = {form.prompt: pa.int64(), form.output: pa.int64()}
    if form.time:
        types[form.time] = time
    of_turns = turn_columns(form, header)
    types |= of_turns
    try:
        with open_trace(path) as file:
            table = pyarrow.csv.read_csv(
                file,
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types,
                    include_columns=list(types),
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
    except pa.ArrowInvalid as error:
        raise first_fault(path, form, zone=zone, otherwise=str(error)) from None
    rows = rows_of(table, form)
    if rows is None:
        raise first_fault(path, form, zone=zone, otherwise="holds a value out of range")
    return with_turns(path, rows, table, form) if of_turns else rows


def head(path: Path) -> tuple[list[str], list[str]]:
    """Split the header and the first line after it into cells."""
    lines = text_lines(path)
    header, first = next(lines, (1, "")), next(lines, (2, ""))
    return cells_of(path, *header), cells_of(path, *first)


def _has_zone(cells: list[str], column: int) -> bool:
    """See whether a time of day says its offset from UTC, as ``+00:00`` or ``Z``."""
    clock = cells[column][10:] if column < len(cells) else ""
    return "+" in clock or "-" in clock or clock.endswith("Z")
