"""Traces in JSON: what Chakra's jsonizer writes, and what is no Chakra trace."""

import json
from pathlib import Path
from typing import Any

import pytest

from workloads.chakra.columns import ChakraError
from workloads.chakra.read import read_chakra

METADATA = {"version": "0.0.4"}
GRAPH: list[dict[str, Any]] = [
    {"Id": 0, "Name": "launch", "NodeType": 4, "runtime": 3, "is_cpu_op": True, "tid": 7},
    {
        "Id": 1, "Name": "k", "NodeType": 4, "data_deps": [0], "ctrl_deps": [0], "stream": 140,
        "is_cpu_op": False,
    },
    {
        "Id": 2, "Name": "c", "NodeType": 7, "data_deps": [1], "comm_type": 0, "comm_size": 1 << 40,
        "pg_name": "3", "involved_dim": [True],
    },
]  # fmt: skip
MESSAGES: list[dict[str, Any]] = [
    {
        "name": "launch", "type": "COMP_NODE", "durationMicros": "3",
        "attr": [{"name": "is_cpu_op", "boolVal": True}, {"name": "tid", "int64Val": "7"}],
    },
    {
        "id": "1", "name": "k", "type": "COMP_NODE", "dataDeps": ["0"], "ctrlDeps": ["0"],
        "attr": [{"name": "stream", "int64Val": "140"}, {"name": "is_cpu_op", "boolVal": False}],
    },
    {
        "id": "2", "name": "c", "type": "COMM_COLL_NODE", "dataDeps": ["1"],
        "attr": [
            {"name": "comm_type", "int64Val": "0"},
            {"name": "comm_size", "int64Val": str(1 << 40)},
            {"name": "pg_name", "stringVal": "3"},
            {"name": "involved_dim", "boolList": {"values": [True]}},
        ],
    },
]  # fmt: skip
"""The same nodes as protobuf's MessageToJson has them: 0 is left out, 64 bits are text."""


@pytest.mark.parametrize(("between", "indent"), [("", 2), ("\n", None), ("\n\n", 2)])
def test_what_the_jsonizer_writes_is_read_as_the_graph_is(
    between: str, indent: int | None, tmp_path: Path
) -> None:
    documents = [json.dumps(each, indent=indent) for each in (METADATA, *MESSAGES)]
    texts = {"graph": json.dumps({"workload_graph": GRAPH}), "messages": between.join(documents)}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "comm_group.json").write_text('{"3": [0]}')
        (tmp_path / name / "t.0.json").write_text(text)

    one, other = (read_chakra(tmp_path / name) for name in texts)
    assert one == other
    assert one.notes == other.notes
    assert other.comm_bytes.tolist() == [-1, -1, 1 << 40]
    assert other.duration_ps.tolist() == [3_000_000, -1, -1]


def test_field_names_may_be_those_of_the_schema(tmp_path: Path) -> None:
    document = {"id": 1, "type": 4, "duration_micros": 5, "attr": [{"name": "n", "int64_val": "1"}]}
    document["new"] = 7
    (tmp_path / "t.0.json").write_text('{"version": "0.0.4"}' + json.dumps(document))
    trace = read_chakra(tmp_path)

    assert trace.duration_ps.tolist() == [5_000_000]
    assert trace.notes.unused_attributes == {"n": 1}
    assert trace.notes.unknown_fields == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": "0.0.4"}{"id": "1", "type": "COMP_NODE"', "not a JSON document after 1"),
        ('{"version": "0.0.4"}{"type": "COMPNODE"}', "did you mean COMP_NODE?"),
        ('{"version": "0.0.4"}{"type": {}}', "node 0 is not as Chakra's jsonizer writes it"),
        ('{"version": "0.0.4"} 5', "node 0 is not as Chakra's jsonizer writes it"),
        ('{"version": "0.0.4"}{"id": "x"}', "node 0 is not as Chakra's jsonizer writes it"),
        ("{}", "no GlobalMetadata at its start"),
        ('{"a": 1}{"b": 2}', "no GlobalMetadata at its start"),
        ('{"a": 1}', "no list workload_graph"),
        ("", "not a JSON document"),
    ],
)
def test_a_wrong_file_of_the_jsonizers_form_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "t.0.json").write_text(text)

    with pytest.raises(ChakraError) as refusal:
        read_chakra(tmp_path)

    assert f"t.0.json: {said}" in str(refusal.value) or said in str(refusal.value)
    assert "t.0.json" in str(refusal.value)


PYTORCH: Any = {"schema": "1.0.2-chakra.0.0.4", "pid": 1, "nodes": [{"id": 1, "name": "x"}]}


@pytest.mark.parametrize(
    "name", ["1.0.2-chakra.0.0.4.json", "t.0.json", "t.3.json", "pytorch_et.json"]
)
def test_a_trace_of_pytorch_is_named_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(PYTORCH))
    said = r"a PyTorch execution trace \(schema 1.0.2-chakra.0.0.4\), not yet a Chakra trace"

    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ChakraError, match=said):
            read_chakra(path)


def test_a_trace_of_the_profiler_is_named(tmp_path: Path) -> None:
    (tmp_path / "kineto.json").write_text('{"schemaVersion": 1, "traceEvents": []}')

    with pytest.raises(ChakraError, match=r"a profiler's trace \(Kineto\), not a Chakra trace"):
        read_chakra(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "t.0.et").write_bytes(b"")

    with pytest.raises(ChakraError, match="a file; name the folder that holds NAME"):
        read_chakra(tmp_path / "t.0.et")
