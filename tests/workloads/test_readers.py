"""Every format on a small file made by hand: what it means, and how it fails."""

from pathlib import Path

import pytest

from workloads.requests import Requests, TraceError
from workloads.trace import detect_format, read_trace

MS = 10**9
S = 10**12

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
BURSTGPT_2 = BURSTGPT.replace("Timestamp,", "Timestamp,Session ID,Elapsed time,")
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def read(path: Path, text: str | bytes, expected: str) -> Requests:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert detect_format(path) == expected
    return read_trace(path)


def test_azure_2023_is_exact_to_its_seventh_digit_and_needs_no_last_newline(trace: Path) -> None:
    text = AZURE + "2023-11-16 23:59:59.9999999,374,44\n2023-11-17 00:00:00.0000001,396,109"
    requests = read(trace, text, "azure")

    assert requests.arrival_ps.tolist() == [0, 200_000]
    assert requests.prompt_tokens.tolist() == [374, 396]
    assert requests.output_tokens.tolist() == [44, 109]


def test_azure_2024_has_a_zone_and_leaves_out_a_zero_fraction(trace: Path) -> None:
    text = AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,7,8\r\n"
    requests = read(trace, text, "azure")

    assert requests.arrival_ps.tolist() == [0, S - 9_930_000_000]


def test_mooncake_counts_milliseconds_and_blocks_of_512(trace: Path) -> None:
    text = (
        '{"timestamp": 3, "input_length": 513, "output_length": 5, "hash_ids": [0, 1]}\n'
        '{"timestamp": 27, "input_length": 512, "output_length": 1, "hash_ids": [0]}\n'
    )
    requests = read(trace, text, "mooncake")

    assert requests.arrival_ps.tolist() == [3 * MS, 27 * MS]
    assert requests.hash_block_tokens == 512


def test_mooncakes_form_without_ids_has_none(trace: Path) -> None:
    text = '{"timestamp": 3, "input_length": 513, "output_length": 5}\n'
    requests = read(trace, text, "mooncake")

    assert requests.hash_ids is None
    assert requests.hash_block_tokens == 0


def test_bailian_counts_seconds_and_blocks_of_16(trace: Path) -> None:
    text = (
        '{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 33, '
        '"output_length": 132, "type": "text", "turn": 1, "hash_ids": [1089, 1090, 1091]}\n'
    )
    requests = read(trace, text, "bailian")

    assert requests.arrival_ps.tolist() == [61_114 * MS]
    assert requests.hash_block_tokens == 16
    assert requests.hash_ids is not None
    assert requests.hash_ids.tolist() == [1089, 1090, 1091]


def test_llmservingsim_counts_nanoseconds_and_may_leave_out_the_last_partial_block(
    trace: Path,
) -> None:
    text = (
        '{"arrival_time_ns": 46926808, "input_toks": 40, "output_toks": 531, '
        '"hash_ids_blk16": [0, 1]}\n'
    )
    requests = read(trace, text, "llmservingsim")

    assert requests.arrival_ps.tolist() == [46_926_808_000]
    assert requests.hash_block_tokens == 16


@pytest.mark.parametrize(
    ("header", "tail", "second_ps"),
    [
        (BURSTGPT, ",Conversation log\n", 118 * S),
        # A turn 112.5 s after the end of the one before, which then ended at 5.5 s.
        (BURSTGPT_2, ",API log\n", 117.5 * S),
    ],
)
def test_burstgpt_skips_failures_and_counts_them(
    trace: Path, header: str, tail: str, second_ps: int
) -> None:
    extra = "" if header == BURSTGPT else "a1,0.5,"
    rows = [f"5,{extra}ChatGPT,472,18,490", f"45.25,{extra}GPT-4,0,0,0", f"118,{extra}GPT-4,9,2,11"]
    requests = read(trace, header + "".join(row + tail for row in rows), "burstgpt")

    assert requests.arrival_ps.tolist() == [5 * S, second_ps]
    assert requests.prompt_tokens.tolist() == [472, 9]
    assert requests.skipped == 1
    assert (requests.previous is not None) == (header != BURSTGPT)


