"""What the user says of a file, what is left out of it, and what looks wrong in it."""

import gzip
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.describe import describe
from workloads.readers.trace_format import ReadOptions
from workloads.requests import Requests, TraceError
from workloads.trace import detect_format, read_trace, write_trace

S = 10**12
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,1\n2,20,2\n"
CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "cases"
data = [
    pytest.mark.data,
    pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the project"),
]


def mooncake(path: Path, *rows: tuple[object, int, int, str], key: str = "hash_ids") -> Path:
    """A file of (timestamp, prompt tokens, output tokens, ids as JSON)."""
    lines = [
        f'{{"timestamp": {time}, "input_length": {prompt}, "output_length": {output}, '
        f'"{key}": {ids}}}\n'
        for time, prompt, output, ids in rows
    ]
    path.write_text("".join(lines))
    return path


def ids_of(requests: Requests) -> list[int]:
    assert requests.hash_ids is not None
    return [int(each) for each in requests.hash_ids]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_packed_file_is_the_file(trace: Path, codec: str) -> None:
    content = VIDUR.encode()
    if codec == "zstd":
        with pa.CompressedOutputStream(str(trace), "zstd") as out:
            out.write(content)
    else:
        trace.write_bytes(gzip.compress(content))

    assert detect_format(trace) == "vidur"
    assert read_trace(trace).arrival_ps.tolist() == [0, 2 * S]


def test_a_torn_archive_is_refused_by_name(trace: Path) -> None:
    trace.write_bytes(gzip.compress(VIDUR.encode())[:-12])

    with pytest.raises(TraceError, match="does not unpack"):
        read_trace(trace)


def test_milliseconds_that_look_like_seconds_are_noted_and_the_unit_can_be_said(
    trace: Path,
) -> None:
    mooncake(trace, (0.0, 1, 1, "[]"), (0.2, 1, 1, "[]"))

    (note,) = read_trace(trace).notes
    assert note.startswith("5,000 requests/s on average with times in ms")
    assert "5 requests/s in s" in note

    said = read_trace(trace, options=ReadOptions(time_unit="s"))
    assert said.arrival_ps.tolist() == [0, S // 5]
    assert said.notes == ()


@pytest.mark.parametrize(
    ("unit", "last_ps"), [("s", 2 * S), ("ms", 2 * 10**9), ("us", 2 * 10**6), ("ns", 2000)]
)
def test_every_unit_counts_as_said(trace: Path, unit: str, last_ps: int) -> None:
    mooncake(trace, (0, 1, 1, "[]"), (2, 1, 1, "[]"))
    options = ReadOptions(time_unit=unit)  # type: ignore[arg-type]

    assert read_trace(trace, options=options).arrival_ps.tolist() == [0, last_ps]


def test_a_block_size_can_be_said_and_a_wrong_one_is_refused(trace: Path) -> None:
    mooncake(trace, (0, 40, 10, "[1, 2, 3]"))

    with pytest.raises(TraceError, match=r"blocks of 512 need 0 or 1 \(hash_block_tokens"):
        read_trace(trace)
    assert read_trace(trace, options=ReadOptions(hash_block_tokens=16)).hash_block_tokens == 16


def test_columns_of_ones_own_need_a_unit(trace: Path) -> None:
    trace.write_text("when,in,out\n0,10,1\n3,20,2\n")
    named = ReadOptions(time="when", prompt_tokens="in", output_tokens="out")

    with pytest.raises(TraceError, match="need time_unit"):
        read_trace(trace, options=named)
    found = read_trace(trace, options=replace(named, time_unit="s"))
    assert found.arrival_ps.tolist() == [0, 3 * S]
    assert found.prompt_tokens.tolist() == [10, 20]


def test_one_renamed_column_leaves_the_rest_of_the_format(trace: Path) -> None:
    trace.write_text(VIDUR.replace("arrived_at", "at"))

    found = read_trace(trace, options=ReadOptions(time="at"))
    assert found.arrival_ps.tolist() == [0, 2 * S]


@pytest.mark.parametrize(
    "ids",
    [
        ('["a", "b"]', '["a", "c"]'),
        ("[18446744073709551615, 1]", "[18446744073709551615, 2]"),
        ('[7, "7"]', "[7, 8]"),
    ],
)
def test_ids_are_identities_whatever_their_type(trace: Path, ids: tuple[str, str]) -> None:
    mooncake(trace, (0, 1024, 1, ids[0]), (9, 1024, 1, ids[1]))

    assert ids_of(read_trace(trace)) == [0, 1, 0, 2]


def test_string_ids_in_parquet_are_numbered_too(trace: Path) -> None:
    mooncake(trace, (0, 1024, 1, "[5, 6]"), (9, 1024, 1, "[5, 7]"))
    write_trace(read_trace(trace), trace)
    table = pq.read_table(trace)
    column = table["hash_ids"].cast(pa.list_(pa.string()))
    at = table.schema.get_field_index("hash_ids")
    changed = table.set_column(at, "hash_ids", column).replace_schema_metadata(
        table.schema.metadata
    )
    pq.write_table(changed, trace)

    assert ids_of(read_trace(trace)) == [0, 1, 0, 2]


def test_token_ids_are_hashed_into_full_blocks(trace: Path) -> None:
    first, second = list(range(40)), [*range(16), *range(100, 116)]
    trace.write_text(
        f'{{"arrival_time_ns": 0, "input_toks": 40, "output_toks": 1, "input_tok_ids": {first}}}\n'
        f'{{"arrival_time_ns": 9, "input_toks": 32, "output_toks": 1, "input_tok_ids": {second}}}\n'
    )
    found = read_trace(trace)

    assert ids_of(found) == [0, 1, 0, 2]  # 40 tokens are two full blocks of 16
    assert found.hash_block_tokens == 16


def test_token_ids_must_be_as_many_as_the_prompt_has(trace: Path) -> None:
    trace.write_text(
        '{"arrival_time_ns": 0, "input_toks": 3, "output_toks": 1, "input_tok_ids": [1, 2]}\n'
    )

    with pytest.raises(TraceError, match=r"1: column 'input_tok_ids': found 2 token ids; .* has 3"):
        read_trace(trace)


@pytest.mark.parametrize(
    "text",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,9,1\n2024-05-10,0,1\n2024-05-10,9,0\n",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0,9,1\n1,0,1\n2,9,0\n",
        "arrival_timestamp,prompt_size,token_size\n0,9,1\n1,0,1\n2,9,0\n",
        '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}\n'
        '{"timestamp": 1, "input_length": 0, "output_length": 1, "hash_ids": []}\n'
        '{"timestamp": 2, "input_length": 9, "output_length": 0}\n',
    ],
)
def test_rows_without_tokens_are_left_out_and_counted(trace: Path, text: str) -> None:
    trace.write_text(text)
    found = read_trace(trace)

    assert (len(found), found.skipped) == (1, 2)


