"""Program files: Parquet that any tool may write, read strictly (docs/program-format.md)."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corsair_common.files import reason, replacing
from corsair_common.limits import refuse_beyond_memory, unpacked_bytes
from workloads.program.check import check_program
from workloads.program.columns import Program, dtype_of, program_of
from workloads.program.schema import (
    DEFAULTS,
    OPEN,
    PROGRAM_COLUMNS,
    VARYING,
    VOCABULARIES,
    ProgramError,
)

_VERSION = b"1"
_ROW_GROUP = 1 << 18
_NULLABLE = ("collective", "duration_ps", "deps")
_WORDS = (*VOCABULARIES, *OPEN)
_LIMIT = 1 << 63
_NARROW = {np.int8: pa.int8(), np.int32: pa.int32(), np.int64: pa.int64()}


def write_program(path: str | Path, program: Program) -> None:
    """Write a program, whole or not at all, over whatever stood there; repeats stay repeats.

    Raises
    ------
    ProgramError
        The program makes no sense, or the file cannot be written.
    """
    check_program(program)
    try:
        with replacing(path) as file:
            pq.write_table(_table(program), file, compression="zstd", row_group_size=_ROW_GROUP)
    except OSError as error:
        raise ProgramError(f"cannot write {path}: {reason(error)}") from None


def read_program(path: str | Path) -> Program:
    """Read a program file and check it.

    Raises
    ------
    ProgramError
        No such file, a column that is missing, unknown or of a wrong type, or a wrong value: names
        file, column and row (counted from 0), what was found and what may be.
    """
    path = Path(path)
    schema = _opened(path, pq.read_schema)
    _check_names(path, schema.names)
    table = _opened(path, _whole_table)
    rows = table.num_rows
    columns = {name: _column(path, table[name].combine_chunks(), name) for name in schema.names}
    numbers = columns.pop("op", None)
    if numbers is not None and not np.array_equal(numbers, np.arange(rows)):
        row = int(np.flatnonzero(numbers != np.arange(rows))[0])
        raise _fault(path, row, "op", numbers[row], f"an operation's number is its row, {row}")
    known = schema.metadata or {}
    repeats = _number(path, known.get(b"repeats", b"1"))
    program = program_of(columns, _groups(path, known), repeats=repeats)
    if b"varying" in known:
        program = _with_varying(path, program, known[b"varying"])
    check_program(program, str(path))
    return program


def _whole_table(path: Path) -> Any:
    with pq.ParquetFile(path) as file:  # pq.read_table would import pandas
        refuse_beyond_memory(3 * unpacked_bytes(file.metadata), f"reading {path}", "cut it")
        return file.read()


def _check_names(path: Path, names: list[str]) -> None:
    known = [column.name for column in PROGRAM_COLUMNS]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ProgramError(
                f"{path}: column {name!r} is unknown{hint} (known: {', '.join(known)})"
            )
        if names.count(name) > 1:
            raise ProgramError(f"{path}: column {name!r} stands there twice")
    for column in PROGRAM_COLUMNS:
        if column.name not in names and not column.optional:
            found = ", ".join(names) or "nothing"
            raise ProgramError(f"{path}: column {column.name!r} is missing (found {found})")


def _column(path: Path, column: Any, name: str) -> Any:
    """One column as ``program_of`` takes it."""
    if name not in _NULLABLE and column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise _fault(path, row, name, "an empty value", "a value is needed")
    if name in _WORDS:
        return _worded(path, column, name)
    if name == "deps":
        return _listed(path, column)
    if not pa.types.is_integer(column.type):
        raise ProgramError(
            f"{path}: column {name!r}: found {column.type}; whole numbers are needed"
        )
    try:
        narrow = column.cast(_NARROW[dtype_of(name)])
    except pa.ArrowInvalid as error:
        raise ProgramError(f"{path}: column {name!r}: {error}") from None
    return np.from_dlpack(_filled(narrow, DEFAULTS.get(name, 0)))


def _filled(column: Any, value: int) -> Any:
    return column.fill_null(value) if column.null_count else column


def _worded(path: Path, column: Any, name: str) -> tuple[list[str], Any]:
    """Words and codes: dictionaries of millions of rows stay codes."""
    if not pa.types.is_dictionary(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise ProgramError(f"{path}: column {name!r}: found {column.type}; words are needed")
        column = column.dictionary_encode()
    words = [str(word) for word in column.dictionary.to_pylist()]
    codes = np.from_dlpack(_filled(column.indices.cast(pa.int64()), -1))
    known = VOCABULARIES.get(name)
    if known is not None:
        strange = np.array([word not in known for word in words] + [False])
        for row in np.flatnonzero(strange[codes])[:1]:
            word = words[codes[row]]
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise _fault(path, row, name, repr(word), f"one of {', '.join(known)} is needed{hint}")
        words = [word if word in known else known[0] for word in words]  # no row has these
    return words, codes


def _listed(path: Path, column: Any) -> tuple[Any, Any]:
    """Offsets and values of a column of lists; an empty value is an empty list."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise ProgramError(f"{path}: column 'deps': found {kind}; lists are needed")
    if not (pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)):
        raise ProgramError(f"{path}: column 'deps': found {kind}; list<int64> is needed")
    counts = _filled(pc.list_value_length(column), 0).cast(pa.int64())
    values = column.flatten()
    offsets = np.concatenate([[0], np.cumsum(np.from_dlpack(counts))])
    if values.null_count:
        place = int(pc.index(pc.is_null(values), True).as_py())
        row = int(np.searchsorted(offsets, place, side="right")) - 1
        raise _fault(path, row, "deps", "an empty value", "numbers of operations are needed")
    return offsets, np.from_dlpack(values.cast(pa.int64()))


