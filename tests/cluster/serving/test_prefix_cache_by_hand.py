"""Cache hits of prompts, and the order of reallocation. Blocks of two tokens."""

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


@pytest.fixture
def cached(roomy: Limits) -> Limits:
    return replace(roomy, prefix_caching=True)


def test_a_prefix_is_found_again_but_for_the_last_token_of_a_prompt(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    cached: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Request 1 finds both blocks of request 0 and computes its fifth token; request 2 has nothing
    # beyond them, so its last token's block must be computed: one is found.
    arrivals = make_arrivals((0, 4, 1), (50, 5, 1), (100, 4, 1), keys=((0, 1), (0, 1), (0, 1)))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), cached))

    assert served.cached_tokens.tolist() == [0, 4, 2]
    assert steps["tokens"].tolist() == [4, 1, 2]


def test_a_block_is_found_while_it_is_still_being_computed(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    cached: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Both arrive at 0: request 1 shares the blocks allocated to request 0 in the same step.
    arrivals = make_arrivals((0, 5, 1), (0, 5, 1), keys=((0, 1), (0, 1)))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), cached))

    assert served.cached_tokens.tolist() == [0, 4]
    assert steps["tokens"].tolist() == [5 + 1]
    assert steps["used_blocks"].tolist() == [3 + 1]


def test_blocks_that_came_with_a_request_are_found_by_the_next(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    cached: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Request 0 brings its first 4 tokens of 5; request 1 shares both blocks and brings as much, so
    # its 3 blocks are 2 shared and 1 new: 3 + 1 in use.
    arrivals = replace(
        make_arrivals((0, 5, 9), (10, 5, 1), keys=((0, 1), (0, 1))),
        carried_tokens=np.array([4, 4]),
    )

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), cached))

    assert served.cached_tokens.tolist() == [0, 4]
    assert steps["tokens"].tolist()[:3] == [1, 2, 1]
    assert steps["used_blocks"].tolist()[:2] == [3, 4]


def test_freed_blocks_without_a_key_are_allocated_first(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, cached: Limits
) -> None:
    # Four blocks 0 1 2 3, free in this order; a request at a time.
    #    0  prompt 4, keys A B: takes 0 and 1, releases the last first:    free 2 3 1B 0A
    #   50  prompt 3, key C: takes 2 and 3; 3 has no key and is first:    free 3 1B 0A 2C
    #  100  prompt 1: takes 3, not 1:                                      free 3 1B 0A 2C
    #  150  prompt 5, keys A B: both are still there, 4 tokens
    arrivals = make_arrivals(
        (0, 4, 1), (50, 3, 1), (100, 1, 1), (150, 5, 1), keys=((0, 1), (2,), (), (0, 1))
    )

    served = engine(arrivals, constant_tables(stage_ps=[10]), replace(cached, blocks=4))

    assert served.cached_tokens.tolist() == [0, 0, 0, 4]


def test_several_blocks_have_one_key_and_outlive_each_other(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, cached: Limits
) -> None:
    # Three blocks 0 1 2, free in this order; a request at a time.
    #    0  prompt 4, keys A B: takes 0 and 1:                             free 2 1B 0A
    #   50  prompt 4, keys A B: finds A (its last token is recomputed, and B with it): takes 2
    #       for a second B; releases 2, then 0:                            free 1B 2B 0A
    #  100  prompt 1: takes 1, which loses its key:                        free 1 2B 0A
    #  150  prompt 5, keys A B: finds 0 and 2, 4 tokens
    arrivals = make_arrivals(
        (0, 4, 1), (50, 4, 1), (100, 1, 1), (150, 5, 1), keys=((0, 1), (0, 1), (), (0, 1))
    )

    served = engine(arrivals, constant_tables(stage_ps=[10]), replace(cached, blocks=3))

    assert served.cached_tokens.tolist() == [0, 2, 0, 4]


def test_a_preempted_request_finds_blocks_of_its_own_answer(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    cached: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Seven blocks of one token; a step lasts 10; prompts of 2 and 1, answers of 4.
    #    0  request 0 takes blocks 0 and 1, request 1 block 2
    #   10  blocks 3 and 4, 20: blocks 5 and 6, one for each; all are taken
    #   30  request 0 needs an eighth: request 1 releases 6 4 2 in this order, 6 is taken
    #   40  request 0 is done. Request 1 knows 4 tokens: blocks 2 (its prompt) and 4 (the first of
    #       its answer) still carry its keys, the third token's block is gone: 2 tokens to compute
    limits = replace(cached, block_size=1, blocks=7)
    arrivals = make_arrivals((0, 2, 4), (0, 1, 4), keys=((0, 1), (2,)))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.preemptions.tolist() == [0, 1]
    assert served.finish_ps.tolist() == [40, 50]
    assert served.cached_tokens.tolist() == [0, 0]  # at first admission
    assert steps["tokens"].tolist() == [3, 2, 2, 1, 2]
    assert steps["used_blocks"].tolist() == [3, 5, 7, 5, 4]
