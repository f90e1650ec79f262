"""Writes a trace as a folder that other Chakra readers accept, atomically."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from corsair_common.files import reason, replacing
from corsair_common.folders import hidden_folder, publish
from workloads.chakra.columns import (
    PS_PER_MICROSECOND,
    ChakraError,
    ChakraTrace,
    NodeType,
    stream_of,
)
from workloads.chakra.read import GROUP_FILE
from workloads.chakra.schema import messages

SCHEMA_VERSION = "0.0.4"


def write_chakra(trace: ChakraTrace, folder: str | Path, *, name: str | None = None) -> Path:
    """Write NAME.<rank>.et for every rank, and the process groups; returns the folder.

    ``name`` defaults to the folder's own. A folder of that name is replaced if it holds a
    Chakra trace and nothing else. A duration that is not a whole number of microseconds is rounded
    up for other readers and stored exactly in an attribute of our own, ``duration_ps``.

    Raises
    ------
    ChakraError
        A folder that holds other things, or one that cannot be written.
    """
    target = Path(folder).absolute()
    name = name or target.name
    check_target(target)
    try:
        beside, lock = hidden_folder(target.parent, target.name)
        try:
            _write_files(trace, beside, name)
            publish(beside, target.name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        raise ChakraError(f"{target}: cannot be written ({reason(error)})") from None
    return target


def _write_files(trace: ChakraTrace, folder: Path, name: str) -> None:
    for rank in range(trace.ranks):
        _write_file(folder / f"{name}.{rank}.et", _file(trace, rank))
    if any(trace.group_names):
        pairs = zip(trace.group_names, trace.groups, strict=True)
        named = {each: list(ranks) for each, ranks in pairs if each}
        _write_file(folder / GROUP_FILE, (json.dumps(named, indent=1) + "\n").encode())


def _write_file(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def check_target(target: Path) -> None:
    """Refuse a path at which something else than a Chakra trace stands (ChakraError)."""
    if not target.exists():
        return
    others = [
        path.name
        for path in (target.iterdir() if target.is_dir() else [target])
        if path.suffix != ".et" and path.name != GROUP_FILE
    ]
    if others:
        raise ChakraError(f"{target}: holds {others[0]!r}, not a Chakra trace; not replaced")


def _file(trace: ChakraTrace, rank: int) -> bytes:
    from google.protobuf.proto import (  # type: ignore[import-untyped]
        serialize_length_prefixed,
    )

    out = io.BytesIO()
    serialize_length_prefixed(messages().metadata(version=SCHEMA_VERSION), out)
    for row in np.flatnonzero(trace.rank == rank).tolist():
        serialize_length_prefixed(_node(trace, row), out)
    return out.getvalue()


def _node(trace: ChakraTrace, row: int) -> Any:
    begin, end = trace.dep_offsets[row : row + 2]
    ids = trace.node[trace.deps[begin:end]]
    is_control = trace.dep_is_control[begin:end]
    node = messages().node(
        id=int(trace.node[row]),
        name=trace.names[trace.name[row]],
        type=int(trace.type[row]),
        ctrl_deps=ids[is_control].tolist(),
        data_deps=ids[~is_control].tolist(),
        duration_micros=-(-max(0, int(trace.duration_ps[row])) // PS_PER_MICROSECOND),
    )
    for name, field, value in _attributes(trace, row):
        node.attr.add(name=name, **{field: value})
    return node


def _attributes(trace: ChakraTrace, row: int) -> Iterator[tuple[str, str, object]]:
    """Name, field and value of each attribute, in the types of known writers."""
    yield "is_cpu_op", "bool_val", bool(trace.on_cpu[row])
    duration_ps, stream = int(trace.duration_ps[row]), int(trace.stream[row])
    if duration_ps == 0 or (duration_ps > 0 and duration_ps % PS_PER_MICROSECOND):
        yield "duration_ps", "int64_val", duration_ps
    if stream != stream_of(int(trace.type[row]), on_cpu=bool(trace.on_cpu[row])):
        yield "corsair_queue", "int32_val", stream
    if trace.collective[row] >= 0:
        yield "comm_type", "int64_val", int(trace.collective[row])
        if group := trace.group_names[trace.group[row]]:
            yield "pg_name", "string_val", group
    if trace.comm_bytes[row] >= 0:
        yield "comm_size", "int64_val", int(trace.comm_bytes[row])
    if trace.peer[row] >= 0:
        peer = "comm_dst" if trace.type[row] == NodeType.SEND else "comm_src"
        yield peer, "int32_val", int(trace.peer[row])
        tag = int(trace.tag[row])
        yield "comm_tag", "int32_val" if abs(tag) < 1 << 31 else "int64_val", tag
    if trace.flop[row] >= 0:
        yield "num_ops", "int64_val", int(trace.flop[row])
    if trace.memory_bytes[row] >= 0:
        yield "tensor_size", "uint64_val", int(trace.memory_bytes[row])
