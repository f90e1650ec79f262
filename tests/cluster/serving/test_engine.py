"""The compiled engine's entry point: times by hand, windows, refusals."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.tables import STEP, PriceTables, Records, expanded
from cluster.serving.engine import COPIED, RunTooLongError, run, serve, served_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.kernel.advance import advance
from cluster.serving.kernel.build import build
from cluster.serving.kernel.state import LAST_PS, State
from corsair_common.names import Status
from corsair_common.units import NEVER

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]

LIMITS = Limits(
    max_num_seqs=8, max_num_batched_tokens=4, block_size=2, blocks=100, max_model_len=100
)


def make_arrivals(*rows: tuple[int, int, int]) -> Arrivals:
    """Requests of (arrival, prompt, output)."""
    arrival, prompt, output = np.array(rows, np.int64).reshape(-1, 3).T
    return Arrivals(
        arrival_ps=arrival,
        prompt_tokens=prompt,
        output_tokens=output,
        router_choice=np.zeros(len(rows), np.int64),
        key_offsets=np.zeros(len(rows) + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )


@pytest.fixture
def tables(linear_tables: Callable[..., PriceTables]) -> PriceTables:
    """A step of t tokens takes 10 + t picoseconds."""
    tokens = np.arange(9)
    return linear_tables(np.where(tokens > 0, 10 + tokens, 0), 8)


def finish_state(problem: Problem, window_steps: int) -> tuple[State, Records]:
    """The state after a run in windows of so many steps, and the whole log."""
    state = build(*problem)
    windows: list[Records] = []
    run(state, on_cycles=lambda log: windows.append(log.copy()), window_steps=window_steps)
    return state, np.concatenate([np.zeros(0, STEP), *windows])


def test_a_request_alone_takes_its_chunks_and_then_a_step_for_each_token(
    tables: PriceTables,
) -> None:
    served = serve(make_arrivals((100, 5, 3)), tables, LIMITS)

    assert served.first_scheduled_ps.tolist() == [100]
    assert served.first_token_ps.tolist() == [100 + 14 + 11]  # chunks of 4 and 1 tokens
    assert served.finish_ps.tolist() == [100 + 14 + 11 + 11 + 11]
    assert served.itl_count[11] == served.itl_count.sum() == 2
    assert served.end_ps == 147


def test_two_requests_of_one_moment_share_a_step(tables: PriceTables) -> None:
    served = serve(make_arrivals((0, 1, 2), (0, 3, 1)), tables, LIMITS)

    assert served.first_token_ps.tolist() == [14, 14]
    assert served.finish_ps.tolist() == [14 + 11, 14]


def test_in_a_pipeline_of_two_the_second_slot_fills_the_first_stage_meanwhile(
    constant_tables: Callable[..., PriceTables],
) -> None:
    served = serve(make_arrivals((0, 1, 2), (1, 1, 1)), constant_tables([10, 7]), LIMITS)

    assert served.first_token_ps.tolist() == [17, 27]  # the second starts at 10
    assert served.finish_ps.tolist() == [37, 27]  # the first returns at 17, starts at 20


def test_the_log_has_the_measures_of_each_step(tables: PriceTables) -> None:
    _, log = finish_state((make_arrivals((0, 5, 3)), tables, LIMITS), 64)

    assert log["tokens"].tolist() == [4, 1, 1, 1]
    assert log["prefill_tokens"].tolist() == [4, 1, 0, 0]
    assert log["emitted"].tolist() == [0, 1, 1, 1]
    assert log["finished"].tolist() == [0, 0, 0, 1]
    assert log["used_blocks"].tolist() == [2, 3, 3, 4]  # 4, 5, 6 and 7 tokens, two a block
    assert log["decode_blocks"].tolist() == [0, 0, 1, 1]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_windows_have_no_effect_tokens_are_conserved_and_all_blocks_are_freed(
    data: st.DataObject, serving_problems: st.SearchStrategy[Problem]
) -> None:
    problem = data.draw(serving_problems)

    state, log = finish_state(problem, 4096)
    stepwise, same_log = finish_state(problem, 1)

    for name, array in state._asdict().items():
        if name not in SEEN_OF_CYCLES:
            one, other = (_lasting(each, name) for each in (array, getattr(stepwise, name)))
            np.testing.assert_array_equal(one, other, err_msg=name)
    log, same_log = (
        rows[np.argsort(rows["replica"], kind="stable")] for rows in map(expanded, (log, same_log))
    )
    np.testing.assert_array_equal(log, same_log)
    completed = state.requests["status"] == Status.COMPLETED
    assert log["emitted"].sum() == problem[0].output_tokens[completed].sum()
    assert log["finished"].sum() == completed.sum()
    for name in ("used", "running", "partial", "queued", "stale"):
        assert not state.replicas[name].any(), name
    assert not state.held.any()
    assert np.all(state.requests["finish_ps"][completed] > 0)
    kept, spent = served_of(state), served_of(stepwise, spent=True)
    for name in COPIED:
        np.testing.assert_array_equal(getattr(kept, name), getattr(spent, name), err_msg=name)
    assert free_blocks(state) == len(state.replicas) * state.pool.shape[1] or not (
        problem[2].prefix_caching
    )


SEEN_OF_CYCLES = ("marks", "rows", "works")
"""Arrays that depend on the windows of the log, and on steps that were not computed one by one."""


def _lasting(array: Records, name: str) -> Records:
    """The fields that do not."""
    if name not in ("control", "replicas", "slots"):
        return array
    names = array.dtype.names or ()
    seen = ("serial", "now_ps", "heap", "place", "marked")
    return array[[field for field in names if field not in seen]]


def free_blocks(state: State) -> int:
    """Length of all free lists, walked from their heads."""
    count = 0
    for replica, pool in zip(state.replicas, state.pool, strict=True):
        block = replica["free_head"]
        while block != NEVER and count <= state.pool.size:
            count += 1
            block = pool[block]["after"]
    return count


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_the_kernel_is_compiled_for_one_type_of_any_input(tables: PriceTables) -> None:
    arrivals = make_arrivals((0, 5, 3), (5, 2, 2))
    for column in (arrivals.arrival_ps, tables.linear_ps):
        column.flags.writeable = False  # as Arrow and Ray hand them out
    narrow = replace(arrivals, prompt_tokens=arrivals.prompt_tokens.astype(np.int32))

    serve(arrivals, tables, LIMITS)
    serve(narrow, tables, replace(LIMITS, concurrency=1))

    kernel: Any = advance
    assert len(kernel.signatures) == 1


class Watcher:
    """Counts its calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def started(self, total_requests: int) -> None:
        self.seen.append((total_requests,))

    def advanced(self, now_ps: int, done: int, tokens: int) -> None:
        self.seen.append((now_ps, done, tokens))

    def finished(self) -> None:
        self.seen.append(())


