"""One rank's trace as JSON: ``{"workload_graph": [{"Id": 1, "NodeType": 4, ...}, ...]}``."""

import json
from pathlib import Path
from typing import Any

from workloads.chakra.columns import ChakraError
from workloads.chakra.record import RankFile, Record, check_record, take_attribute, whole

_NAMES = {
    "Id": "id", "Name": "name", "NodeType": "type", "runtime": "duration_micros",
    "ctrlDeps": "ctrl_deps",
}  # fmt: skip
"""Names of this form that differ from the schema."""
_OWN = frozenset({"id", "name", "type", "duration_micros", "ctrl_deps", "data_deps"})


def read_json(path: Path) -> RankFile:
    """Read one rank's file; ``runtime`` counts microseconds as ``duration_micros`` does.

    Raises
    ------
    ChakraError
        Not such a JSON document, or a node that lacks a required attribute.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ChakraError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ChakraError(f"{path}: not a JSON document ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("workload_graph"), list):
        raise ChakraError(f"{path}: not a Chakra trace: no list workload_graph")
    file = RankFile(path=str(path))
    file.unused.update(key for key in found if key != "workload_graph")
    for place, inputs in enumerate(found["workload_graph"]):
        record = _record(file, place, inputs)
        check_record(file, record)
        file.records.append(record)
    return file


def _record(file: RankFile, place: int, inputs: Any) -> Record:
    if not isinstance(inputs, dict):
        raise ChakraError(f"{file.path}: entry {place} of workload_graph is not a node")
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
