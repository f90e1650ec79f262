"""Small runs that can be followed with a pencil, asserted for both engines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.machine.tables import PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.histogram import bin_of
from cluster.serving.problem import NEVER, Arrivals, Limits, Served
from cluster.serving.reference import serve_reference
from cluster.serving.reference.ledger import itl_bin

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]

both_engines = pytest.mark.parametrize("engine", [serve_reference, serve])
ROOMY = Limits(
    max_num_seqs=4, max_num_batched_tokens=16, block_size=2, blocks=100, max_model_len=1000
)


def asked(
    *requests: tuple[int, int, int], keys: tuple[tuple[int, ...], ...] | None = None
) -> Arrivals:
    """Requests as (arrival, prompt, output)."""
    arrival, prompt, output = np.array(requests, np.int64).T.copy()
    chains = keys or ((),) * len(requests)
    flat = [key for chain in chains for key in chain]
    return Arrivals(
        arrival_ps=arrival,
        prompt_tokens=prompt,
        output_tokens=output,
        router_choice=np.zeros(len(requests), np.int64),
        key_offsets=np.cumsum([0, *map(len, chains)]).astype(np.int64),
        keys=np.array(flat, np.int64),
        key_count=max(flat, default=-1) + 1,
    )


@both_engines
def test_two_slots_take_turns_on_a_pipeline_of_two_stages(
    engine: Engine, constant_tables: ConstantTables, run_and_log: RunAndLog
) -> None:
    # Stage 0 works 10 ps on any step, sending takes 3; stage 1 works 20, and 1 for each row that
    # emits; its token is back after 5.
    #
    #   time  what                                              stage 0     stage 1
    #      0  request 0 (prompt 4, output 2) joins slot 0:        0 - 10     13 - 34
    #      1  request 1 (prompt 2, output 1) joins slot 1,
    #         waits for stage 0, then behind slot 0:             10 - 20     34 - 55
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

    served, steps = run_and_log(engine, (asked((0, 4, 2), (1, 2, 1)), tables, ROOMY))

    assert served.first_scheduled_ps.tolist() == [0, 10]
    assert served.first_token_ps.tolist() == [34, 55]
    assert served.finish_ps.tolist() == [76, 55]
    assert served.end_ps == 76
    assert np.flatnonzero(served.itl_count).tolist() == [42]
    assert steps["slot"].tolist() == [0, 1, 0]
    assert steps["start_ps"].tolist() == [0, 10, 39]
    assert steps["end_ps"].tolist() == [34, 55, 76]
    assert steps["tokens"].tolist() == [4, 2, 1]
    assert steps["prefill_tokens"].tolist() == [4, 2, 0]
    assert steps["used_blocks"].tolist() == [2, 3, 4]  # of 2 tokens: the fifth opens a third block
    # 8 clocks a query: a chunk of up to 8 tokens passes each 64-token block once.
    assert steps["prefill_passes"].tolist() == [1, 1, 0]
    assert steps["decode_blocks"].tolist() == [0, 0, 1]


@both_engines
def test_the_youngest_makes_room_and_computes_again_without_emitting_twice(
    engine: Engine, constant_tables: ConstantTables, run_and_log: RunAndLog
) -> None:
    # Four blocks of one token; a step lasts 10.
    #    0  both prompts (2 + 1 tokens, 3 blocks); both emit at 10
    #   10  request 0 takes the fourth block; request 1 finds none, is the youngest: preempted
    #   20  request 0 takes the block that it left; request 1 needs two: it waits
    #   30  request 0 is done; request 1 computes its prompt and first token again, in one chunk,
    #   40  has its second token, and its third at 50
    limits = replace(ROOMY, block_size=1, blocks=4)
    problem = (asked((0, 2, 3), (0, 1, 3)), constant_tables(stage_ps=[10]), limits)

    served, steps = run_and_log(engine, problem)

    assert served.first_token_ps.tolist() == [10, 10]
    assert served.finish_ps.tolist() == [30, 50]
    assert served.preemptions.tolist() == [0, 1]
    assert {gap: served.itl_count[gap] for gap in (10, 30)} == {10: 3, 30: 1}
    assert steps["tokens"].tolist() == [3, 1, 1, 2, 1]
    assert steps["prefill_tokens"].tolist() == [3, 0, 0, 2, 0]
    assert steps["waiting"].tolist() == [0, 1, 1, 0, 0]
    assert steps["used_blocks"].tolist() == [3, 3, 4, 2, 3]


@both_engines
@pytest.mark.parametrize(("blocks", "second_starts_ps"), [(9, 40), (10, 10)])
def test_a_newcomer_needs_its_whole_prompt_beside_what_others_are_owed(
    engine: Engine, constant_tables: ConstantTables, blocks: int, second_starts_ps: int
) -> None:
    # Blocks of one token, chunks of four, two stages of 10. Request 0 (prompt 6) holds four blocks
    # from 0 and is owed two; request 1 (prompt 4, other slot) needs four: ten in all at 10.
    # With nine it waits; request 0 is done at 40.
    limits = replace(ROOMY, max_num_batched_tokens=4, block_size=1, blocks=blocks)
    problem = (asked((0, 6, 1), (0, 4, 1)), constant_tables(stage_ps=[10, 10]), limits)

    served = engine(*problem)

    assert served.first_scheduled_ps.tolist() == [0, second_starts_ps]
    assert served.finish_ps[0] == 40
    assert served.preemptions.tolist() == [0, 0]


@both_engines
def test_a_prefix_is_found_again_but_for_the_last_token_of_a_prompt(
    engine: Engine, constant_tables: ConstantTables, run_and_log: RunAndLog
) -> None:
    # Blocks of two. Request 1 finds both blocks of request 0 and computes its fifth token;
    # request 2 has nothing beyond them, so its last token's block must be computed: one is found.
    limits = replace(ROOMY, prefix_caching=True)
    arrivals = asked((0, 4, 1), (50, 5, 1), (100, 4, 1), keys=((0, 1), (0, 1), (0, 1)))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.cached_tokens.tolist() == [0, 4, 2]
    assert steps["tokens"].tolist() == [4, 1, 2]


@both_engines
def test_carried_tokens_are_in_blocks_at_once_and_lost_with_the_first_preemption(
    engine: Engine, constant_tables: ConstantTables, run_and_log: RunAndLog
) -> None:
    # Nine blocks of one token; a step lasts 10. Both requests bring all but the last token of
    # their prompts of 4 (answers of 4 and 2).
    #    0  both are admitted, 4 blocks each, one token each; both emit at 10
    #   10  request 0 takes the ninth block, request 1 has none left: preempted
    #   20  request 0 goes on to its end at 40; 4 + 1 blocks are not there before
    #   40  request 1 computes all 5 tokens that it knows, and ends at 50
    limits = replace(ROOMY, block_size=1, blocks=9)
    arrivals = replace(asked((0, 4, 4), (0, 4, 2)), carried_tokens=np.array([3, 3]))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.first_token_ps.tolist() == [10, 10]
    assert served.finish_ps.tolist() == [40, 50]
    assert served.preemptions.tolist() == [0, 1]
    assert served.cached_tokens.tolist() == [0, 0]
    assert steps["tokens"].tolist() == [2, 1, 1, 1, 5]
    assert steps["used_blocks"].tolist() == [8, 5, 6, 7, 5]


@both_engines
def test_blocks_that_came_with_a_request_are_found_by_the_next(
    engine: Engine, constant_tables: ConstantTables, run_and_log: RunAndLog
) -> None:
    # Blocks of two. Request 0 brings its first 4 tokens of 5; request 1 shares both blocks and
    # brings as much, so 3 blocks of its own 3 are 2 shared and 1 new: 3 + 1 in use.
    limits = replace(ROOMY, prefix_caching=True)
    arrivals = replace(
        asked((0, 5, 9), (10, 5, 1), keys=((0, 1), (0, 1))), carried_tokens=np.array([4, 4])
    )

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.cached_tokens.tolist() == [0, 4]
    assert steps["tokens"].tolist()[:3] == [1, 2, 1]
    assert steps["used_blocks"].tolist()[:2] == [3, 4]


@both_engines
def test_a_user_of_a_closed_loop_asks_again_when_answered_or_refused(
    engine: Engine, constant_tables: ConstantTables
) -> None:
    # Two users, a step lasts 10. Request 2 is too long: its user asks request 3 at once.
    limits = replace(ROOMY, concurrency=2)
    arrivals = asked((7, 1, 1), (7, 1, 3), (7, 999, 9), (7, 1, 1))

    served = engine(arrivals, constant_tables(stage_ps=[10]), limits)

    assert served.arrival_ps.tolist() == [0, 0, 10, 10]
    assert served.finish_ps.tolist() == [10, 30, NEVER, 20]


@both_engines
@pytest.mark.parametrize(
    ("router", "replicas"),
    [
        ("round_robin", [0, 1, 0, 1, 0]),
        ("random", [0, 0, 0, 0, 0]),
        ("least_outstanding", [0, 1, 1, 0, 1]),
        ("least_kv", [0, 0, 1, 1, 1]),
    ],
)
def test_each_router_looks_at_what_its_name_says(
    engine: Engine, constant_tables: ConstantTables, router: str, replicas: list[int]
) -> None:
    # A step lasts 10. The first request holds four blocks and stays to the end, the second one
    # block until 10. least_kv sees the start of the first only after both have been routed.
    tables = constant_tables(stage_ps=[10], replicas=2)
    arrivals = asked((0, 8, 20), (0, 2, 1), (15, 2, 20), (16, 2, 20), (17, 2, 20))

    served = engine(arrivals, tables, replace(ROOMY, router=router))

    assert served.replica.tolist() == replicas


@both_engines
def test_nobody_is_admitted_before_the_oldest_has_the_block_that_it_lacks(
    engine: Engine, constant_tables: ConstantTables
) -> None:
    # Six blocks of one token, three slots on three stages of 10; request 3 queues behind 0.
    #   30  requests 0, 1 and 2 hold 3 + 2 + 1 blocks; 0 needs another and, oldest, is left out
    #   40  request 1 needs another: preempted; 0 goes on to its end at 70
    #   70  request 3 is admitted with 4 blocks beside the 2 of request 2
    #   80  request 2, now the oldest, is left out
    #  100  request 3 needs another: preempted. Slot 1 could admit request 1 (3 of 4 free blocks),
    #       and its turn comes before slot 2's; but request 2 takes its block first, to end at 130
    limits = Limits(
        max_num_seqs=6, max_num_batched_tokens=4, block_size=1, blocks=6, max_model_len=99
    )
    arrivals = asked((0, 3, 2), (0, 2, 3), (0, 1, 3), (0, 4, 2))

    served = engine(arrivals, constant_tables(stage_ps=[10, 10, 10]), limits)

    assert served.finish_ps.tolist() == [70, 250, 130, 190]
    assert served.preemptions.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("value", [0, 255, 256, 511, 512, 513, 10**9 + 7, 2**40 - 1, 2**63 - 1])
def test_both_engines_count_a_latency_in_the_same_bin(value: int) -> None:
    assert itl_bin(value) == bin_of(value)
