import json

import numpy as np
import pyarrow as pa
import pytest

from results.arrow import Columns, arrow_schema, arrow_table
from results.engine_columns import Coded
from results.schema import TABLES, Column, Table

SMALL = Table(
    name="small",
    meaning="A table for tests.",
    columns=(
        Column(name="number", type="int32", unit="B", meaning="A whole number."),
        Column(name="share", type="float64", unit="1", meaning="A share.", nullable=True),
        Column(name="word", type="category", unit="", meaning="A word.", categories=("a", "b")),
        Column(name="notes", type="strings", unit="", meaning="Notes.", nullable=True),
    ),
)
GOOD: dict[str, object] = {"number": [1, 2], "share": [0.5, np.nan], "word": np.array([1, 0])}


def made(**changes: object) -> pa.Table:
    columns: Columns = {**GOOD, **changes}  # type: ignore[dict-item]
    return arrow_table(SMALL, columns)


def test_nan_masked_and_left_out_are_null() -> None:
    masked = np.ma.masked_equal([7.0, 8.0], 7.0)

    assert made()["share"].to_pylist() == [0.5, None]
    assert made(share=masked)["share"].to_pylist() == [None, 8.0]
    assert made()["notes"].to_pylist() == [None, None]


def test_codes_and_words_make_the_same_category() -> None:
    assert made(word=np.array([1, 0]))["word"].to_pylist() == ["b", "a"]
    assert made(word=["b", "a"])["word"].to_pylist() == ["b", "a"]
    coded = Coded(codes=np.array([1, 0], np.int8), words=("z", "y"))
    assert made(word=coded)["word"].to_pylist() == ["y", "z"]


def test_coded_words_are_refused_where_numbers_belong() -> None:
    with pytest.raises(ValueError, match=r"small\.number \(int32\) cannot hold"):
        made(number=Coded(codes=np.array([0, 0]), words=("z",)))


def test_one_value_holds_for_every_row() -> None:
    table = made(number=np.int64(7), word="b")

    assert table["number"].to_pylist() == [7, 7]
    assert table["word"].to_pylist() == ["b", "b"]


def test_an_array_may_be_reused_once_it_was_taken() -> None:
    numbers = np.array([1, 2], np.int32)
    table = made(number=numbers)
    numbers[:] = 9

    assert table["number"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nubmer": [1, 2]}, "no column 'nubmer'; nearest: number"),
        ({"number": [1, 2, 3]}, "differ in length"),
        ({"number": [1, 2**40]}, "small.number"),
        ({"number": [1.5, 2.0]}, "small.number"),
        ({"number": np.ma.masked_equal([1, 2], 2)}, "1 nulls"),
        ({"number": None}, "2 nulls"),
        ({"word": np.array([0, 2])}, "code 2"),
        ({"word": [0.5, 1.0]}, "small.word"),
    ],
)
def test_what_a_column_cannot_hold_is_refused_by_name(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="lacks number, word"):
        arrow_table(SMALL, {"share": [1.0]})


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_field_carries_its_unit_and_meaning(table: Table) -> None:
    schema = arrow_schema(table)

    for column in table.columns:
        metadata = schema.field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"meaning"].decode() == column.meaning
    assert set(json.loads(schema.metadata[b"corsair_sim.columns"])) == set(schema.names)
