"""Structure-aware mutations of valid inputs: of trees, cells, tables and bytes."""

import copy
import io
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Path: TypeAlias = tuple[str | int, ...]

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 64, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e-300,
    1e300, float("nan"), float("inf"), float("-inf"), "", " ", "0", "-1", "1e9", "nan", "auto",
    "null", "*", "..", "/dev/null", "a" * 5000, "\x00", "\x1b[31m", "\u202e", "é", "🂡", "=1+1",
    "{}", "[1]", [], {}, [[]], [None], {"a": 1}, {"": None}, ["x"] * 50, [1, 2], {"value": 1},
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[0m", b"\r", b"\n\n", b",", b'"', b"{",
    b"]", b":", b"9" * 5000, b"[" * 3000, b"- " * 500, b"&a [*a]", b"---\n", b"!!python/object:x",
    b"NaN",
)  # fmt: skip


def tree(rng: Random, content: Any) -> Any:
    """A copy of nested dicts and lists with one to three changes."""
    changed = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        known = list(paths(changed))
        if not known:
            return rng.choice(NASTY)
        path = rng.choice(known)
        parent = _at(changed, path[:-1])
        rng.choice(_CHANGES)(rng, changed, parent, path[-1])
    return changed


def _value(rng: Random, _root: Any, parent: Any, key: Any) -> None:
    parent[key] = rng.choice(NASTY)


def _number(rng: Random, root: Any, parent: Any, key: Any) -> None:
    """Scale a number; anything else becomes nasty."""
    value = parent[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        _value(rng, root, parent, key)
        return
    parent[key] = value * rng.choice((-1, 0, 0.5, 2, 3, 10, 1000, 10**12, 1e-9))


def _delete(_rng: Random, _root: Any, parent: Any, key: Any) -> None:
    del parent[key]


def _rename(rng: Random, _root: Any, parent: Any, key: Any) -> None:
    if isinstance(parent, dict):
        parent[rng.choice((key[:-1], key + "x", key.upper(), "value", "\x1b", ""))] = parent.pop(
            key
        )
    else:
        parent.insert(key, copy.deepcopy(parent[key]))


def _swap(rng: Random, root: Any, parent: Any, key: Any) -> None:
    """Put a copy of another part of the tree here."""
    parent[key] = copy.deepcopy(_at(root, rng.choice(list(paths(root)))))


def _wrap(rng: Random, _root: Any, parent: Any, key: Any) -> None:
    parent[key] = rng.choice(([parent[key]], {"value": parent[key]}, str(parent[key])))


_CHANGES = (_value, _value, _number, _number, _delete, _rename, _swap, _wrap)


def paths(content: Any, before: Path = ()) -> Iterator[Path]:
    """Every path of a tree."""
    if isinstance(content, dict):
        items: list[tuple[Any, Any]] = list(content.items())
    else:
        items = list(enumerate(content)) if isinstance(content, list) else []
    for key, value in items:
        yield (*before, key)
        yield from paths(value, (*before, key))


def _at(content: Any, path: Path) -> Any:
    for key in path:
        content = content[key]
    return content


def raw(rng: Random, content: bytes) -> bytes:
    """Bytes flipped, cut, repeated or inserted, at one to three places."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 2, 8, 100)))
        kind = rng.randrange(5)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + rng.choice(BYTES) + content[at:]
        elif kind == 2:
            content = (
                content[:at] + bytes(rng.randrange(256) for _ in range(end - at)) + content[end:]
            )
        elif kind == 3:
            content = content[:at] + content[at:end] * rng.choice((2, 50)) + content[end:]
        else:
            content = content[:at] + content[end:]
    return content


def cells(rng: Random, content: bytes) -> bytes:
    """Lines of separated cells with some replaced, dropped, or added."""
    lines = content.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        row = lines[at].split(",")
        column = rng.randrange(len(row))
        if rng.random() < 0.7:
            row[column] = str(rng.choice(NASTY))
        elif rng.random() < 0.5:
            del row[column]
        else:
            row.insert(column, row[column])
        lines[at] = ",".join(row)
    return ("\n".join(lines) + rng.choice(("\n", ""))).encode(errors="surrogateescape")


def table(rng: Random, content: bytes) -> bytes:
    """A Parquet file with a column changed in name, type, nulls or values, or with other rows."""
    read = pq.ParquetFile(io.BytesIO(content)).read()
    for _ in range(rng.choice((1, 1, 2))):
        if read.num_columns:
            read = rng.choice(_TABLE_CHANGES)(rng, read, rng.randrange(read.num_columns))
    out = io.BytesIO()
    try:
        pq.write_table(read, out, compression=rng.choice(("zstd", "none")))
    except pa.ArrowException:  # a type that Parquet has not
        return raw(rng, content)
    return out.getvalue()


def any_table(rng: Random, content: bytes) -> bytes:
    """Change a table if it is one, else bytes."""
    return table(rng, content) if content.startswith(b"PAR1") else raw(rng, content)


def any_tree(rng: Random, content: bytes) -> bytes:
    """Change a JSON tree or a table."""
    if content.startswith(b"{"):
        return json.dumps(tree(rng, json.loads(content))).encode()
    return any_table(rng, content)


def _drop(_rng: Random, read: Any, at: int) -> Any:
    return read.remove_column(at)


def _column_name(rng: Random, read: Any, at: int) -> Any:
    names = list(read.column_names)
    names[at] = rng.choice((names[at] + "x", "", "\x1b", rng.choice(names)))
    return read.rename_columns(names)


def _cells(rng: Random, read: Any, at: int) -> Any:
    values = read.column(at).to_pylist()
    for _ in range(min(len(values), rng.choice((1, 3)))):
        values[rng.randrange(len(values))] = rng.choice(NASTY)
    return _replaced(read, at, values)


def _type(rng: Random, read: Any, at: int) -> Any:
    kinds: tuple[Callable[[Any], Any], ...] = (str, lambda _: None, lambda v: [v], lambda _: 1.5)
    kind = rng.choice(kinds)
    return _replaced(read, at, [kind(value) for value in read.column(at).to_pylist()])


def _replaced(read: Any, at: int, values: list[Any]) -> Any:
    field = read.schema.field(at)
    try:
        made = pa.array(values, field.type)
    except (pa.ArrowException, TypeError, OverflowError, ValueError):
        try:
            made = pa.array(values)
        except (pa.ArrowException, TypeError, OverflowError, ValueError):
            made = pa.array([str(value).encode(errors="replace") for value in values])
    return read.set_column(at, field.name, made)


def _rows(rng: Random, read: Any, _at: int) -> Any:
    return rng.choice((read.slice(0, 0), read.slice(0, 1), pa.concat_tables([read, read])))


def _metadata(rng: Random, read: Any, _at: int) -> Any:
    known = dict(read.schema.metadata or {b"x": b"y"})
    known[rng.choice(list(known))] = rng.choice((b"", b"-1", b"[[", b"9" * 5000, b"\xff", b"null"))
    return read.replace_schema_metadata(known)


_TABLE_CHANGES = (_drop, _column_name, _cells, _cells, _type, _rows, _metadata)
