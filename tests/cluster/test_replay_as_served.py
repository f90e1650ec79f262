"""Where no transfers contend, a replay takes what the serving engine takes, to the picosecond."""

from typing import Any

import numpy as np
import pytest

from cluster import ReplayRun, Run, replay_trace, simulate
from corsair_common.units import Integers

BUDGET = 128
HOST = {"hardware_set": {"host.overhead_s": 3e-6}}
ALONE = {"fabric": {"contention": False}}
"""A stage's sends and the next chunk's all-reduces share the x16 of its cards; here they do not."""
SHARDED = {"collectives": {"norms": "sharded"}}
RACK_70B: dict[str, Any] = {
    "model": "llama-3.1-70b",
    "cluster": {"servers_per_rack": 8},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
}


def on_cards(model: str, tensor: int, pipeline: int, mode: str = "performance") -> dict[str, Any]:
    return {
        "model": model,
        "cluster": {"servers_per_rack": 2},
        "plan": {
            "tensor_parallel_size": tensor,
            "pipeline_parallel_size": pipeline,
            "replicas": 1,
        },
        "memory": {"mode": mode},
        "scheduler": {"max_num_batched_tokens": BUDGET},
    }


def on_experts() -> dict[str, Any]:
    """Tokens are split over the chiplets between all layers, and weights in SRAM."""
    on = on_cards("qwen3-30b-a3b", 4, 4) | SHARDED | {"formats": {"weights": "mxint4"}}
    return on | {"plan": on["plan"] | {"expert_parallel_size": 4}}


def served(on: dict[str, Any], *, prompts: int, prompt_tokens: int, output_tokens: int = 1) -> Run:
    """All prompts are there at time 0."""
    traffic = {
        "requests": prompts,
        "arrivals": {"concurrency": prompts},
        "prompt_tokens": {"fixed": prompt_tokens},
        "output_tokens": {"fixed": output_tokens},
    }
    return simulate({**on, "workload": {"synthetic": traffic}})


def replayed(on: dict[str, Any], **program: Any) -> ReplayRun:
    return replay_trace({**on, **ALONE, "workload": {"program": program}})


def first_tokens_ps(run: ReplayRun) -> list[int]:
    """When each prompt's first token is sampled on the last stage."""
    program = run.machine.program
    assert program.repeats == 1
    sample = program.operations.name == program.words["name"].index("sample")
    return sorted(set(run.outcome.replayed.end_ps[sample].tolist()))


def back_ps(run: ReplayRun) -> int:
    """How long a token takes from the last stage back to the first."""
    return run.outcome.replayed.makespan_ps - first_tokens_ps(run)[-1]


def in_order(column: Integers) -> list[int]:
    return sorted(column.tolist())


def assert_sends_waited(run_ps: list[int], served_ps: list[int], most: float) -> None:
    """Later by what sends wait for an x16 that the next chunk's reductions over four cards fill."""
    waited = np.array(run_ps) / np.array(served_ps) - 1

    assert (waited > 0).all()
    assert (waited < most).all()


@pytest.mark.parametrize("host", [{}, HOST], ids=["no host time", "host time"])
def test_sends_of_a_prompt_wait_for_reductions_over_four_cards(host: dict[str, Any]) -> None:
    on = on_cards("llama-3.1-8b", 4, 2) | host
    program = {"phase": "prefill", "batch": 1, "prompt_tokens": 7 * BUDGET}
    run = replay_trace({**on, "workload": {"program": program}})

    expected = served(on, prompts=1, prompt_tokens=7 * BUDGET).outcome.served.first_token_ps
    assert_sends_waited(first_tokens_ps(run), in_order(expected), 0.002)


@pytest.mark.parametrize("host", [{}, HOST], ids=["no host time", "host time"])
@pytest.mark.parametrize(
    ("on", "prompts", "chunks"),
    [
        (on_cards("llama-3.1-8b", 8, 1), 1, 3),
        (on_cards("llama-3.1-8b", 2, 3), 1, 7),
        (on_cards("llama-3.1-8b", 2, 8), 3, 5),
        (on_cards("llama-3.1-8b", 4, 2, "capacity"), 2, 3),
        (on_cards("gpt-oss-20b", 4, 4, "capacity"), 4, 3),
        (on_cards("qwen3-30b-a3b", 4, 3, "capacity"), 2, 5),
        (on_cards("llama-3.1-8b", 4, 2) | SHARDED, 1, 3),
        (on_experts(), 2, 3),
    ],
    ids=[
        *("one stage", "three stages", "eight stages", "LPDDR", "windows", "experts"),
        *("sharded norms", "experts with sharded norms"),
    ],
)
def test_prompts_are_read_as_fast_as_they_are_served(
    on: dict[str, Any], prompts: int, chunks: int, host: dict[str, Any]
) -> None:
    on = on | host
    tokens = chunks * BUDGET
    run = replayed(on, phase="prefill", batch=prompts, prompt_tokens=tokens)

    expected = served(on, prompts=prompts, prompt_tokens=tokens).outcome.served.first_token_ps
    assert first_tokens_ps(run) == in_order(expected)


