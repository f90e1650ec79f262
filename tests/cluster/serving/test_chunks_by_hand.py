"""How prompts are read: chunk after chunk through the stages, by threshold, and composed ahead."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.interface import Arrivals, Limits, Served

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]


def test_the_chunks_of_a_prompt_follow_one_another_through_the_stages(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two stages of 10; a token is back after 5. A prompt of 10 in chunks of 4.
    #    0  slot 0: chunk of 4        0 - 10   10 - 20
    #   10  slot 1: chunk of 4       10 - 20   20 - 30
    #   20  slot 0: the last 2       20 - 30   30 - 40   (it emits no token: no return)
    #   40  the first token; slot 0 decodes when it is back at 45: 45 - 55, 55 - 65
    limits = replace(roomy, max_num_batched_tokens=4)
    tables = replace(constant_tables(stage_ps=[10, 10]), return_ps=np.array([5]))

    served, steps = run_and_log(engine, (make_arrivals((0, 10, 2)), tables, limits))

    assert served.first_token_ps.tolist() == [40]
    assert served.finish_ps.tolist() == [65]
    assert steps["slot"].tolist() == [0, 1, 0, 0]
    assert steps["start_ps"].tolist() == [0, 10, 20, 45]
    assert steps["end_ps"].tolist() == [20, 30, 40, 65]
    assert steps["tokens"].tolist() == [4, 4, 2, 1]
    assert steps["emitted"].tolist() == [0, 0, 1, 1]
    assert steps["prompt_request"].tolist() == [0, 0, 0, -1]


def test_with_one_stage_a_chunk_waits_for_the_return_as_well(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # vLLM's engine waits for its only batch: 0 - 10, 15 - 25, 30 - 40. An engine with nothing to do
    # does not wait for a return: request 1 arrives at 42 and starts at once. Request 2 arrives at
    # 45, before that batch ends at 52, and waits for its return: 57 - 67.
    limits = replace(roomy, max_num_batched_tokens=4)
    tables = replace(constant_tables(stage_ps=[10]), return_ps=np.array([5]))

    served = engine(make_arrivals((0, 10, 1), (42, 1, 1), (45, 1, 1)), tables, limits)

    assert served.first_token_ps.tolist() == [40, 52, 67]


def test_idle_slots_run_chunks_while_another_decodes(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two stages of 10, budget 4. Request 0 (prompt 2, output 3) decodes in slot 0; request 1
    # arrives at 1 (prompt 12, output 1).
    #    0  slot 0: the prompt of request 0                              ends at 20
    #   10  slot 1: 4 tokens of request 1, and nothing else              ends at 30
    #   20  slot 0: a token of request 0, 3 of request 1                 ends at 40
    #   30  slot 1: 4 of request 1                                       ends at 50
    #   40  slot 0: a token of request 0, the last of request 1          ends at 60
    limits = replace(roomy, max_num_batched_tokens=4)
    arrivals = make_arrivals((0, 2, 3), (1, 12, 1))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), limits))

    assert served.first_scheduled_ps.tolist() == [0, 10]
    assert served.first_token_ps.tolist() == [20, 60]
    assert served.finish_ps.tolist() == [60, 60]
    assert served.slot.tolist() == [0, 0]  # request 1 decodes in the slot of its last chunk
    assert steps["slot"].tolist() == [0, 1, 0, 1, 0]
    assert steps["start_ps"].tolist() == [0, 10, 20, 30, 40]
    assert steps["tokens"].tolist() == [2, 4, 4, 4, 2]
    assert steps["prefill_tokens"].tolist() == [2, 4, 3, 4, 1]
    assert steps["emitted"].tolist() == [1, 0, 1, 0, 2]
    assert steps["running"].tolist() == [1, 1, 2, 1, 2]
    assert steps["prompt_request"].tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("max_num_seqs", "first_token_ps"), [(2, 50), (4, 40)])
def test_a_last_chunk_runs_in_a_slot_below_max_num_seqs(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    max_num_seqs: int,
    first_token_ps: int,
) -> None:
    # Two stages of 10, budget 4; prompts of 4 and 6.
    #    0  slot 0: request 0                                            ends at 20
    #   10  slot 1: 4 tokens of request 1                                ends at 30
    #   20  slot 0: a token of request 0. With two members also the last 2 of request 1, which has
    #       its token at 40; with one member another slot runs them
    #   30  slot 1: they                                                 end at 50
    limits = replace(roomy, max_num_seqs=max_num_seqs, max_num_batched_tokens=4)

    served = engine(make_arrivals((0, 4, 3), (0, 6, 1)), constant_tables(stage_ps=[10, 10]), limits)

    assert served.first_token_ps.tolist() == [20, first_token_ps]
    assert served.finish_ps.tolist() == [60, first_token_ps]


def test_no_prompt_overtakes_a_last_chunk_at_max_num_seqs(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two slots of two members, two stages of 10, budget 6; prompts of 3, 3, 8 and 9.
    #    0  slot 0: requests 0 and 1                                     ends at 20
    #   10  slot 1: 6 tokens of request 2                                ends at 30
    #   20  slot 0: a token each of 0 and 1; it is full, so the last 2 tokens of request 2
    #       stay, and request 3 with them, though 4 of the budget are left
    #   30  slot 1: the last 2 of request 2, then 4 of request 3         ends at 50
    #   40  slot 0: a token each, and 4 of request 3: no member is added before the last chunk
    #   50  slot 1: its last token                                       ends at 70
    limits = replace(roomy, max_num_batched_tokens=6)
    arrivals = make_arrivals((0, 3, 3), (0, 3, 3), (0, 8, 1), (0, 9, 1))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), limits))

    assert served.first_scheduled_ps.tolist() == [0, 0, 10, 30]
    assert served.first_token_ps.tolist() == [20, 20, 50, 70]
    assert served.finish_ps.tolist() == [60, 60, 50, 70]
    assert steps["slot"].tolist() == [0, 1, 0, 1, 0, 1]
    assert steps["tokens"].tolist() == [6, 6, 2, 6, 6, 1]
    assert steps["running"].tolist() == [2, 1, 2, 2, 3, 1]
    assert steps["waiting"].tolist() == [2, 1, 1, 0, 0, 0]


def test_fewer_sequences_than_slots_leave_slots_without_decodes(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # One sequence at a time on three stages of 10: its first token at 30, the second at 60; the
    # next request begins then, in whichever slot is the first to look.
    limits = replace(roomy, max_num_seqs=1)
    tables = constant_tables(stage_ps=[10, 10, 10])

    served = engine(make_arrivals((0, 2, 2), (0, 2, 1)), tables, limits)

    assert served.first_scheduled_ps.tolist() == [0, 60]
    assert served.finish_ps.tolist() == [60, 90]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(2, ([4, 3, 5], [30, 20])), (0, ([8, 4], [20, 20]))]
)
def test_a_threshold_lets_prompts_be_read_side_by_side(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
    threshold: int,
    expected: tuple[list[int], list[int]],
) -> None:
    # One stage of 10, budget 8, prompts of 9 and 3. At most two tokens of a prompt a step:
    #    0  2 of request 0 and 2 of request 1
    #   10  2 of request 0, the last of request 1: its token at 20
    #   20  request 0 is alone, so the threshold does not bind: its last 5, its token at 30
    # Without it: 8 of request 0, then its last token and all of request 1.
    limits = replace(roomy, max_num_batched_tokens=8, long_prefill_token_threshold=threshold)
    arrivals = make_arrivals((0, 9, 1), (0, 3, 1))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert (steps["tokens"].tolist(), served.first_token_ps.tolist()) == expected


def test_two_batches_are_in_flight_and_a_decode_waits_for_its_token(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # One stage of 10; a token returns after 5. Request 0: prompt 2, output 3; request 1: at 5.
    #    0  batch 0: the prompt, 0 - 10. Batch 1 is scheduled at once: a token of request 0, whose
    #       input has returned at 15: 15 - 25
    #   15  batch 0 ends, batch 2 is scheduled: request 0's last token, back at 30, and the
    #       3 tokens of request 1: 30 - 40
    #   30  batch 1 ends; no request has a token left to schedule
    limits = replace(roomy, async_scheduling=True)
    tables = replace(constant_tables(stage_ps=[10]), return_ps=np.array([5]))

    served, steps = run_and_log(engine, (make_arrivals((0, 2, 3), (5, 3, 1)), tables, limits))

    assert served.first_scheduled_ps.tolist() == [0, 30]
    assert served.first_token_ps.tolist() == [10, 40]
    assert served.finish_ps.tolist() == [40, 40]
    assert steps["start_ps"].tolist() == [0, 15, 30]
    assert steps["end_ps"].tolist() == [10, 25, 40]
    assert steps["tokens"].tolist() == [2, 1, 4]


@pytest.mark.parametrize(
    ("ahead", "host_ps", "first_token_ps"), [(False, 0, 25), (True, 0, 20), (True, 7, 27)]
)
def test_what_needs_no_token_of_the_batch_before_follows_it_at_once(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    ahead: bool,
    host_ps: int,
    first_token_ps: int,
) -> None:
    # One stage of 10, a return of 5; two chunks of 4. One after the other: 0 - 10, 15 - 25.
    # Composed ahead: 0 - 10, 10 - 20. A host that needs 7 delays the first: 7 - 17; what it needs
    # for the second is hidden behind that: 17 - 27.
    limits = replace(roomy, max_num_batched_tokens=4, async_scheduling=ahead)
    tables = replace(constant_tables(stage_ps=[10]), return_ps=np.array([5]), host_ps=host_ps)

    served = engine(make_arrivals((0, 8, 1)), tables, limits)

    assert served.first_token_ps.tolist() == [first_token_ps]
