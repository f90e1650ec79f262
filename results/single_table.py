"""Writes one table as one Parquet file, outside runs and sweeps."""

from pathlib import Path

import pyarrow.parquet as pq

from results.arrow import Columns, arrow_table
from results.atomic import replacing
from results.schema import Table


def write_table(table: Table, columns: Columns, path: str | Path) -> None:
    """Write ``columns`` as ``table`` declares them; the write is atomic."""
    rows = arrow_table(table, columns)
    with replacing(Path(path)) as file:
        pq.write_table(rows, file, compression="zstd")
