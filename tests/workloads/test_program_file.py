import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.program import PROGRAM_COLUMNS, Program, ProgramError, program_of
from workloads.program.check import check_program
from workloads.program.columns import ROW_COLUMNS
from workloads.program.file import read_program, write_program
from workloads.program.schema import VARYING

PAIR: dict[str, Any] = {
    "rank": [0, 1, 0, 1, 0, 1],
    "stream": [0, 0, 1, 1, 3, 4],
    "kind": ["matmul", "matmul", "collective", "collective", "send", "recv"],
    "name": ["QKV", "QKV", "sum", "sum", "give", "take"],
    "collective": [None, None, "all_reduce", "all_reduce", None, None],
    "group": [-1, -1, 0, 0, -1, -1],
    "peer": [-1, -1, -1, -1, 1, 0],
    "payload_bytes": [0, 0, 64, 64, 32, 32],
    "duration_ps": [5, None, None, None, None, None],
    "deps": [[], [], [0], [1], [2], [3]],
}
"""Two ranks that multiply, sum up, and pass a message on."""


def arrow(columns: dict[str, Any]) -> pa.Table:
    return pa.table(columns)


def saved(folder: Path, columns: dict[str, Any], **metadata: object) -> Path:
    """A file as another tool would write it."""
    path = folder / "program.parquet"
    known = {"groups": [[0, 1]]} | metadata
    table = arrow(columns).replace_schema_metadata({k: json.dumps(v) for k, v in known.items()})
    pq.write_table(table, path)
    return path


def repeating() -> Program:
    """Three repeats of one attention row that reads a block more each time."""
    columns = {
        "rank": [0, 0],
        "kind": ["attention", "matmul"],
        "context_tokens": [64, 0],
        "flop": [640, 7],
        "varies": [0, -1],
        "deps": [[-1], [0]],
    }
    program = program_of(columns, repeats=3)
    grown = np.array([[[0, 64 * r, 640 * r, 0]] for r in (1, 2, 3)], np.int64)
    return replace(program, varying=grown)


def same(one: Program, other: Program) -> bool:
    """Whether two programs say the same, whatever their dictionaries."""
    first, second = one.operations, other.operations
    words = ("name", "weight_class", "weight_format", "activation_format")
    equal = all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in (*ROW_COLUMNS, "dep_offsets", "deps")
        if name not in words
    )
    named = all(
        [one.word(name, code) for code in getattr(first, name)]
        == [other.word(name, code) for code in getattr(second, name)]
        for name in words
    )
    shape = (one.groups, one.repeats) == (other.groups, other.repeats)
    return equal and named and shape and np.array_equal(one.varying, other.varying)


def test_what_another_tool_writes_is_read(tmp_path: Path) -> None:
    program = read_program(saved(tmp_path, PAIR))

    own = program.operations
    assert (program.ranks, program.groups, len(program)) == (2, ((0, 1),), 6)
    assert own.duration_ps.tolist() == [5, -1, -1, -1, -1, -1]
    assert own.collective.tolist() == [-1, -1, 0, 0, -1, -1]
    assert own.count.tolist() == [1] * 6
    assert own.layer.tolist() == [-1] * 6
    assert [program.word("name", code) for code in own.name[:3]] == ["QKV", "QKV", "sum"]
    assert own.deps.tolist() == [0, 1, 2, 3]


def test_two_columns_are_enough(tmp_path: Path) -> None:
    program = read_program(saved(tmp_path, {"rank": [0], "kind": ["vector"]}, groups=[]))

    assert program.operations.stream.tolist() == [0]


@pytest.mark.parametrize("program", [program_of(PAIR, [[0, 1]]), repeating()])
def test_a_program_survives_its_file(tmp_path: Path, program: Program) -> None:
    path = tmp_path / "p.parquet"

    write_program(path, program)

    assert same(read_program(path), program)