@pytest.mark.parametrize("last", [1, 77])
def test_a_shorter_last_chunk_is_served_alike(last: int) -> None:
    on = on_cards("llama-3.1-8b", 2, 6)
    run = replayed(on, phase="prefill", batch=1, prompt_tokens=4 * BUDGET + last)

    expected = served(on, prompts=1, prompt_tokens=4 * BUDGET + last)
    assert first_tokens_ps(run) == expected.outcome.served.first_token_ps.tolist()


@pytest.mark.parametrize("host", [{}, HOST], ids=["no host time", "host time"])
@pytest.mark.parametrize("pipeline", [1, 2, 4])
def test_a_lone_sequence_decodes_as_it_is_served(pipeline: int, host: dict[str, Any]) -> None:
    """Ten tokens after the first: ten steps, each with the token's way back (before or after)."""
    on = on_cards("llama-3.1-8b", 8 // pipeline, pipeline) | host
    run = replayed(on, phase="decode", batch=1, context=60, steps=10, slots=1)

    one = served(on, prompts=1, prompt_tokens=59, output_tokens=11).outcome.served
    expected = one.finish_ps - one.first_token_ps  # contexts of 60 to 69 tokens
    assert run.outcome.replayed.makespan_ps == int(expected[0])


def test_host_time_is_spent_once_a_batch_at_the_first_stage() -> None:
    """Nine chunks through four stages wait for it nine times in a row; a decode step once."""
    on = on_cards("llama-3.1-8b", 2, 4)
    prompt = {"phase": "prefill", "batch": 1, "prompt_tokens": 9 * BUDGET, "slots": 9}
    decode = {"phase": "decode", "batch": 1, "context": 60, "steps": 5, "slots": 1}

    for program, batches in ((prompt, 9), (decode, 5)):
        without, spent = (replayed(on | host, **program) for host in ({}, HOST))
        grown = spent.outcome.replayed.makespan_ps - without.outcome.replayed.makespan_ps
        assert grown == batches * 3_000_000


def test_a_chunk_starts_when_the_one_before_has_left_the_first_stage() -> None:
    on = on_cards("llama-3.1-8b", 4, 4)
    run = replayed(on, phase="prefill", batch=1, prompt_tokens=4 * BUDGET)
    own, times = run.machine.program.operations, run.outcome.replayed
    first = [(own.rank == 0) & (own.stream <= 1) & (own.microbatch == chunk) for chunk in range(4)]

    starts = [int(times.start_ps[rows].min()) for rows in first]
    ends = [int(times.end_ps[rows].max()) for rows in first]

    assert starts[1:] == ends[:-1]
    assert set(own.step.tolist()) == {0}


def test_no_more_chunks_than_slots_are_in_flight() -> None:
    """With one slot a chunk waits until the one before has left the last stage."""
    on = on_cards("llama-3.1-8b", 4, 4)
    alone, streamed = (
        replayed(on, phase="prefill", batch=1, prompt_tokens=4 * BUDGET, slots=slots)
        for slots in (1, 4)
    )
    own, times = alone.machine.program.operations, alone.outcome.replayed
    start, end = [], []
    for chunk in range(4):
        rows = (own.step == chunk) & (own.stream <= 1)
        start.append(int(times.start_ps[rows].min()))
        end.append(int(times.end_ps[rows].max()))

    assert start[1:] == end[:-1]
    assert streamed.outcome.replayed.makespan_ps < 0.5 * alone.outcome.replayed.makespan_ps


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "ms"), [(2048, 33.8), (12_000, 78.8)])
def test_a_long_prompt_streams_through_a_rack(tokens: int, ms: float) -> None:
    run = replayed(RACK_70B, phase="prefill", batch=1, prompt_tokens=tokens)

    expected = served(RACK_70B, prompts=1, prompt_tokens=tokens)
    assert first_tokens_ps(run) == expected.outcome.served.first_token_ps.tolist()
    assert first_tokens_ps(run)[0] / 1e9 == pytest.approx(ms, rel=0.01)
    assert back_ps(run) == int(expected.machine.prices.return_ps[0])
