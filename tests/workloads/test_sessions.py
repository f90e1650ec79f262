"""Traces of sessions: who follows whom, how long after, and what prefix that makes."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from workloads.readers.trace_format import ReadOptions
from workloads.requests import Requests, TraceError
from workloads.session_synthetic import (
    ExponentialDelay,
    FixedDelay,
    Sessions,
    at_rate,
    generate_sessions,
)
from workloads.sessions import sequence_keys, turns_of
from workloads.synthetic import Closed, Fixed, Poisson, Uniform
from workloads.trace import read_trace, write_trace

MS, S = 10**9, 10**12

AGENTS = (
    '{"input_toks": 48, "output_toks": 4, "arrival_time_ns": 500}\n'
    '{"session_id": "a", "arrival_time_ns": 1000, "sub_requests": ['
    '{"input_toks": 20, "output_toks": 5, "tool_duration_ns": 100}, '
    '{"input_toks": 40, "output_toks": 5, "tool_duration_ns": 7}, '
    '{"input_toks": 60, "output_toks": 5, "tool_duration_ns": 0}]}\n'
)


def chat(number: int, parent: int, time_s: float, turn: int = 1) -> str:
    return (
        f'{{"chat_id": {number}, "parent_chat_id": {parent}, "timestamp": {time_s}, "turn": {turn},'
        ' "input_length": 16, "output_length": 2, "type": "text", "hash_ids": [7]}\n'
    )


def turn(session: str, prompt: int, **keys: object) -> str:
    own = "".join(f', "{name}": {value}' for name, value in keys.items())
    return f'{{"session_id": "{session}", "input_length": {prompt}, "output_length": 3{own}}}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def read(path: Path, text: str, **options: object) -> Requests:
    path.write_text(text)
    return read_trace(path, **options)  # type: ignore[arg-type]


def columns(requests: Requests) -> dict[str, list[int]]:
    names = ("arrival_ps", "session", "previous", "delay_ps")
    return {name: np.asarray(getattr(requests, name)).tolist() for name in names}


def test_the_tool_of_a_sub_request_delays_the_next_one(trace: Path) -> None:
    # Arrivals are the earliest ones, without the time to answer: 1000 ns, + 100, + 7.
    assert columns(read(trace, AGENTS)) == {
        "arrival_ps": [500_000, 1_000_000, 1_100_000, 1_107_000],
        "session": [0, 1, 1, 1],
        "previous": [-1, -1, 1, 2],
        "delay_ps": [0, 0, 100_000, 7_000],
    }


def test_a_session_id_chains_lines_with_delays_of_any_unit_or_times_of_their_own(
    trace: Path,
) -> None:
    lines = [
        turn("a", 9, timestamp=1000),
        turn("b", 9, timestamp=1200),
        turn("a", 20, delay=500),
        turn("b", 20, delay_s=2),
        turn("a", 30, delay_ms=0.5),
        turn("b", 30, timestamp=9000),
    ]
    # a: 1 s, 1.5 s, 1.5005 s; b: 1.2 s, 3.2 s, and 9 s: its own time, or when the one before ends.
    assert columns(read(trace, "".join(lines))) == {
        "arrival_ps": [S, 1200 * MS, 1500 * MS, 1500 * MS + MS // 2, 3200 * MS, 9 * S],
        "session": [0, 1, 0, 0, 1, 1],
        "previous": [-1, -1, 0, 2, 1, 4],
        "delay_ps": [0, 0, 500 * MS, MS // 2, 2 * S, 0],
    }


def test_a_chat_follows_its_parent_and_one_cut_off_begins(trace: Path) -> None:
    text = chat(5, -1, 10.0) + chat(8, 5, 20.0, 2) + chat(9, 5, 30.0, 2) + chat(7, 4, 15.0, 3)

    assert columns(read(trace, text)) == {
        "arrival_ps": [10 * S, 15 * S, 20 * S, 30 * S],
        "session": [0, 1, 0, 0],
        "previous": [-1, -1, 0, 0],  # 8 and 9 both continue 5; the parent of 7 came before the file
        "delay_ps": [0, 0, 0, 0],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (chat(5, -1, 1.0) + chat(6, 4, 2.0), ":2: column 'parent_chat_id': found 4, which is the"),
        (chat(5, 6, 1.0) + chat(6, 5, 2.0), ":1: .* follow one another in a loop"),
        (AGENTS.replace(": 7}", ": -7}"), ":2: column 'tool_duration_ns': found -7"),
        (AGENTS.replace('"output_toks": 5', '"output_toks": "x"'), ":2: column 'output_toks'"),
        (turn("a", 9), ":1: the first turn of session 'a' needs an arrival time"),
    ],
)
def test_turns_that_cannot_be_are_named_by_line_and_key(
    trace: Path, text: str, message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        read(trace, text)


def test_a_rate_scales_arrivals_and_no_delay(trace: Path) -> None:
    lines = turn("a", 9, timestamp=4000) + turn("a", 20, delay=1000) + turn("b", 9, timestamp=6000)
    requests = read(trace, lines, rate_scale=4.0)

    assert columns(requests)["arrival_ps"] == [S, 1500 * MS, 2 * S]
    assert columns(requests)["previous"] == [-1, -1, 0]


def test_lengths_of_what_is_added_become_whole_prompts(trace: Path) -> None:
    lines = turn("a", 9, timestamp=0) + turn("a", 20, delay=1000) + turn("a", 5, delay=1000)
    requests = read(trace, lines, options=ReadOptions(later_prompts="added"))

    # An answer has 3 tokens.
    assert requests.prompt_tokens.tolist() == [9, 9 + 3 + 20, 32 + 3 + 5]
    trace.write_text('{"timestamp": 0, "input_length": 9, "output_length": 1}')
    with pytest.raises(TraceError, match="later_prompts: added is for sessions; found none"):
        read_trace(trace, options=ReadOptions(later_prompts="added"))


def test_a_failed_turn_is_left_out_and_its_follower_follows_the_one_before(trace: Path) -> None:
    lines = turn("a", 9, timestamp=0) + turn("a", 0, delay=1000) + turn("a", 20, delay=500)
    requests = read(trace, lines)

    assert requests.skipped == 1
    assert columns(requests)["previous"] == [-1, 0]

    lines = turn("a", 0, timestamp=2000) + turn("a", 9, delay=1000) + turn("a", 20, delay=500)
    assert columns(read(trace, lines))["arrival_ps"] == [3 * S, 3500 * MS]


def test_keys_of_json_lines_are_named_by_the_user(trace: Path) -> None:
    lines = [
        '{"who": "x", "timestamp": 1000, "input_length": 9, "output_length": 2}',
        '{"who": "x", "think": 3000, "input_length": 20, "output_length": 2}',
    ]
    requests = read(trace, "\n".join(lines), options=ReadOptions(session="who", delay="think"))

    assert columns(requests)["arrival_ps"] == [S, 4 * S]
    assert columns(requests)["delay_ps"] == [0, 3 * S]


def test_a_cut_leaves_later_turns_to_begin_at_their_times(trace: Path) -> None:
    requests = read(
        trace, chat(5, -1, 10.0) + chat(8, 5, 20.0, 2) + chat(9, 8, 30.0, 3), start_s=15
    )

    assert columns(requests)["arrival_ps"] == [5 * S, 15 * S]
    assert columns(requests)["previous"] == [-1, 0]


def test_sessions_come_back_from_our_parquet(trace: Path, tmp_path: Path) -> None:
    requests = read(trace, AGENTS)
    write_trace(requests, tmp_path / "own.parquet")

    again = read_trace(tmp_path / "own.parquet")
    assert again.digest == requests.digest
    assert again.previous is not None


def test_columns_of_a_csv_are_named_by_the_user(trace: Path) -> None:
    trace.write_text("t,in,out,who,think\n1,9,2,x,0\n0,9,2,y,0\n9,20,2,x,3\n5,9,2,,0\n")
    options = ReadOptions(
        time="t",
        prompt_tokens="in",
        output_tokens="out",
        time_unit="s",
        session="who",
        delay="think",
    )

    assert columns(read_trace(trace, options=options)) == {
        "arrival_ps": [0, S, 4 * S, 5 * S],
        "session": [0, 1, 1, 2],
        "previous": [-1, -1, 1, -1],
        "delay_ps": [0, 0, 3 * S, 0],
    }


def test_turns_count_from_the_first_of_their_session() -> None:
    assert turns_of(np.array([-1, 0, -1, 1, 0])).tolist() == [0, 1, 0, 2, 1]


def requests_of(*rows: tuple[int, int, int]) -> Requests:
    """Requests of (prompt, output, previous)."""
    prompt, output, previous = np.array(rows, np.int64).T.copy()
    zeros = np.zeros(len(rows), np.int64)
    return Requests(
        arrival_ps=zeros,
        prompt_tokens=prompt,
        output_tokens=output,
        session=zeros,
        previous=previous,
        delay_ps=zeros,
    )


def keys_of(requests: Requests, block_size: int) -> list[list[int]]:
    offsets, keys, key_count = sequence_keys(requests, block_size)
    assert keys.max(initial=-1) < key_count
    return [keys[one:other].tolist() for one, other in pairwise(offsets)]


def test_without_ids_a_prompt_that_is_long_enough_repeats_the_whole_turn_before() -> None:
    requests = requests_of(
        (4, 4, -1),  # 7 tokens with KV: 3 full blocks of 2
        (12, 2, 0),  # repeats 8 tokens: blocks 0 1 2, of which the fourth has no key yet
        (9, 2, 1),  # shorter than the turn before: begins anew
        (8, 1, 2),  # shorter than 9 + 2, and than 9
        (10, 1, 2),  # no room for the answer: repeats the prompt of 9
        (5, 5, -1),  # alone
    )

    assert keys_of(requests, 2) == [
        [0, 1, 2],
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
        [11, 12, 13, 14],
        [6, 7, 8, 9, 15],
        [],
    ]


def test_with_ids_an_answer_has_the_keys_of_the_prompt_that_repeats_it() -> None:
    # Blocks of 4 tokens. The first prompt is 0 and half of 1; the second 0 and 2 to 4, of which the
    # first answer (6 tokens, one without KV) fills block 2, so up to 11 tokens: 2 blocks.
    requests = replace(
        requests_of((6, 6, -1), (16, 1, 0), (16, 1, -1)),
        hash_offsets=np.array([0, 2, 6, 10]),
        hash_ids=np.array([0, 1, 0, 2, 3, 4, 0, 5, 6, 7]),
        hash_block_tokens=4,
    )

    first, second, other = keys_of(requests, 4)
    assert first == second[:2]
    assert other[:1] == second[:1]
    assert not set(other[1:]) & set(second)


def drawn(requests: int = 500, system_tokens: int = 0) -> Requests:
    return generate_sessions(
        requests,
        Poisson(rate_per_s=2.0),
        Uniform(low=10, high=90),
        Uniform(low=1, high=20),
        np.random.default_rng(3),
        Sessions(
            turns=Uniform(low=1, high=5),
            added_tokens=Fixed(tokens=7),
            delay_s=ExponentialDelay(mean_s=2.0),
            system_tokens=system_tokens,
        ),
    )


def test_a_drawn_turn_has_the_prompt_before_its_answer_and_what_is_added() -> None:
    requests = drawn()
    previous = np.asarray(requests.previous)
    later = np.flatnonzero(previous != -1)
    before = previous[later]

    assert len(requests) == 500
    assert np.array_equal(
        requests.prompt_tokens[later],
        requests.prompt_tokens[before] + requests.output_tokens[before] + 7,
    )
    assert np.array_equal(
        requests.arrival_ps[later],
        requests.arrival_ps[before] + np.asarray(requests.delay_ps)[later],
    )
    assert np.array_equal(np.asarray(requests.session)[later], np.asarray(requests.session)[before])
    assert turns_of(previous).max() == 4
    assert drawn().digest == requests.digest


def test_another_rate_moves_first_turns_and_keeps_delays() -> None:
    requests = drawn()
    faster = at_rate(requests, 2.0)

    first, faster_first = (
        each.arrival_ps[np.asarray(each.previous) == -1] for each in (requests, faster)
    )

    assert np.abs(first - 2 * faster_first).max() <= 1  # picoseconds, rounded
    assert sorted(np.asarray(faster.delay_ps)) == sorted(np.asarray(requests.delay_ps))


def test_a_system_prompt_is_the_prefix_of_every_session() -> None:
    requests = drawn(system_tokens=40)

    assert requests.prompt_tokens.min() >= 40
    assert {tuple(own[:5]) for own in keys_of(requests, 8)} == {(0, 1, 2, 3, 4)}


def test_sessions_need_open_arrivals() -> None:
    with pytest.raises(TraceError, match="sessions need open-loop arrivals"):
        generate_sessions(
            5,
            Closed(concurrency=2),
            Fixed(tokens=1),
            Fixed(tokens=1),
            np.random.default_rng(0),
            Sessions(
                turns=Fixed(tokens=2), added_tokens=Fixed(tokens=1), delay_s=FixedDelay(delay_s=1.0)
            ),
        )
