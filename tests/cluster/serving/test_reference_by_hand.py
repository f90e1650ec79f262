"""Small runs that can be followed with a pencil, asserted for both engines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.histogram import bin_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.reference.recorder import itl_bin
from corsair_common.units import NEVER

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]


def test_two_slots_take_turns_on_a_pipeline_of_two_stages(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Stage 0 works 10 ps on any step, sending takes 3; stage 1 works 20, and 1 for each row that
    # emits; its token is back after 5.
    #
    #   time  what                                              stage 0     stage 1
    #      0  slot 0 admits request 0 (prompt 4, output 2):      0 - 10     13 - 34
    #     10  stage 0 is free: slot 1 admits request 1
    #         (prompt 2, output 1), which came at 1:            10 - 20     34 - 55
    #     34  request 0 has its first token; slot 0 is ready
    #         again at 39; its step waits at stage 1 until 55:   39 - 49     55 - 76
    #     55  request 1 has its only token
    #     76  request 0 has its second token, 42 after the first
    tables = replace(
        constant_tables(stage_ps=[10, 20]),
        send_ps=np.array([[3] * 17, [0] * 17]),
        head_ps=np.array([[0] * 5, range(5)]),
        return_ps=np.array([5]),
    )

    served, steps = run_and_log(engine, (make_arrivals((0, 4, 2), (1, 2, 1)), tables, roomy))

    assert served.first_scheduled_ps.tolist() == [0, 10]
    assert served.first_token_ps.tolist() == [34, 55]
    assert served.finish_ps.tolist() == [76, 55]
    assert served.end_ps == 76
    assert np.flatnonzero(served.itl_count).tolist() == [42]
    assert served.slot.tolist() == [0, 1]
    assert steps["slot"].tolist() == [0, 1, 0]
    assert steps["start_ps"].tolist() == [0, 10, 39]
    assert steps["end_ps"].tolist() == [34, 55, 76]
    assert steps["tokens"].tolist() == [4, 2, 1]
    assert steps["prefill_tokens"].tolist() == [4, 2, 0]
    assert steps["used_blocks"].tolist() == [2, 3, 4]  # of 2 tokens: the fifth opens a third block
    # 8 clocks a query: a chunk of up to 8 tokens passes each 64-token block once.
    assert steps["prefill_passes"].tolist() == [1, 1, 0]
    assert steps["decode_blocks"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("blocks", "scheduled_ps", "finish_ps"), [(10, [0, 10], [30, 40]), (9, [0, 30], [30, 50])]
)
def test_a_newcomer_needs_room_for_its_whole_prompt_beside_what_others_hold(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    blocks: int,
    scheduled_ps: list[int],
    finish_ps: list[int],
) -> None:
    # Blocks of one token, a budget of four, two stages of 10; prompts of 6 and 4.
    #    0  slot 0: 4 tokens of request 0
    #   10  slot 1: its last 2 tokens; it holds 6 blocks now, and the budget has 2 left. The other
    #       prompt needs four blocks, 10 in all: with ten blocks its first 2 tokens are taken,
    #   20  and slot 0 takes its last 2, which leave stage 1 at 40
    #   30  request 0 leaves. With nine blocks request 1 begins only now, and ends at 50
    limits = Limits(
        max_num_seqs=4, max_num_batched_tokens=4, block_size=1, blocks=blocks, max_model_len=99
    )
    problem = make_arrivals((0, 6, 1), (0, 4, 1)), constant_tables(stage_ps=[10, 10]), limits

    served = engine(*problem)

    assert served.first_scheduled_ps.tolist() == scheduled_ps
    assert served.finish_ps.tolist() == finish_ps
    assert served.preemptions.tolist() == [0, 0]


def test_carried_tokens_are_in_blocks_at_once_and_lost_with_the_first_preemption(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Nine blocks of one token; a step lasts 10. Both requests bring all but the last token of
    # their prompts of 4 (answers of 4 and 2).
    #    0  both are admitted, 4 blocks each, one token each; both emit at 10
    #   10  request 0 takes the ninth block, request 1 has none left: preempted
    #   20  request 0 goes on to its end at 40; 4 + 1 blocks are not there before
    #   40  request 1 computes all 5 tokens that it knows, and ends at 50
    limits = replace(roomy, block_size=1, blocks=9)
    arrivals = replace(make_arrivals((0, 4, 4), (0, 4, 2)), carried_tokens=np.array([3, 3]))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.first_token_ps.tolist() == [10, 10]
    assert served.finish_ps.tolist() == [40, 50]
    assert served.preemptions.tolist() == [0, 1]
    assert served.cached_tokens.tolist() == [0, 0]
    assert steps["tokens"].tolist() == [2, 1, 1, 1, 5]
    assert steps["used_blocks"].tolist() == [8, 5, 6, 7, 5]


def test_a_carried_request_waits_for_a_slot_below_max_num_seqs(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # Two slots of one seat, two stages of 10, prompts of 4 of which 3 tokens are carried: the first
    # chunk of each is its last.
    #    0  slot 0 admits request 0; request 1 needs a seat, and slot 0 has none
    #   10  slot 1 admits request 1 (10 - 20, 20 - 30)
    #   20  slot 0 decodes request 0; request 2 stays: there are two already
    #   30  request 1 leaves, and slot 1 admits request 2: 30 - 40, 40 - 50
    limits = replace(roomy, max_num_seqs=2)
    arrivals = make_arrivals((0, 4, 3), (0, 4, 1), (0, 4, 1))
    arrivals = replace(arrivals, carried_tokens=np.array([3, 3, 3]))

    served = engine(arrivals, constant_tables(stage_ps=[10, 10]), limits)

    assert served.first_scheduled_ps.tolist() == [0, 10, 30]
    assert served.finish_ps.tolist() == [60, 30, 50]


def test_a_user_of_a_closed_loop_sends_again_when_answered_or_refused(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # Two users, a step lasts 10. Request 2 is too long: its user sends request 3 at once.
    limits = replace(roomy, concurrency=2)
    arrivals = make_arrivals((7, 1, 1), (7, 1, 3), (7, 999, 9), (7, 1, 1))

    served = engine(arrivals, constant_tables(stage_ps=[10]), limits)

    assert served.arrival_ps.tolist() == [0, 0, 10, 10]
    assert served.finish_ps.tolist() == [10, 30, NEVER, 20]


@pytest.mark.parametrize("value", [0, 255, 256, 511, 512, 513, 10**9 + 7, 2**40 - 1, 2**63 - 1])
def test_both_engines_count_a_latency_in_the_same_bin(value: int) -> None:
    assert itl_bin(value) == bin_of(value)