def test_lengths_without_arrivals_are_lengths_and_no_trace(trace: Path) -> None:
    trace.write_text("num_prefill_tokens,num_decode_tokens\n100,10\n200,20\n")

    assert read_trace(trace, lengths_only=True).prompt_tokens.tolist() == [100, 200]
    for format in ("auto", "vidur"):
        with pytest.raises(TraceError, match=r"has lengths and no arrivals; .*empirical"):
            read_trace(trace, format)


def test_the_span_counts_and_not_the_clock(trace: Path) -> None:
    trace.write_text(VIDUR.replace("\n0,", "\n19440110,").replace("\n2,", "\n19440112,"))
    found = read_trace(trace)

    assert found.arrival_ps.tolist() == [0, 2 * S]
    assert found.notes == (
        "the first request arrives at 19440110 s of the trace; that is time zero",
    )


def test_a_limit_applies_before_the_span_is_judged(trace: Path) -> None:
    trace.write_text(VIDUR + "99999999,1,1\n")

    assert len(read_trace(trace, limit=2)) == 2
    with pytest.raises(TraceError, match="106 days"):
        read_trace(trace)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"timestamp": 3, "parent": 1, "input_length": 9, "output_length": 1}',
            "found 'parent': a trace of sessions in a form that is not read",
        ),
        (
            '{"session_id": "a", "timestamp": 3, "delay": 500, "input_length": 9, '
            '"output_length": 1}',
            "the first turn of session 'a' needs an arrival time and no delay",
        ),
        (
            '{"timestamp": 3, "delay": 500, "input_length": 9, "output_length": 1}',
            "column 'delay': found without 'session_id'",
        ),
        (
            '{"session_id": "a", "timestamp": 3, "delay": -1, "input_length": 9, '
            '"output_length": 1}',
            "column 'delay': found -1; a number of ms, at least 0, is needed",
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_turns_that_cannot_be_are_refused_by_line_and_key(
    trace: Path, line: str, message: str, first: bool
) -> None:
    plain = '{"timestamp": 0, "input_length": 9, "output_length": 1}'
    trace.write_text("\n".join([line, plain] if first else [plain, line]))

    number = 1 if first else 2
    with pytest.raises(TraceError, match=f":{number}: {message}"):
        read_trace(trace)


@pytest.mark.parametrize("ids", [("[1, 2]", "[2, 1]"), ("[1, 9]", "[2, 9]")])
def test_a_hit_is_a_common_prefix_and_not_an_id_seen_before(
    trace: Path, ids: tuple[str, str]
) -> None:
    mooncake(trace, (0, 1024, 4, ids[0]), (5000, 1024, 4, ids[1]))

    assert describe(read_trace(trace))["ideal_prefix_hit_rate"] == 0


@pytest.mark.parametrize(
    ("name", "options", "requests", "skipped"),
    [
        pytest.param("bg_shard3.csv", ReadOptions(), 200, 0, marks=data),
        pytest.param("mc_strings.jsonl", ReadOptions(), 2, 0, marks=data),
        pytest.param("mc_block16.jsonl", ReadOptions(hash_block_tokens=16), 1, 0, marks=data),
        pytest.param("az_ok.csv.gz", ReadOptions(), 3, 0, marks=data),
        pytest.param("az_zero_out.csv", ReadOptions(), 1, 1, marks=data),
        pytest.param("mc_out0.jsonl", ReadOptions(), 1, 1, marks=data),
    ],
)
def test_files_that_were_refused_are_read(
    name: str, options: ReadOptions, requests: int, skipped: int
) -> None:
    found = read_trace(CASES / name, options=options)

    assert (len(found), found.skipped) == (requests, skipped)
