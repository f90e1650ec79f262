"""Chakra traces made by hand: what is read, written, counted and refused."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.proto import (  # type: ignore[import-untyped]
    parse_length_prefixed,
    serialize_length_prefixed,
)

from workloads.chakra.columns import HOST, ChakraError, ChakraTrace
from workloads.chakra.read import read_chakra
from workloads.chakra.schema import VALUE_TYPES, messages
from workloads.chakra.write import write_chakra

Node = Mapping[str, Any]


def node(id: int, type: int = 4, attributes: Mapping[str, Any] | None = None, **rest: Any) -> Node:
    return {"id": id, "type": type, "attributes": attributes or {}, **rest}


def collective(id: int, code: int = 0, size: int = 8, **attributes: Any) -> Node:
    return node(id, 7, {"comm_type": code, "comm_size": size, **attributes})


def write_file(path: Path, nodes: Sequence[Node], **metadata: Any) -> None:
    """Lay down a file as another program would."""
    classes = messages()
    with path.open("wb") as file:
        serialize_length_prefixed(classes.metadata(**(metadata or {"version": "0.0.4"})), file)
        for each in nodes:
            fields = {key: value for key, value in each.items() if key != "attributes"}
            message = classes.node(**fields)
            for name, value in each["attributes"].items():
                _attribute(message, name, value)
            serialize_length_prefixed(message, file)


def _attribute(message: Any, name: str, value: Any) -> None:
    made = message.attr.add(name=name)
    kinds = {bool: "bool", int: "int64", str: "string"}
    if isinstance(value, list):
        made.bool_list.values.extend(value)
    else:
        setattr(made, f"{kinds[type(value)]}_val", value)


def trace_of(folder: Path, *ranks: Sequence[Node], **options: Any) -> ChakraTrace:
    for rank, nodes in enumerate(ranks):
        write_file(folder / f"t.{rank}.et", nodes)
    return read_chakra(folder, **options)


def deps_of(trace: ChakraTrace, row: int) -> list[int]:
    begin, end = trace.dep_offsets[row : row + 2]
    return [int(dep) for dep in trace.deps[begin:end]]


def test_every_value_type_of_an_attribute_has_its_published_field_number() -> None:
    attribute = messages().node.DESCRIPTOR.fields_by_name["attr"].message_type
    numbers = {field.name: field.number for field in attribute.fields}

    assert numbers["double_val"] == 3
    assert numbers["int64_val"] == 9
    assert numbers["bool_val"] == 27
    assert numbers["bool_list"] == 28
    assert numbers["bytes_list"] == 32
    assert len(numbers) == 2 + 2 * len(VALUE_TYPES)


def test_nodes_become_columns_in_their_units(tmp_path: Path) -> None:
    trace = trace_of(
        tmp_path,
        [
            node(3, name="a", duration_micros=7),
            node(5, 4, {"num_ops": 10, "tensor_size": 20}, name="b", data_deps=[3]),
            node(6, 2, {"tensor_size": 64}, ctrl_deps=[5]),
        ],
    )

    assert trace.node.tolist() == [3, 5, 6]
    assert trace.duration_ps.tolist() == [7_000_000, -1, -1]
    assert trace.flop.tolist() == [-1, 10, -1]
    assert trace.memory_bytes.tolist() == [-1, 20, 64]
    assert trace.stream.tolist() == [0, 0, 2]
    assert [trace.names[name] for name in trace.name] == ["a", "b", ""]
    assert [deps_of(trace, row) for row in range(3)] == [[], [0], [1]]
    assert trace.dep_is_control.tolist() == [False, True]
    assert trace.notes.lines() == ()


def test_a_node_follows_its_dependencies_and_else_its_id(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, [node(9), node(1, data_deps=[8]), node(8), node(2)])

    assert trace.node.tolist() == [2, 8, 1, 9]
    assert deps_of(trace, 2) == [1]


def test_an_absent_is_cpu_op_means_the_device(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, [node(0), node(1, 4, {"is_cpu_op": True})])

    assert trace.on_cpu.tolist() == [False, True]
    assert trace.stream.tolist() == [0, HOST]


def test_a_message_ignores_the_comm_type_that_repeats_its_node_type(tmp_path: Path) -> None:
    send = node(0, 5, {"comm_type": 5, "comm_size": 4, "comm_dst": 1, "comm_tag": 2})
    receive = node(0, 6, {"comm_type": 6, "comm_size": 4, "comm_src": 0, "comm_tag": 2})
    trace = trace_of(tmp_path, [send], [receive])

    assert trace.collective.tolist() == [-1, -1]
    assert trace.peer.tolist() == [1, 0]
    assert trace.tag.tolist() == [2, 2]
    assert trace.stream.tolist() == [3, 4]


def test_unknown_types_attributes_and_fields_are_counted(tmp_path: Path) -> None:
    write_file(tmp_path / "t.0.et", [node(0, 9, {"colour": "red"}), node(1, 4, {"colour": "blue"})])
    with (tmp_path / "t.0.et").open("ab") as file:
        file.write(bytes([6, 8, 2, 24, 4, 88, 1]))  # id 2, type 4, and a field 11 of value 1
    trace = read_chakra(tmp_path)

    assert len(trace) == 3
    assert trace.notes.unknown_types == {9: 1}
    assert trace.notes.unused_attributes == {"colour": 2}
    assert trace.notes.unknown_fields == 1
    assert len(trace.notes.lines()) == 3


def test_control_dependencies_that_are_no_order_are_left_out_and_counted(tmp_path: Path) -> None:
    nodes = [node(1, ctrl_deps=[2]), node(2, data_deps=[1]), node(3, ctrl_deps=[1])]
    trace = trace_of(tmp_path, nodes)

    assert [deps_of(trace, row) for row in range(3)] == [[], [0], []]
    assert trace.notes.control_left_out == 2
    with pytest.raises(ChakraError, match="node 1: its dependencies form a cycle: 1 waits for 2"):
        read_chakra(tmp_path, control="follow")
    assert read_chakra(tmp_path, control="ignore").notes.control_left_out == 2


def test_groups_come_from_the_file_beside_the_traces(tmp_path: Path) -> None:
    (tmp_path / "comm_group.json").write_text('{"7": [1, 0], "8": [2]}')
    trace = trace_of(
        tmp_path,
        [collective(0, pg_name="7"), collective(1)],
        [collective(0, pg_name="7"), collective(1, pg_name="0")],
        [collective(4, pg_name="8"), collective(5)],
    )

    assert trace.group_names == ("7", "", "8")
    assert trace.groups == ((1, 0), (0, 1, 2), (2,))
    assert trace.group.tolist() == [0, 1, 0, 1, 2, 1]


def test_groups_may_be_in_a_metadata_node_as_pytorch_writes_them(tmp_path: Path) -> None:
    listed = json.dumps([{"pg_name": "3", "ranks": [0, 1]}, {"pg_name": "4", "ranks": []}])
    metadata = node(0, 1, inputs={"values": f"['{listed}']"})
    ranks = [[metadata, collective(1, pg_name="3"), collective(2, pg_name="4")] for _ in range(2)]
    trace = trace_of(tmp_path, *ranks)

    assert trace.groups == ((0, 1), (0, 1))
    assert trace.notes.unknown_types == {}


def test_one_rank_may_be_copied_for_equal_ranks(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, [node(0), collective(1)], copies=3)

    assert trace.rank.tolist() == [0, 0, 1, 1, 2, 2]
    assert trace.groups == ((0, 1, 2),)


def test_the_json_form_reads_as_the_binary_one(tmp_path: Path) -> None:
    for name in ("json", "et"):
        (tmp_path / name).mkdir()
    graph = [
        {"Id": 4, "Name": "a", "NodeType": 4, "runtime": 3, "is_cpu_op": True},
        {"Id": 5, "Name": "b", "NodeType": 7, "ctrlDeps": [4], "comm_type": 2, "comm_size": 16},
    ]
    (tmp_path / "json" / "t.0.json").write_text(json.dumps({"workload_graph": graph}))
    nodes = [
        node(4, 4, {"is_cpu_op": True}, name="a", duration_micros=3),
        node(5, 7, {"comm_type": 2, "comm_size": 16}, name="b", ctrl_deps=[4]),
    ]

    assert read_chakra(tmp_path / "json") == trace_of(tmp_path / "et", nodes)


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "comm_group.json").write_text('{"1": [0, 1]}')
    message = {"comm_size": 5, "comm_tag": 9}
    trace = trace_of(
        tmp_path / "in",
        [
            node(0, 1, name="first"),
            node(2, 4, {"num_ops": 3, "duration_ps": 1_500_001, "corsair_queue": 6}, data_deps=[0]),
            collective(3, 7, 12, pg_name="1"),
            node(4, 5, {"comm_dst": 1, **message}, ctrl_deps=[2], data_deps=[3]),
            node(7, 42),
        ],
        [collective(0, 7, 12, pg_name="1"), node(1, 6, {"comm_src": 0, **message})],
    )
    folder = write_chakra(trace, tmp_path / "out")
    again = read_chakra(folder)

    assert again == trace
    assert again.duration_ps[1] == 1_500_001
    assert sorted(path.name for path in folder.iterdir()) == [
        "comm_group.json", "out.0.et", "out.1.et",
    ]  # fmt: skip
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["in", "out"]


def test_a_written_file_begins_with_its_version_and_names_what_other_readers_ask_for(
    tmp_path: Path,
) -> None:
    trace = trace_of(tmp_path, [collective(0, 2, 1024)])
    written = write_chakra(trace, tmp_path / "out", name="gather")
    with (written / "gather.0.et").open("rb") as file:
        version = parse_length_prefixed(messages().metadata, file).version
        found = parse_length_prefixed(messages().node, file)

    assert version == "0.0.4"
    assert found.type == 7
    assert {each.name: each.WhichOneof("value") for each in found.attr} == {
        "is_cpu_op": "bool_val",
        "comm_type": "int64_val",
        "comm_size": "int64_val",
    }


def test_a_trace_is_replaced_whole_but_another_folder_is_left_alone(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, [node(0)], [node(0)])
    folder = write_chakra(trace, tmp_path / "out")
    write_chakra(trace, folder, name="other")

    assert sorted(path.name for path in folder.iterdir()) == ["other.0.et", "other.1.et"]
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(ChakraError, match=r"holds 'precious.txt'"):
        write_chakra(trace, folder)


def test_traces_that_differ_in_one_number_are_not_equal(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    one = trace_of(tmp_path / "a", [node(0, duration_micros=1)])
    assert one != trace_of(tmp_path / "b", [node(0, duration_micros=2)])
    assert np.array_equal(one.rank, [0])


SEND = {"comm_size": 4, "comm_dst": 1, "comm_tag": 0}
RECEIVE = {"comm_size": 4, "comm_src": 0, "comm_tag": 0}


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([[node(5), node(5)]], "t.0.et: node 5: its id is a duplicate"),
        ([[node(5, data_deps=[6])]], "t.0.et: node 5: data dependency on unknown node 6"),
        ([[node(1, data_deps=[1])]], "node 1: its dependencies form a cycle: 1 waits for 1"),
        (
            [[node(1, data_deps=[3]), node(2, data_deps=[1]), node(3, data_deps=[2]), node(4)]],
            "node 1: its dependencies form a cycle: 1 waits for 3 waits for 2 waits for 1",
        ),
        ([[node(1, 7, {"comm_size": 4})]], "node 1: comm_type: found nothing"),
        ([[collective(1, 11)]], "node 1: comm_type: found 11; one of 0 all_reduce"),
        ([[node(1, 7, {"comm_type": 0})]], "node 1: a collective needs comm_size"),
        ([[collective(1, size=-1)]], "node 1: comm_size: found '-1'"),
        ([[node(1, 7, {"comm_type": "ring"})]], "node 1: comm_type: found 'ring'"),
        ([[node(1, 5, {"comm_size": 4})]], "node 1: a send or receive needs comm_dst"),
        ([[collective(1, involved_dim=[True, False])]], "node 1: involved_dim leaves out"),
        ([[collective(1, pg_name="3")]], "process group '3' is not defined (known: none)"),
        (
            [[collective(1, size=8)], [collective(2, size=9)]],
            "t.0.et: node 1: collective 0 of its group is all_reduce of 8 bytes here, but "
            "all_reduce of 9 bytes at node 2 of ",
        ),
        (
            [[collective(1), collective(2, 9)], [collective(3)]],
            "t.0.et: node 2: collective 1 of its group (barrier of 8 bytes) has no counterpart in ",
        ),
        ([[], [collective(3)]], "t.1.et: node 3: collective 0 of its group"),
        ([[node(1, 5, SEND)]], "t.0.et: node 1: its peer is rank 1, which has no file"),
        (
            [[node(1, 5, SEND)], []],
            "t.0.et: node 1: sends message 0 from rank 0 to rank 1 with tag",
        ),
        ([[], [node(1, 6, RECEIVE)]], "t.1.et: node 1: waits for message 0 from rank 0 to rank 1"),
        (
            [[node(1, 5, SEND)], [node(2, 6, {**RECEIVE, "comm_size": 5})]],
            "t.1.et: node 2: receives 5 bytes from rank 0 to rank 1 with tag 0, but node 1 of ",
        ),
    ],
)
def test_a_wrong_trace_is_refused_with_file_and_node(
    ranks: list[list[Node]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ChakraError) as refusal:
        trace_of(tmp_path, *ranks)

    assert said in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_a_file_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.0.et"
    write_file(path, [node(1, name="first"), node(2, name="second", data_deps=[1])])
    whole = path.read_bytes()
    with path.open("rb") as file:
        ends = [0]
        for kind in ("metadata", "node", "node"):
            parse_length_prefixed(getattr(messages(), kind), file)
            ends.append(file.tell())

    for length in set(range(len(whole))) - set(ends[1:]):
        path.write_bytes(whole[:length])
        with pytest.raises(ChakraError, match=r"t\.0\.et: (byte \d+: no whole|not a Chakra)"):
            read_chakra(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 40, b"PK\x03\x04 a zip file", b'{"a": 1}', b"\x80" * 20, b"\x04\x08\x01\x18\x04"],
)
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.0.et").write_bytes(content)

    with pytest.raises(ChakraError, match=r"t\.0\.et: not a Chakra trace"):
        read_chakra(tmp_path)


def test_a_missing_rank_is_named(tmp_path: Path) -> None:
    for rank in (0, 3):
        write_file(tmp_path / f"t.{rank}.et", [node(0)])

    with pytest.raises(
        ChakraError, match=r"ranks go up to 3, but t\.<rank> is missing for rank 1, 2"
    ):
        read_chakra(tmp_path)


def test_a_folder_without_traces_or_with_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChakraError, match=r"holds no NAME\.<rank>\.et files"):
        read_chakra(tmp_path)
    for name in ("one", "two"):
        write_file(tmp_path / f"{name}.0.et", [node(0)])
    with pytest.raises(ChakraError, match=r"several traces \(one, two\)"):
        read_chakra(tmp_path)
    with pytest.raises(ChakraError, match="no such folder"):
        read_chakra(tmp_path / "none")
    with pytest.raises(ChakraError, match="control must be one of auto, follow, ignore"):
        read_chakra(tmp_path, control="maybe")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"workload_graph": [1]}', '{"workload_graph": [{"Id": 1}]}',
             '{"workload_graph": [{"Id": "x", "NodeType": 4}]}',
             '{"workload_graph": [{"Id": 1, "NodeType": 4, "data_deps": 3}]}']
)  # fmt: skip
def test_a_wrong_json_trace_is_refused_with_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.0.json").write_text(text)

    with pytest.raises(ChakraError, match=r"t\.0\.json"):
        read_chakra(tmp_path)