def test_an_observer_hears_of_the_start_the_windows_and_the_end(tables: PriceTables) -> None:
    watcher = Watcher()

    serve(make_arrivals((0, 1, 2), (0, 99, 9)), tables, LIMITS, observer=watcher)

    assert watcher.seen == [(2,), (22, 2, 2), ()]


def test_nothing_to_do_is_done_at_once(tables: PriceTables) -> None:
    served: Served = serve(make_arrivals(), tables, LIMITS)

    assert len(served.finish_ps) == served.end_ps == 0


@pytest.mark.parametrize(
    ("limits", "arrivals", "message"),
    [
        ({"blocks": 0}, {}, "blocks must be at least 1, got 0"),
        ({"router": "least_kw"}, {}, "did you mean least_kv?"),
        ({"max_num_batched_tokens": 9}, {}, r"linear_ps has shape \(1, 9\)"),
        ({}, {"output_tokens": np.array([1, 0])}, r"output_tokens\[1\] is 0"),
        ({}, {"arrival_ps": np.array([5, 4])}, "request 1 arrives before"),
        ({}, {"arrival_ps": np.array([5.0, np.nan])}, "arrival_ps must be 2 integers"),
        ({}, {"prompt_tokens": np.array([5])}, "prompt_tokens must be 2 integers"),
        ({"router": "random"}, {"router_choice": np.array([0, 1])}, r"allowed is 0 to 0"),
        ({"prefix_caching": True}, {"keys": np.array([3])}, "must rise from 0 to the 1 keys"),
        (
            {"prefix_caching": True},
            {"keys": np.array([0, 0]), "key_offsets": np.array([0, 0, 2]), "key_count": 1},
            "request 1 has 2 keys, but only 1 full blocks of 2 tokens",
        ),
        ({"long_prefill_token_threshold": -1}, {}, "must be 0 .none. or more, got -1"),
        (
            {"prefix_caching": True, "windowed": KvCapacity.of_blocks(100, 100)},
            {},
            "windowed layers free no blocks with prefix_caching",
        ),
        ({}, {"previous": np.array([-1, 1]), "delay_ps": np.zeros(2, int)}, r"previous\[1\] is 1"),
        ({}, {"previous": np.array([-1, 0]), "delay_ps": np.array([0, -1])}, r"delay_ps\[1\] is"),
        (
            {"concurrency": 1},
            {"previous": np.array([-1, 0]), "delay_ps": np.zeros(2, int)},
            "sessions need open arrivals, got concurrency 1",
        ),
        ({}, {"carried_tokens": np.array([2, 1])}, r"carried_tokens\[1\] is 1, allowed is 0 to 0"),
    ],
)
def test_senseless_input_is_refused_by_name(
    tables: PriceTables, limits: dict[str, Any], arrivals: dict[str, Any], message: str
) -> None:
    given_arrivals = replace(make_arrivals((0, 5, 3), (5, 1, 2)), **arrivals)

    with pytest.raises(ValueError, match=message):
        serve(given_arrivals, tables, replace(LIMITS, **limits))


def test_batches_are_composed_ahead_with_one_stage_only(
    constant_tables: Callable[..., PriceTables],
) -> None:
    with pytest.raises(ValueError, match="async_scheduling needs one pipeline stage, got 2"):
        serve(
            make_arrivals((0, 1, 1)),
            constant_tables([10, 10]),
            replace(LIMITS, async_scheduling=True),
        )


def test_a_run_past_106_days_is_refused(tables: PriceTables) -> None:
    with pytest.raises(RunTooLongError, match=r"a run may last 106 days"):
        serve(make_arrivals((LAST_PS, 1, 1)), tables, LIMITS)


def test_a_replica_that_works_without_any_output_is_reported(tables: PriceTables) -> None:
    state = build(make_arrivals((0, 20, 1)), tables, LIMITS)
    state.control["barren_limit"] = 2  # three chunks without a token are too many

    with pytest.raises(RuntimeError, match="nothing advances"):
        run(state)


def held_together_elsewhere(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Hold both engines together in another process, whose kernel is made differently."""
    tests = Path(__file__).parent / "test_engines_agree.py"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=Path(__file__).resolve().parents[3],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_uncompiled_kernel_agrees_too() -> None:
    done = held_together_elsewhere(NUMBA_DISABLE_JIT="1", CORSAIR_SIM_EXAMPLES="10")

    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_kernel_never_leaves_its_arrays() -> None:
    done = held_together_elsewhere(CORSAIR_SIM_BOUNDSCHECK="1", CORSAIR_SIM_EXAMPLES="60")

    assert done.returncode == 0, done.stdout
