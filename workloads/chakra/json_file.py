"""One ``.json`` file: a ``workload_graph``, or what Chakra's jsonizer makes of an ``.et`` file."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from corsair_common.limits import read_bounded
from workloads.chakra.columns import ChakraError, NodeType
from workloads.chakra.et_file import MOST_BYTES, record_of, take_metadata
from workloads.chakra.record import RankFile, Record, check_record, take_attribute, whole
from workloads.chakra.schema import messages

_NAMES = {
    "Id": "id", "Name": "name", "NodeType": "type", "runtime": "duration_micros",
    "ctrlDeps": "ctrl_deps",
}  # fmt: skip
"""The graph's spelling of what the schema calls otherwise."""
_OWN = frozenset({"id", "name", "type", "duration_micros", "ctrl_deps", "data_deps"})
_TYPE_NAMES = {
    "INVALID_NODE": NodeType.INVALID,
    "METADATA_NODE": NodeType.METADATA,
    "MEM_LOAD_NODE": NodeType.MEM_LOAD,
    "MEM_STORE_NODE": NodeType.MEM_STORE,
    "COMP_NODE": NodeType.COMPUTE,
    "COMM_SEND_NODE": NodeType.SEND,
    "COMM_RECV_NODE": NodeType.RECV,
    "COMM_COLL_NODE": NodeType.COLLECTIVE,
}
"""The enumeration's names, which protobuf's JSON has in place of numbers."""


def read_json(path: Path) -> RankFile:
    """Read one rank's file.

    ``{"workload_graph": [...]}``, whose ``runtime`` counts microseconds (``duration_micros``); or
    a GlobalMetadata and Nodes in protobuf's JSON, one document after the other.

    Raises
    ------
    ChakraError
        Not such a file, or a node that lacks what its type needs.
    """
    documents = _documents(path)
    _refuse_other_kind(path, documents[0])
    file = RankFile(path=str(path))
    if isinstance(documents[0], dict) and documents[0].keys() <= {"version", "attr"}:
        _read_messages(file, documents)
    elif len(documents) > 1 or not isinstance(documents[0], dict):
        raise ChakraError(f"{path}: not a Chakra trace: no GlobalMetadata at its start")
    else:
        _read_graph(file, documents[0])
    return file


def refuse_other_kind(path: Path) -> None:
    """Refuse a trace of PyTorch or its profiler (ChakraError); anything else passes."""
    try:
        first = _documents(path)[0]
    except ChakraError:
        return
    _refuse_other_kind(path, first)


def _refuse_other_kind(path: Path, found: object) -> None:
    if not isinstance(found, dict):
        return
    tools = (
        "chakra_trace_link joins PyTorch's execution trace with its profiler's, chakra_converter "
        "makes NAME.<rank>.et of both"
    )
    if "schema" in found and isinstance(found.get("nodes"), list):
        raise ChakraError(
            f"{path}: a PyTorch execution trace (schema {str(found['schema'])[:40]}), not yet a "
            f"Chakra trace: {tools}"
        )
    if "traceEvents" in found:
        raise ChakraError(f"{path}: a profiler's trace (Kineto), not a Chakra trace: {tools}")


def _documents(path: Path) -> list[Any]:
    """All JSON documents of a file, at least one."""
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise ChakraError(f"{path}: cannot be read ({error.strerror})") from None
    found: list[Any] = []
    place = 0
    try:
        text = content.decode(json.detect_encoding(content))
        while not found or place < len(text):
            document, place = json.JSONDecoder().raw_decode(text, place + _blank(text, place))
            found.append(document)
            place += _blank(text, place)
    except (ValueError, RecursionError) as error:
        after = f" after {len(found)} others" if found else ""
        raise ChakraError(f"{path}: not a JSON document{after} ({error})") from None
    return found


def _blank(text: str, place: int) -> int:
    """Length of the white space from here on."""
    end = place
    while end < len(text) and text[end] in " \t\r\n":
        end += 1
    return end - place


def _read_messages(file: RankFile, documents: list[Any]) -> None:
    classes = messages()
    take_metadata(file, _message(file, "GlobalMetadata", classes.metadata(), documents[0]))
    for place, document in enumerate(documents[1:]):
        message = _message(file, f"node {place}", classes.node(), _numbered(file, place, document))
        record = record_of(file, message)
        check_record(file, record)
        file.records.append(record)


def _message(file: RankFile, what: str, message: Any, document: object) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]

    names = {name for field in message.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    file.unknown_fields += len(set(document) - names) if isinstance(document, dict) else 0
    try:
        return ParseDict(document, message, ignore_unknown_fields=True)
    except (ParseError, AttributeError, TypeError, ValueError) as error:
        raise ChakraError(
            f"{file.path}: {what} is not as Chakra's jsonizer writes it ({error})"
        ) from None


def _numbered(file: RankFile, place: int, document: object) -> object:
    """The node with the number of its type in place of the name."""
    if not isinstance(document, dict) or not isinstance(name := document.get("type"), str):
        return document
    if name not in _TYPE_NAMES:
        near = get_close_matches(name, _TYPE_NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ChakraError(
            f"{file.path}: entry {place}: type: found {name[:60]!r}; one of "
            f"{', '.join(_TYPE_NAMES)} is needed{hint}"
        )
    return {**document, "type": int(_TYPE_NAMES[name])}


def _read_graph(file: RankFile, document: dict[str, Any]) -> None:
    if not isinstance(document.get("workload_graph"), list):
        raise ChakraError(f"{file.path}: not a Chakra trace: no list workload_graph")
    file.unused.update(key for key in document if key != "workload_graph")
    for place, inputs in enumerate(document["workload_graph"]):
        record = _record(file, place, inputs)
        check_record(file, record)
        file.records.append(record)


def _record(file: RankFile, place: int, inputs: Any) -> Record:
    if not isinstance(inputs, dict):
        raise ChakraError(f"{file.path}: entry {place} of workload_graph is no node")
    node = {_NAMES.get(str(key), str(key)): value for key, value in inputs.items()}
    if "id" not in node or "type" not in node:
        raise ChakraError(f"{file.path}: entry {place} of workload_graph lacks Id or NodeType")
    number = whole(file, place, "Id", node["id"])
    record = Record(
        id=number,
        name=str(node.get("name", "")),
        type=whole(file, number, "NodeType", node["type"], most=2**31 - 1),
        data_deps=_ids(file, number, "data_deps", node.get("data_deps", [])),
        control_deps=_ids(file, number, "ctrl_deps", node.get("ctrl_deps", [])),
        duration_us=whole(file, number, "runtime", node.get("duration_micros", 0)),
    )
    for key, value in node.items():
        if key not in _OWN:
            take_attribute(file, record, key, value)
    return record


def _ids(file: RankFile, node: int, name: str, value: object) -> list[int]:
    if not isinstance(value, list):
        raise file.refusal(node, f"{name}: found {str(value)[:60]!r}; a list of ids is needed")
    return [whole(file, node, name, each) for each in value]