def test_a_file_tells_the_units_and_meanings_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"

    write_program(path, repeating())

    schema = pq.read_schema(path)
    assert schema.names == [column.name for column in PROGRAM_COLUMNS]
    for column in PROGRAM_COLUMNS:
        printed = schema.field(column.name).metadata
        assert printed == {b"unit": column.unit.encode(), b"meaning": column.meaning.encode()}
    assert schema.metadata[b"repeats"] == b"3"
    assert json.loads(schema.metadata[b"varying"])[1] == [[0, 128, 1280, 0]]


def test_repeats_are_written_out_with_their_own_values(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_program(path, repeating())

    whole = read_program(path).expanded().operations

    assert whole.context_tokens.tolist() == [64, 0, 128, 0, 192, 0]
    assert whole.step.tolist() == [0, 0, 1, 1, 2, 2]
    assert whole.deps.tolist() == [0, 1, 2, 3, 4]  # the first repeat waits for none before
    assert whole.dep_offsets.tolist() == [0, 0, 1, 2, 3, 4, 5]


def edited(**changes: object) -> dict[str, Any]:
    """The pair with some columns exchanged; None leaves one out."""
    return {name: values for name, values in (PAIR | changes).items() if values is not None}


def with_value(name: str, row: int, value: object) -> dict[str, Any]:
    values: Sequence[Any] = list(PAIR.get(name, [0] * 6))
    return PAIR | {name: [*values[:row], value, *values[row + 1 :]]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (edited(kind=None), "column 'kind' is missing"),
        (PAIR | {"flops": [1] * 6}, "column 'flops' is unknown; is it 'flop'?"),
        (PAIR | {"flop": [1.5] * 6}, "column 'flop': found double; whole numbers are needed"),
        (PAIR | {"kind": [1] * 6}, "column 'kind': found int64; words are needed"),
        (PAIR | {"deps": [1] * 6}, "column 'deps': found int64; lists are needed"),
        (PAIR | {"deps": [["a"]] * 6}, "list<int64> is needed"),
        (PAIR | {"rank": [2**40] * 6}, "column 'rank': .*1099511627776"),
        (PAIR | {"op": [0, 1, 2, 4, 5, 6]}, "row 3: column 'op': found 4; .* its row, 3"),
        (with_value("flop", 2, None), "row 2: column 'flop': found an empty value"),
        (with_value("deps", 4, [2, None]), "row 4: column 'deps': found an empty value"),
        (with_value("kind", 5, "receive"), "row 5: column 'kind': found 'receive'; .*'recv'?"),
        (with_value("m", 3, -1), "row 3: column 'm': found -1; at least 0 is needed"),
        (with_value("duration_ps", 3, -2), "row 3: column 'duration_ps': found -2"),
        (with_value("rank", 1, 3), "rank 2 has no operations, rank 3 has"),
        (with_value("group", 2, 1), "row 2: column 'group': found 1; -1 to 0 are allowed"),
        (with_value("group", 1, 0), "row 1: column 'group': found 0; only collectives have one"),
        (with_value("collective", 2, None), "row 2: column 'collective': .*one of all_reduce"),
        (with_value("collective", 0, "barrier"), "row 0: column 'collective'"),
        (with_value("collective", 3, "barrier"), "row 3: .*found 'barrier'; row 2, the same call"),
        (with_value("payload_bytes", 3, 8), "row 3: column 'payload_bytes': found 8; row 2"),
        (with_value("payload_bytes", 5, 8), "row 5: .*found 8; its send carries 32"),
        (with_value("peer", 4, 0), "row 4: column 'peer': found 0; a send or recv needs another"),
        (with_value("peer", 4, 7), "row 4: column 'peer': found 7; -1 to 1 are allowed"),
        (with_value("peer", 0, 1), "row 0: column 'peer': found 1; only send and recv"),
        (with_value("tag", 4, 9), "row 4: .*found a send of rank 0 without its receive .tag 9."),
        (with_value("tag", 2, 9), "row 2: .*a call of group 0 that some of its ranks do not make"),
        (with_value("deps", 1, [6]), "row 1: column 'deps': found 6; a row of 0 to 5"),
        (with_value("deps", 1, [-1]), "row 1: column 'deps': found -1; a row of 0 to 5"),
        (with_value("deps", 1, [1]), "row 1: column 'deps': found 1; another row than itself"),
        (
            with_value("deps", 1, [2]) | {"step": [0, 0, 1, 1, 1, 1]},
            "row 1: column 'deps': found 2; a row of no later step",
        ),
        (with_value("varies", 0, 0), "row 0: column 'varies': found 0"),
    ],
)
def test_a_wrong_file_is_refused_by_row_and_column(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, columns)

    with pytest.raises(ProgramError, match=message) as caught:
        read_program(path)

    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"groups": [[0, "1"]]}, "key 'groups' .* list of lists of ranks"),
        ({"groups": [[0, 0]]}, "group 0 with the ranks .0, 0."),
        ({"groups": [[0, 2]]}, "different ranks of 0 to 1"),
        ({"groups": [[0]]}, "row 3: column 'group': found 0; only the ranks of a group"),
        ({"repeats": 0}, "'repeats' .* at least 1, found '0'"),
        ({"repeats": 2, "varying": [[[1, 2, 3, 4]]]}, "'varying' .* list of 2 repeats"),
        ({"varying": [[[1, 2, 3]]]}, "lines of 4 whole numbers: n, context_tokens"),
    ],
)
def test_wrong_metadata_are_refused_by_key(
    tmp_path: Path, metadata: dict[str, object], message: str
) -> None:
    with pytest.raises(ProgramError, match=message):
        read_program(saved(tmp_path, PAIR, **metadata))


