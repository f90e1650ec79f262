"""Parts of tables as bytes, for transport between processes."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from results.arrow import Columns, arrow_schema, arrow_table
from results.schema import Table

ArrowBytes: TypeAlias = npt.NDArray[np.uint8]
"""An Arrow stream of one table."""


def encoded(table: Table, columns: Columns) -> ArrowBytes:
    """One part of ``table``, for the ``RunWriter`` of another process.

    Raises
    ------
    ValueError
        The columns are not those of the table.
    """
    part = arrow_table(table, columns)
    size = pa.MockOutputStream()
    _write(part, size)
    message = np.empty(size.size(), np.uint8)
    _write(part, pa.FixedSizeBufferWriter(pa.py_buffer(message)))
    return message


def decoded(table: Table, message: ArrowBytes) -> pa.Table:
    """The part as it was before; its columns stay where the message lies.

    Raises
    ------
    ValueError
        It is not a part of ``table`` of this version.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(message)) as stream:
            part = stream.read_all()
    except pa.ArrowException as error:
        raise ValueError(f"a part of {table.name} cannot be read: {error}") from error
    if not part.schema.equals(arrow_schema(table), check_metadata=True):
        raise ValueError(f"a part of {table.name} has other columns than the table")
    return part


def _write(part: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, part.schema) as stream:
        stream.write_table(part)
