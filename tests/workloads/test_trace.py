from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.requests import TraceError
from workloads.trace import FORMATS, detect_format, read_trace, scale_rate, write_trace

S = 10**12


@pytest.fixture
def vidur(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,1\n1.0,20,2\n4.0,30,3\n4.25,40,4\n"
    )
    return path


def test_the_first_request_keeps_its_offset_from_the_start(vidur: Path) -> None:
    assert read_trace(vidur).arrival_ps.tolist() == [S // 2, S, 4 * S, 4 * S + S // 4]


def test_twice_the_rate_halves_the_times(vidur: Path) -> None:
    assert read_trace(vidur, rate_scale=2).arrival_ps.tolist() == [
        S // 4, S // 2, 2 * S, 2 * S + S // 8
    ]  # fmt: skip


def test_a_cut_is_made_in_the_traces_own_time_and_starts_at_zero(vidur: Path) -> None:
    cut = read_trace(vidur, start_s=1, duration_s=3.25, rate_scale=0.5)

    assert cut.prompt_tokens.tolist() == [20, 30]  # the end is not part of it
    assert cut.arrival_ps.tolist() == [0, 6 * S]


def test_a_limit_keeps_the_first_requests(vidur: Path) -> None:
    assert read_trace(vidur, limit=2).output_tokens.tolist() == [1, 2]
    assert read_trace(vidur, start_s=1, limit=1).output_tokens.tolist() == [2]


def test_rows_out_of_order_are_sorted_and_counted_and_equal_times_keep_their_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n3,1,1\n1,2,1\n3,3,1\n2,4,1\n1,5,1\n"
    )

    requests = read_trace(path)

    assert requests.prompt_tokens.tolist() == [2, 5, 4, 1, 3]
    assert requests.reordered == 3


def test_block_ids_follow_their_requests_through_sorting_and_cutting(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(
        '{"timestamp": 2000, "input_length": 1025, "output_length": 1, "hash_ids": [7, 8, 9]}\n'
        '{"timestamp": 1000, "input_length": 512, "output_length": 2, "hash_ids": [7]}\n'
        '{"timestamp": 1500, "input_length": 600, "output_length": 3, "hash_ids": [7, 5]}\n'
    )

    requests = read_trace(path, start_s=1.2)

    assert requests.hash_offsets is not None
    assert requests.hash_ids is not None
    assert requests.hash_offsets.tolist() == [0, 2, 5]
    assert requests.hash_ids.tolist() == [7, 5, 7, 8, 9]
    assert requests.hash_block_tokens == 512


def test_a_late_month_of_a_trace_longer_than_a_run_can_be_cut_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n5,10,1\n10000000,20,2\n10000001.5,30,3\n"
    )

    assert read_trace(path, start_s=10_000_000).arrival_ps.tolist() == [0, 3 * S // 2]
    with pytest.raises(TraceError, match=r"106 days.*start_s and duration_s"):
        read_trace(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"rate_scale": 0.0}, "rate_scale must be finite and positive, got 0.0"),
        ({"rate_scale": float("nan")}, "rate_scale must be finite and positive, got nan"),
        ({"start_s": -1.0}, "start_s must be finite and zero or positive"),
        ({"duration_s": float("inf")}, "duration_s must be finite"),
        ({"start_s": 1.5, "duration_s": 2.0}, "no request arrives between 1.5 s and 3.5 s"),
        ({"start_s": 99.0}, "between 99.0 s and its end; .* its last at 4.25 s"),
        ({"format": "vidurr"}, "unknown trace format 'vidurr'; is it 'vidur'?"),
        ({"format": "azure"}, "column 'TIMESTAMP' of format azure is missing"),
    ],
)
def test_impossible_wishes_are_refused(
    vidur: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        read_trace(vidur, **options)  # type: ignore[arg-type]


@given(
    times=st.lists(st.integers(0, 2**52), min_size=1, max_size=20),
    rate=st.floats(0.01, 1000, allow_nan=False),
)
def test_scaling_is_exact_division_with_halves_to_even(times: list[int], rate: float) -> None:
    arrival_ps = np.sort(np.array(times, dtype=np.int64))

    expected = [round(Fraction(int(each)) / Fraction(str(rate))) for each in arrival_ps]
    assert scale_rate(arrival_ps, rate).tolist() == expected


def test_scaling_rounds_a_half_to_the_even_picosecond() -> None:
    odd = np.array([1, 3, 5, 7], dtype=np.int64)

    assert scale_rate(odd, 2).tolist() == [0, 2, 2, 4]


def test_our_own_file_gives_back_what_was_written(vidur: Path, tmp_path: Path) -> None:
    requests = read_trace(vidur)
    path = tmp_path / "out.parquet"
    path.write_text("whatever stood here is replaced")

    write_trace(requests, path)

    assert detect_format(path) == "parquet"
    assert read_trace(path).digest == requests.digest
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.parquet", "trace.csv"]


@pytest.mark.parametrize("target", ["nowhere/out.parquet", "folder", "trace.csv/out.parquet"])
def test_a_place_that_cannot_be_written_is_named_and_left_clean(
    vidur: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(TraceError, match=f"cannot write .*{target}"):
        write_trace(read_trace(vidur), tmp_path / target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "trace.csv"]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nope\.csv: No such file"):
        read_trace(tmp_path / "nope.csv")
    with pytest.raises(TraceError, match="cannot read trace"):
        read_trace(tmp_path)


def test_an_empty_file_holds_nothing_whatever_its_format(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.touch()

    for name in FORMATS:
        with pytest.raises(TraceError, match="the file is empty"):
            read_trace(path, name)


def test_an_unknown_header_gets_the_nearest_format_with_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokns,GeneratedTokens\n")

    with pytest.raises(TraceError, match=r"the nearest is azure, which has .*'ContextTokens'"):
        read_trace(path)