def test_values_that_vary_start_with_the_template(tmp_path: Path) -> None:
    program = repeating()
    wrong = replace(program, varying=program.varying + 1)

    with pytest.raises(ProgramError, match="row 0: column 'n': found 0; the first of its varying"):
        write_program(tmp_path / "p.parquet", wrong)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_vary_alike_are_alike() -> None:
    columns = {"rank": [0, 0], "kind": ["attention", "vector"], "varies": [0, 0]}
    varying = np.zeros((1, 1, len(VARYING)), np.int64)
    program = replace(program_of(columns), varying=varying)

    with pytest.raises(ProgramError, match=r"row 1: column 'kind': .*row 0, which varies alike"):
        check_program(program)


def test_a_missing_or_torn_file_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, PAIR)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(ProgramError, match=r"none\.parquet: there is no such file"):
        read_program(tmp_path / "none.parquet")
    with pytest.raises(ProgramError, match=r"torn\.parquet: not a readable Parquet file"):
        read_program(torn)


def test_a_file_that_cannot_be_written_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="cannot write"):
        write_program(tmp_path / "absent" / "p.parquet", repeating())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProgramError, match="cannot write"):
        write_program(tmp_path / "folder", repeating())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_empty_file_holds_no_operations(tmp_path: Path) -> None:
    empty = {"rank": pa.array([], pa.int32()), "kind": pa.array([], pa.string())}

    with pytest.raises(ProgramError, match="holds no operations"):
        read_program(saved(tmp_path, empty, groups=[]))


def test_the_example_of_the_manual_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual = Path(__file__).resolve().parents[2] / "docs" / "program-format.md"
    example = manual.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)

    exec(compile(example, str(manual), "exec"), {})

    program = read_program("program.parquet")
    own = program.operations
    assert (len(program), program.ranks, program.groups) == (6, 2, ((0, 1),))
    assert own.flop[0] == 2 * own.m[0] * own.k[0] * own.n[0]


def test_the_manual_names_every_column() -> None:
    manual = Path(__file__).resolve().parents[2] / "docs" / "program-format.md"
    lines = manual.read_text(encoding="utf-8").splitlines()

    named = [line.split("`")[1] for line in lines if line.startswith("| `")]

    assert named == [column.name for column in PROGRAM_COLUMNS]
