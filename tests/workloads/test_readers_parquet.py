import contextlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.requests import REQUEST_COLUMNS, SESSION_COLUMNS, TraceError
from workloads.trace import read_trace, write_trace

GOOD: dict[str, list[object]] = {
    "arrival_ps": [0, 5],
    "prompt_tokens": [16, 20],
    "output_tokens": [1, 2],
    "hash_ids": [[3], [3, 4]],
}


def write(path: Path, changes: dict[str, list[object]], block_tokens: str = "16") -> Path:
    table = pa.table({**GOOD, **changes})
    pq.write_table(table.replace_schema_metadata({"hash_block_tokens": block_tokens}), path)
    return path


def test_units_and_meanings_travel_in_the_file(tmp_path: Path) -> None:
    write_trace(read_trace(write(tmp_path / "a.parquet", {})), tmp_path / "b.parquet")

    schema = pq.read_schema(tmp_path / "b.parquet")
    assert schema.names == [
        column.name for column in REQUEST_COLUMNS if column.name not in SESSION_COLUMNS
    ]
    for column in REQUEST_COLUMNS[: len(schema.names)]:
        metadata = schema.field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"meaning"].decode() == column.meaning
    assert schema.metadata[b"hash_block_tokens"] == b"16"


def test_ids_come_back_as_they_went(tmp_path: Path) -> None:
    first = read_trace(write(tmp_path / "a.parquet", {}))
    write_trace(first, tmp_path / "b.parquet")

    assert first.hash_ids is not None
    assert first.hash_ids.tolist() == [3, 3, 4]
    assert read_trace(tmp_path / "b.parquet").digest == first.digest


def test_a_file_of_another_writer_may_have_narrower_integers(tmp_path: Path) -> None:
    table = pa.table({name: values for name, values in GOOD.items() if name != "hash_ids"})
    narrow = table.set_column(1, "prompt_tokens", table["prompt_tokens"].cast(pa.int16()))
    pq.write_table(narrow, tmp_path / "a.parquet")

    assert read_trace(tmp_path / "a.parquet").prompt_tokens.tolist() == [16, 20]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": [16, -20]}, "row 1: column 'prompt_tokens': found -20; at least 1"),
        ({"output_tokens": [None, 2]}, "row 0: column 'output_tokens': found an empty value"),
        ({"prompt_tokens": [16.0, 20.0]}, "column 'prompt_tokens': found double; int64"),
        ({"hash_ids": [1, 2]}, r"column 'hash_ids': found int64; list<.*int64> is needed"),
        ({"hash_ids": [[3], [3]]}, None),
        ({"hash_ids": [[3], []]}, "row 1: column 'hash_ids': found 0 ids; 20 tokens"),
        ({"hash_ids": [[3], None]}, "row 1: column 'hash_ids': found an empty value"),
        ({"hash_ids": [[None], [3, 4]]}, "row 0: column 'hash_ids': found an empty value"),
    ],
)
def test_a_fault_is_named_with_row_column_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, list[object]], message: str | None
) -> None:
    path = write(tmp_path / "a.parquet", changes)

    if message is None:  # a partial last block may go without an id
        assert len(read_trace(path)) == 2
        return
    with pytest.raises(TraceError, match=message):
        read_trace(path)


def test_ids_need_their_block_size(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"needs the key 'hash_block_tokens'.*found 'none'"):
        read_trace(write(tmp_path / "a.parquet", {}, block_tokens="none"))


def test_another_table_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"arrival": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more")

    with pytest.raises(TraceError, match=r"'arrival_ps' .* missing; is it 'arrival'\?"):
        read_trace(tmp_path / "a.parquet")
    with pytest.raises(TraceError, match="not a readable Parquet file"):
        read_trace(tmp_path / "b.parquet")


@given(start=st.integers(0, 2_000), piece=st.binary(min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_torn_file_is_read_or_refused(start: int, piece: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.parquet", {})
        whole = path.read_bytes()
        start %= len(whole)
        path.write_bytes(whole[:start] + piece + whole[start + len(piece) :])
        with contextlib.suppress(TraceError):
            read = read_trace(path, "parquet")
            assert len(read) + read.skipped == 2  # a length may now be zero
