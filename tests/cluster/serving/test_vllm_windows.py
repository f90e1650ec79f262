"""Blocks of windowed layers, beside those that vLLM's own scheduler held.

Recorded: vLLM 0.33.0, ``Scheduler`` with one group of ``SlidingWindowSpec`` (with a group of full
attention beside it the same), blocks of ``SlidingWindowManager.req_to_blocks`` that are not null
after each ``schedule()``. Ours is an upper bound: vLLM frees by where the window's first token
lies in its block, we count as if it lay at the worst place.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.interface import Arrivals, Limits, Served

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]


def limits_of(roomy: Limits, window: int, block: int, budget: int, blocks: int) -> Limits:
    """Layers that see ``window`` tokens, and nothing else."""
    capacity = KvCapacity(
        windows=np.array([window]),
        block_units=np.array([[1]]),
        room_units=np.array([blocks]),
        sram_units=2**62,
    )
    return replace(
        roomy,
        max_num_seqs=8,
        max_num_batched_tokens=budget,
        block_size=block,
        max_model_len=2000,
        windowed=capacity,
    )


@pytest.mark.parametrize(
    ("sizes", "held"),
    [
        # (window, block, budget, prompt, answer); vLLM's most, its fewest and most while decoding;
        # our most, and most while decoding
        ((128, 16, 256, 1000, 40), ((24, 8, 9), (25, 9))),
        ((128, 16, 64, 1000, 40), ((12, 8, 9), (13, 9))),
        ((128, 16, 1000, 1000, 40), ((63, 8, 9), (63, 9))),  # one chunk: equal
        ((128, 16, 256, 100, 80), ((9, 7, 9), (9, 9))),
        ((17, 16, 32, 100, 40), ((3, 2, 2), (4, 3))),
        ((64, 1, 16, 200, 30), ((79, 64, 64), (80, 65))),
        ((8, 4, 4, 16, 10), ((3, 2, 3), (4, 3))),
        ((5, 4, 8, 20, 12), ((3, 2, 2), (4, 3))),
    ],
)
def test_a_window_holds_what_vllms_holds_or_one_block_more(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
    sizes: tuple[int, int, int, int, int],
    held: tuple[tuple[int, int, int], tuple[int, int]],
) -> None:
    window, block, budget, prompt, output = sizes
    vllm, ours = held
    limits = limits_of(roomy, window, block, budget, 5000)
    tables = constant_tables(stage_ps=[10], budget=budget)

    _, steps = run_and_log(engine, (make_arrivals((0, prompt, output)), tables, limits))

    used = steps["used_blocks"]
    decoding = used[-(output - 1) :]
    assert (used.max(), decoding.max()) == ours
    assert 0 <= used.max() - vllm[0] <= 1
    assert 0 <= decoding.max() - vllm[2] <= 1
    assert decoding.min() >= vllm[1]


@pytest.mark.parametrize(
    ("blocks", "vllm"),
    [
        # requests running in each step; in all of these ours are the same
        (6, [1] * 40),
        (9, [1, 1] + [2] * 18 + [1] * 3),
        (12, [1, 1, 2, 2, 2] + [3] * 8 + [2] * 3 + [1] * 5),
        (15, [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1]),
    ],
)
def test_as_many_run_at_once_as_with_vllm(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
    blocks: int,
    vllm: list[int],
) -> None:
    # Four prompts of 20, answers of 8, a window of 8, blocks of 4, 8 tokens a step: each is
    # admitted when 5 blocks are free, ceil((7 + 8) / 4) + 1.
    problem = (
        make_arrivals(*[(0, 20, 8)] * 4),
        constant_tables(stage_ps=[10]),
        limits_of(roomy, 8, 4, 8, blocks),
    )

    served, steps = run_and_log(engine, problem)

    assert steps["running"].tolist() == vllm
    assert served.preemptions.tolist() == [0] * 4


def test_one_block_more_may_keep_a_request_out_that_vllm_admits(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # The same requests and 8 blocks: before the third step the first holds 3 blocks of vLLM's
    # (tokens 9 to 20), and 4 of ours, so that only vLLM's has 5 left.
    vllm = [1, 1] + [2] * 18 + [1] * 3
    problem = (
        make_arrivals(*[(0, 20, 8)] * 4),
        constant_tables(stage_ps=[10]),
        limits_of(roomy, 8, 4, 8, 8),
    )

    _, steps = run_and_log(engine, problem)

    assert steps["running"].tolist() == [1, 1, 1, *vllm[3:]]
