"""Columns of NumPy arrays to Arrow tables, as the schema declares them."""

import json
from collections.abc import Mapping, Sequence, Sized
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from results.engine_columns import Coded
from results.schema import SCHEMA_VERSION, Column, Table

Scalar: TypeAlias = str | int | float | np.generic | None
Values: TypeAlias = npt.ArrayLike | Coded | Scalar
"""An array (masked where null), a list, coded words, or one value for every row."""

Columns: TypeAlias = Mapping[str, Values]

PLAIN = (np.ndarray, str, int, float, type(None))
"""An array, or what all rows have."""

TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "strings": pa.list_(pa.string()),
}


@cache
def arrow_schema(table: Table) -> pa.Schema:
    """The table's Arrow schema, with unit and meaning on each field.

    They are stored three times, for different readers: on the fields (Arrow),
    as one JSON in the file's key-values (DuckDB, Polars), and as ``DataFrame.attrs`` (pandas).
    """
    fields = [
        pa.field(
            column.name,
            TYPES[column.type],
            nullable=column.nullable,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in table.columns
    ]
    words = {c.name: {"unit": c.unit, "meaning": c.meaning} for c in table.columns}
    metadata = {
        "corsair_sim.schema_version": str(SCHEMA_VERSION),
        "corsair_sim.table": table.name,
        "corsair_sim.meaning": table.meaning,
        "corsair_sim.columns": json.dumps(words),
        "PANDAS_ATTRS": json.dumps(
            {
                "meaning": table.meaning,
                "units": {c.name: c.unit for c in table.columns},
                "meanings": {c.name: c.meaning for c in table.columns},
            }
        ),
    }
    return pa.schema(fields, metadata=metadata)


def arrow_table(table: Table, *parts: Columns) -> pa.Table:
    """Parts of ``table`` as one, in their order.

    Nullable columns may be left out. Masked entries, None and NaN are null. Arrays are copied, so
    that the caller may reuse its buffers; one that several parts share, as cards of a stage do, is
    converted once.

    Raises
    ------
    ValueError
        An unknown or missing column, unequal lengths, a value that its column cannot hold, or a
        null where none may be. These are errors of the program, not of its input.
    """
    for names in dict.fromkeys(map(tuple, parts)):
        _check_names(table, names)
    rows = [_rows(table, part) for part in parts]
    columns = [
        _joined(table, column, [part.get(column.name) for part in parts], rows)
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema(table))


def _joined(
    table: Table, column: Column, values: Sequence[Any], rows: Sequence[int]
) -> pa.ChunkedArray | pa.Array:
    """One column of parts with ``values`` of these ``rows``."""
    if column.type != "strings" and all(_is_scalar(column, value) for value in values):
        found = dict.fromkeys(values)
        if len(found) == 1:
            return _array(table, column, values[0], sum(rows))
        if None not in found:
            return _array(table, column, _each(column, values, rows), sum(rows))
    each = {(id(value), length): value for value, length in zip(values, rows, strict=True)}
    if all(isinstance(value, np.ndarray) for value in values):
        kind = np.ma if any(isinstance(value, np.ma.MaskedArray) for value in values) else np
        whole = _array(table, column, kind.concatenate(list(each.values())), 0)
        ends = np.cumsum([length for _, length in each]).tolist()
        made = {key: whole.slice(end - key[1], key[1]) for key, end in zip(each, ends, strict=True)}
    else:
        made = {key: _array(table, column, value, key[1]) for key, value in each.items()}
    chunks = [made[id(value), length] for value, length in zip(values, rows, strict=True)]
    return pa.chunked_array(chunks, TYPES[column.type])


def _each(column: Column, values: Sequence[Any], rows: Sequence[int]) -> Values:
    """Every value as often as it has rows."""
    if column.type != "category":
        return np.repeat(np.array(values), rows)
    places: dict[str, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return Coded(codes=np.repeat(np.array(codes, np.int32), rows), words=list(places))


def _check_names(table: Table, columns: Sequence[str]) -> None:
    declared = [column.name for column in table.columns]
    for name in columns:
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise ValueError(f"table {table.name} has no column {name!r}{hint}")
    missing = [c.name for c in table.columns if not c.nullable and c.name not in columns]
    if missing:
        raise ValueError(f"table {table.name} lacks {', '.join(missing)}")


def _is_scalar(column: Column, values: Values) -> bool:
    if column.type == "strings":
        return True
    if isinstance(values, np.ndarray):
        return values.ndim == 0
    if values is None or isinstance(values, str):
        return True
    return not isinstance(values, Coded) and np.ndim(values) == 0


def _rows(table: Table, columns: Columns) -> int:
    arrays = {
        len(values) for values in columns.values() if type(values) is np.ndarray and values.ndim
    }
    if len(arrays) == 1 and all(type(each) in PLAIN for each in columns.values()):
        return arrays.pop()
    lists = [column.name for column in table.columns if column.type == "strings"]
    lengths = {
        name: length
        for name, values in columns.items()
        if name not in lists and (length := row_count(values)) is not None
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {table.name} differ in length: {lengths}")
    return next(iter(lengths.values()), 1)


def row_count(values: Values) -> int | None:
    """Rows of a column; None for one value that all rows have."""
    if isinstance(values, np.ndarray):
        return len(values) if values.ndim else None
    if isinstance(values, str | int | float | None):
        return None
    if isinstance(values, Sized):
        return len(values)
    return len(np.asanyarray(values)) if np.ndim(values) else None


def _array(table: Table, column: Column, values: Values, rows: int) -> pa.Array:
    where = f"{table.name}.{column.name}"
    try:
        if _is_scalar(column, values):
            array = _repeated(column, values, rows)
        elif isinstance(values, Coded):
            array = _dictionary(column, values)
        else:
            array = _converted(column, _as_array(values))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(f"{where} ({column.type}) cannot hold the values: {error}") from error
    if array.null_count and not column.nullable:
        raise ValueError(f"{where} has {array.null_count} nulls; none are allowed")
    return array


def _repeated(column: Column, value: Any, rows: int) -> pa.Array:
    kind = TYPES[column.type]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return pa.nulls(rows, kind)
    if column.type == "category":
        codes = _numbers(np.zeros(rows, np.int32))
        return pa.DictionaryArray.from_arrays(codes, _strings([value]))
    if column.type == "strings":
        ends = pa.py_buffer(np.arange(rows + 1, dtype=np.int32) * len(value))
        words = [_strings([*value] * rows)]
        return pa.Array.from_buffers(kind, rows, [None, ends], children=words)
    return _converted(column, np.ma.asanyarray(np.full(rows, value)))


def _as_array(values: Values) -> npt.NDArray[np.generic]:
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def _converted(column: Column, values: npt.NDArray[np.generic]) -> pa.Array:
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    data = np.ma.getdata(values)
    if column.categories and data.dtype.kind in "iu":
        return _coded(column, data, mask)
    if data.dtype.kind == "f" and (missing := np.isnan(data)).any():
        mask = missing if mask is None else mask | missing
    if data.dtype.kind in "fiub" and column.type in ("string", "category"):
        raise TypeError(f"{data.dtype} for words")
    if column.type in ("string", "category"):
        return (_counted_words if column.type == "category" else _strings)(data.tolist(), mask)
    if data.dtype.kind == "f" and column.type in ("int32", "int64"):
        raise TypeError(f"{data.dtype} for whole numbers")
    if (data.dtype.kind == "b") != (column.type == "bool") or data.dtype.kind not in "fiub":
        return pa.array(np.array(data), TYPES[column.type], mask=mask)  # says what is wrong
    return _numbers(_exact(data, np.dtype(column.type), mask), mask)


def _exact(
    data: npt.NDArray[Any], wanted: "np.dtype[Any]", mask: npt.NDArray[np.bool_] | None = None
) -> Any:
    """A copy of the numbers in another width; what is masked may be lost."""
    copied = data.astype(wanted)
    lost = np.zeros(0, bool) if np.can_cast(data.dtype, wanted) else copied != data
    if lost.any() and mask is not None:
        lost &= ~mask
    if lost.any():
        raise OverflowError(f"{data[lost][0]} is no {wanted}")
    return copied


def _numbers(whole: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """An array over the memory of ``whole``, null where masked.

    ``pa.array`` and ``pa.scalar`` would import pandas where it is installed: a third of a second.
    """
    laid = np.packbits(whole, bitorder="little") if whole.dtype == bool else whole
    kind, buffer = TYPES[whole.dtype.name], pa.py_buffer(np.ascontiguousarray(laid))
    return pa.Array.from_buffers(kind, len(whole), [_valid(mask), buffer])


def _strings(words: Sequence[Any], mask: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Words as Arrow's strings; masked ones and None are null."""
    missing = np.array([word is None for word in words], bool)
    if mask is not None:
        missing |= mask
    known = [b"" if lost else _utf8(word) for word, lost in zip(words, missing, strict=True)]
    ends = np.cumsum([0, *map(len, known)])
    if ends[-1] >= 1 << 31:
        raise OverflowError("2 GiB of words or more")
    buffers = [_valid(missing), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(known))]
    return pa.Array.from_buffers(pa.string(), len(known), buffers)


def _counted_words(words: Sequence[Any], mask: npt.NDArray[np.bool_] | None) -> pa.DictionaryArray:
    """Words as places in a list of them, in order, as Arrow's ``dictionary_encode``.

    That one would import ``pyarrow.compute``: a tenth of a second.
    """
    lost = np.array([word is None for word in words], bool)
    if mask is not None:
        lost |= mask
    places: dict[Any, int] = {}
    known = zip(words, lost, strict=True)
    codes = [0 if none else places.setdefault(word, len(places)) for word, none in known]
    return dictionary(np.array(codes, np.int32), list(places), lost)


def _utf8(word: object) -> bytes:
    if not isinstance(word, str):
        raise TypeError(f"{word!r} for a word")
    return word.encode()


def dictionary(
    codes: npt.NDArray[np.int32], words: Sequence[Any], mask: npt.NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    """Words by their places in a list of them, null where masked."""
    return pa.DictionaryArray.from_arrays(_numbers(codes, mask), _strings(words))


def _valid(mask: npt.NDArray[np.bool_] | None) -> Any:
    """Arrow's bits of validity; None where all are valid."""
    if mask is None or not mask.any():
        return None
    return pa.py_buffer(np.packbits(~mask, bitorder="little"))


def _dictionary(column: Column, values: Coded) -> pa.Array:
    if column.type != "category":
        raise TypeError("coded words")
    codes = np.asarray(values.codes)
    indices = _numbers(_exact(codes, np.dtype(np.int32)))
    return pa.DictionaryArray.from_arrays(indices, _strings(values.words))


def _coded(
    column: Column, codes: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_] | None
) -> pa.Array:
    known = np.isin(codes, np.arange(len(column.categories)))
    known = known if mask is None else known | mask
    if not known.all():
        raise TypeError(f"code {codes[~known][0]}, allowed are 0..{len(column.categories) - 1}")
    return dictionary(codes.astype(np.int32), column.categories, mask)