def test_splitwise_reads_sizes_and_ignores_what_steers_its_simulator(trace: Path) -> None:
    text = (
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,"
        "token_size\n0,2,0,0.125,1,512,64\n"
    )
    requests = read(trace, text, "splitwise")

    assert requests.arrival_ps.tolist() == [S // 8]
    assert (requests.prompt_tokens[0], requests.output_tokens[0]) == (512, 64)


def test_vidur_may_write_small_times_with_an_exponent(trace: Path) -> None:
    requests = read(trace, VIDUR + "5e-05,10,1\n0.1,20,2\n\n", "vidur")

    assert requests.arrival_ps.tolist() == [50_000_000, S // 10]


def test_a_byte_order_mark_does_no_harm(trace: Path) -> None:
    requests = read(trace, b"\xef\xbb\xbf" + (VIDUR + "0,10,1\n").encode(), "vidur")

    assert requests.prompt_tokens.tolist() == [10]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2023-11-16 18:15:46.68,-3,5", "3: column 'ContextTokens': found '-3'; at least 1"),
        ("2023-11-16 18:15:46.68,nan,5", "3: column 'ContextTokens': found 'nan'; a whole number"),
        ("2023-11-16 18:15:46.68,,5", "3: column 'ContextTokens': found an empty value"),
        ("2023-11-16 18:15:46.68,3.5,5", "3: column 'ContextTokens': found '3.5'; a whole number"),
        ("2023-11-16 18:15:46.68,9" + "9" * 30 + ",5", "3: column 'ContextTokens': .* of 64 bits"),
        ("yesterday,3,5", "3: column 'TIMESTAMP': found 'yesterday'; a time like 2023-11-16"),
        ("2023-11-16 18:15:46+00:00,3,5", "3: column 'TIMESTAMP': .* in all rows or in none"),
        ("2023-11-16 18:15:46.68,3", "3: found 2 values, the header has 3; .* cut off?"),
        ("2023-11-16 18:15:46.68,3,5,7\n", "3: found 4 values, the header has 3$"),
        ("2023-11-16 18:15:46.68,\xff,5", "3: not UTF-8 text"),
    ],
)
def test_a_csv_fault_is_named_with_line_column_and_what_is_allowed(
    trace: Path, row: str, message: str
) -> None:
    good = AZURE + "2023-11-16 18:15:45.1,1,1\n"
    trace.write_bytes(good.encode() + row.encode("latin-1"))

    with pytest.raises(TraceError, match=f"{trace}:{message}"):
        read_trace(trace)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("nan", "found 'nan'; a number of s"),
        ("-1", "found '-1'; time counts from the trace's start"),
        ("inf", "found 'inf'; time counts from the trace's start, finite"),
        ("", "found an empty value"),
        ("soon", "found 'soon'; a number of s is needed"),
    ],
)
def test_a_time_in_seconds_must_be_a_finite_number_from_the_start_on(
    trace: Path, time: str, message: str
) -> None:
    trace.write_text(VIDUR + f"0,1,1\n{time},1,1\n")

    with pytest.raises(TraceError, match=f"{trace}:3: column 'arrived_at': {message}"):
        read_trace(trace)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"timestamp": 3, "input_length": 5', "3: not a JSON object .* cut off?"),
        ('{"timestamp": 3, "input_length": 5}', "3: column 'output_length': is missing"),
        (
            '{"timestamp": NaN, "input_length": 5, "output_length": 1, "hash_ids": [1]}',
            "3: column 'timestamp': found nan; a number of ms",
        ),
        (
            '{"timestamp": "3", "input_length": 5, "output_length": 1, "hash_ids": [1]}',
            "3: column 'timestamp': found '3'; a number of ms",
        ),
        (
            '{"timestamp": 3, "input_length": 5.5, "output_length": 1, "hash_ids": [1]}',
            "3: column 'input_length': found 5.5; a whole number",
        ),
        (
            '{"timestamp": 3, "input_length": true, "output_length": 1, "hash_ids": [1]}',
            "3: column 'input_length': found True; a whole number",
        ),
        (
            '{"timestamp": 3, "input_length": 5, "output_length": -1, "hash_ids": [1]}',
            "3: column 'output_length': found -1; at least 1",
        ),
        (
            '{"timestamp": 3, "input_length": null, "output_length": 1, "hash_ids": [1]}',
            "3: column 'input_length': found None; a whole number",
        ),
        (
            '{"timestamp": 3, "input_length": 1024, "output_length": 1, "hash_ids": [1]}',
            "3: column 'hash_ids': found 1 ids; 1024 tokens in blocks of 512 need 2",
        ),
        (
            '{"timestamp": 3, "input_length": 5, "output_length": 1, "hash_ids": [null]}',
            "3: column 'hash_ids': found .None.; a list of integers",
        ),
        (
            '{"timestamp": 3, "input_length": 5, "output_length": 1, "hash_ids": 1}',
            "3: column 'hash_ids': found 1; a list of integers",
        ),
        ("[3, 5, 1]", "3: found .*; one JSON object is needed"),
        ('{"timestamp": "\xff"}', "3: not UTF-8 text"),
        (
            '{"timestamp": 3, "input_length": 5, "output_length": 1}',
            "3: column 'hash_ids': is missing; all lines or none",
        ),
    ],
)
def test_a_json_fault_is_named_with_line_column_and_what_is_allowed(
    trace: Path, line: str, message: str
) -> None:
    good = '\n{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [0]}\n'
    trace.write_bytes(good.encode() + line.encode("latin-1"))

    with pytest.raises(TraceError, match=f"{trace}:{message}"):
        read_trace(trace)


def test_ids_that_begin_on_a_later_line_are_not_dropped_in_silence(trace: Path) -> None:
    without = '{"timestamp": 0, "input_length": 1, "output_length": 1}\n'
    trace.write_text(without + without.replace("}", ', "hash_ids": [4]}'))

    with pytest.raises(TraceError, match="2: column 'hash_ids': found ids; all lines or none"):
        read_trace(trace)


def test_a_header_alone_holds_no_requests(trace: Path) -> None:
    trace.write_text(AZURE)

    with pytest.raises(TraceError, match="holds no requests"):
        read_trace(trace)


def test_a_file_of_failures_alone_says_so(trace: Path) -> None:
    trace.write_text(BURSTGPT + "5,ChatGPT,472,0,472,API log\n")

    with pytest.raises(TraceError, match="holds no requests but 1 failed"):
        read_trace(trace)


def test_a_missing_column_comes_with_the_nearest_that_is_there(trace: Path) -> None:
    trace.write_text("TIMESTAMP,ContextToken,GeneratedTokens\n2023-11-16 18:15:46,3,4\n")

    with pytest.raises(TraceError, match=r"'ContextTokens' .* missing; is it 'ContextToken'\?"):
        read_trace(trace, "azure")


def test_a_duplicate_column_is_refused(trace: Path) -> None:
    trace.write_text(VIDUR.replace("\n", ",arrived_at\n") + "0,1,1,0\n")

    with pytest.raises(TraceError, match="'arrived_at' is a duplicate"):
        read_trace(trace)