def _groups(path: Path, known: Mapping[bytes, bytes]) -> list[list[int]]:
    groups = _decoded(path, "groups", known.get(b"groups", b"[]"))
    if not isinstance(groups, list) or not all(_is_numbers(group) for group in groups):
        raise ProgramError(
            f"{path}: key 'groups' of the file's metadata must be a JSON list of lists of ranks"
        )
    return groups


def _with_varying(path: Path, program: Program, text: bytes) -> Program:
    values = _decoded(path, "varying", text)
    width = len(VARYING)
    good = isinstance(values, list) and all(
        isinstance(lines, list) and all(_is_numbers(line) and len(line) == width for line in lines)
        for lines in values
    )
    if not good or len(values) != program.repeats or len({len(lines) for lines in values}) > 1:
        raise ProgramError(
            f"{path}: key 'varying' of the file's metadata must be a JSON list of {program.repeats}"
            f" repeats, each a list of as many lines of {width} whole numbers:"
            f" {', '.join(VARYING)}"
        )
    table = np.array(values, np.int64).reshape(program.repeats, -1, width)
    return replace(program, varying=table)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        type(number) is int and -_LIMIT <= number < _LIMIT for number in value
    )


def _decoded(path: Path, key: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"{path}: key {key!r} of the file's metadata: {error}") from None


def _number(path: Path, text: bytes) -> int:
    if not (text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise ProgramError(
            f"{path}: key 'repeats' of the file's metadata must be a whole number of at least 1,"
            f" found {text.decode(errors='replace')!r}"
        )
    return int(text)


def _fault(path: Path, row: int, column: str, found: object, allowed: str) -> ProgramError:
    return ProgramError(f"{path}: row {row}: column {column!r}: found {found}; {allowed}")


def _opened(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except FileNotFoundError:
        raise ProgramError(f"cannot read program {path}: there is no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # a torn file raises any of them
        raise ProgramError(f"{path}: not a readable Parquet file ({error})") from None


def _table(program: Program) -> Any:
    metadata = {
        b"corsair_sim_program": _VERSION,
        b"groups": json.dumps([list(group) for group in program.groups]).encode(),
        b"repeats": str(program.repeats).encode(),
    }
    if program.varying.size:
        metadata[b"varying"] = json.dumps(program.varying.tolist()).encode()
    arrays = [_array(program, column.name) for column in PROGRAM_COLUMNS]
    fields = [
        pa.field(
            column.name,
            array.type,
            nullable=column.name in _NULLABLE,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column, array in zip(PROGRAM_COLUMNS, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def _array(program: Program, name: str) -> Any:
    own = program.operations
    if name == "deps":
        return _lists(own.dep_offsets, own.deps)
    values = getattr(own, name)
    present = None if name not in _NULLABLE else values >= 0
    if name in _WORDS:
        words = VOCABULARIES.get(name) or program.words[name]
        codes = _plain(np.maximum(values, 0).astype(np.int32), present)
        return pa.DictionaryArray.from_arrays(codes, _strings(words))
    return _plain(values, present)


def _plain(values: Any, present: Any = None) -> Any:
    """Wrap the memory as it lies (``pa.array`` would import pandas, for a third of a second)."""
    whole = np.ascontiguousarray(values)
    valid = None
    if present is not None:
        valid = pa.py_buffer(np.packbits(present, bitorder="little"))
    kind = _NARROW[whole.dtype.type]
    return pa.Array.from_buffers(kind, len(whole), [valid, pa.py_buffer(whole)])


def _strings(words: Sequence[str]) -> Any:
    encoded = [word.encode() for word in words]
    offsets = np.cumsum([0, *(len(word) for word in encoded)]).astype(np.int32)
    data = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(offsets), data)


def _lists(offsets: Any, deps: Any) -> Any:
    if len(deps) >= 1 << 31:  # Arrow's lists count in 32 bits
        raise ProgramError(f"{len(deps)} dependencies, one file holds at most {(1 << 31) - 1}")
    narrow = pa.py_buffer(offsets.astype(np.int32))
    kind = pa.list_(pa.field("item", pa.int64(), nullable=False))
    return pa.Array.from_buffers(kind, len(offsets) - 1, [None, narrow], children=[_plain(deps)])
