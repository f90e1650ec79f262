"""One ``.et`` file: a GlobalMetadata, then Nodes, each preceded by its length."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corsair_common.limits import read_bounded
from workloads.chakra.columns import ChakraError, NodeType
from workloads.chakra.record import RankFile, Record, check_record, take_attribute
from workloads.chakra.schema import messages

MOST_BYTES = 2**30
"""Of one rank's file: ten times the largest known."""
_FILE_FACTS = frozenset({"schema"})
"""Attributes of the file's layout."""


def read_et(path: Path) -> RankFile:
    """Read one rank's file.

    Raises
    ------
    ChakraError
        Not a Chakra file, truncated, or a node that lacks a required attribute.
    """
    try:
        content = io.BytesIO(read_bounded(path, MOST_BYTES))
    except OSError as error:
        raise ChakraError(f"{path}: cannot be read ({error.strerror})") from None
    file = RankFile(path=str(path))
    classes = messages()
    take_metadata(file, next(_messages(file, content, classes.metadata), None))
    for message in _messages(file, content, classes.node):
        record = record_of(file, message)
        check_record(file, record)
        file.records.append(record)
    return file


def _messages(file: RankFile, content: io.BytesIO, kind: Any) -> Iterator[Any]:
    """Yield the following messages; an error names the place of the first truncated one."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from google.protobuf.proto import (  # type: ignore[import-untyped]
        parse_length_prefixed,
    )

    while True:
        place = content.tell()
        try:
            message = parse_length_prefixed(kind, content)
        except (DecodeError, ValueError, OverflowError):
            what = kind.DESCRIPTOR.name
            if place == 0:
                raise ChakraError(f"{file.path}: not a Chakra trace: no {what} at its start") from (
                    None
                )
            raise ChakraError(
                f"{file.path}: byte {place}: no whole {what} after node "
                f"{file.records[-1].id if file.records else 'none'}; is the file cut off?"
            ) from None
        if message is None:
            return
        yield message


def take_metadata(file: RankFile, message: Any) -> None:
    """Count the attributes of a GlobalMetadata; refuse what is none (ChakraError)."""
    named = [attribute.name for attribute in message.attr] if message is not None else []
    if message is None or not (message.version or named) or _unknown(message):
        raise ChakraError(f"{file.path}: not a Chakra trace: no GlobalMetadata at its start")
    file.unused.update(name for name in named if name not in _FILE_FACTS)


def record_of(file: RankFile, message: Any) -> Record:
    """The record of a Node."""
    record = Record(
        id=message.id,
        name=message.name,
        type=message.type,
        data_deps=message.data_deps,
        control_deps=message.ctrl_deps,
        duration_us=message.duration_micros,
    )
    for attribute in message.attr:
        take_attribute(file, record, attribute.name, _value(attribute))
    file.unknown_fields += _unknown(message)
    for name, present in (
        ("start_time_micros", bool(message.start_time_micros)),
        ("inputs", message.HasField("inputs")),
        ("outputs", message.HasField("outputs")),
    ):
        if present:
            file.unused[name] += 1
    if record.type == NodeType.METADATA:
        file.groups.update(_process_groups(message.inputs.values))
    return record


def _value(attribute: Any) -> object:
    which = attribute.WhichOneof("value")
    if which is None:
        return None
    value = getattr(attribute, which)
    return list(value.values) if which.endswith("_list") else value


def _unknown(message: Any) -> int:
    from google.protobuf.unknown_fields import (  # type: ignore[import-untyped]
        UnknownFieldSet,
    )

    return len(UnknownFieldSet(message))


def _process_groups(values: str) -> dict[str, tuple[int, ...]]:
    """Groups that PyTorch's metadata node lists as JSON within a list of one text."""
    start, end = values.find("[{"), values.rfind("}]")
    if start < 0 or end < start:
        return {}
    try:
        listed = json.loads(values[start : end + 2])
        return {str(each["pg_name"]): tuple(map(int, each["ranks"])) for each in listed}
    except (ValueError, KeyError, TypeError):
        return {}
