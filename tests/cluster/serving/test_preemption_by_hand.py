"""Preemption: lost blocks, waiting requests and their return; as steps and as phases."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.interface import Arrivals, Limits, Phase, Served

Engine: TypeAlias = Callable[..., Served]
Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Engine, Problem], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]
PhasesOf: TypeAlias = Callable[[Engine, Problem], Records]

WAITING, READING, DECODING, FINISHED, LOST = (int(kind) for kind in Phase)


@pytest.fixture
def tight(roomy: Limits) -> Limits:
    """Blocks of one token; each case sets their number."""
    return replace(roomy, block_size=1)


def test_the_youngest_makes_room_and_computes_again_without_emitting_twice(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Four blocks of one token; a step lasts 10.
    #    0  both prompts (2 + 1 tokens, 3 blocks); both emit at 10
    #   10  request 0 takes the fourth block; request 1 finds none, is the youngest: preempted
    #   20  request 0 takes the block that it left; request 1 needs two: it waits
    #   30  request 0 is done; request 1 computes its prompt and first token again, in one chunk,
    #   40  has its second token, and its third at 50
    arrivals = make_arrivals((0, 2, 3), (0, 1, 3))
    problem = arrivals, constant_tables(stage_ps=[10]), replace(tight, blocks=4)

    served, steps = run_and_log(engine, problem)

    assert served.first_token_ps.tolist() == [10, 10]
    assert served.finish_ps.tolist() == [30, 50]
    assert served.preemptions.tolist() == [0, 1]
    assert {gap: served.itl_count[gap] for gap in (10, 30)} == {10: 3, 30: 1}
    assert steps["tokens"].tolist() == [3, 1, 1, 2, 1]
    assert steps["prefill_tokens"].tolist() == [3, 0, 0, 2, 0]
    assert steps["waiting"].tolist() == [0, 1, 1, 0, 0]
    assert steps["used_blocks"].tolist() == [3, 3, 4, 2, 3]


def two_stages_short_of_blocks(
    make_arrivals: MakeArrivals, constant_tables: ConstantTables, tight: Limits
) -> Problem:
    """Two stages of 10, two members per slot, budget 6, eleven blocks of one token.

    0  slot 0: requests 0 and 1 (prompts of 2), 4 blocks; both have a token at 20
    10  slot 1: 6 of the 7 tokens of request 2, 10 blocks
    20  slot 0: request 0 takes the last block. Request 1 has none: it preempts the partial
        prefill, the youngest, although its chunk is in flight until 30; 11 - 6 + 1 = 6 blocks
    30  that chunk ends and emits nothing. All 7 blocks of request 2 are not available
    40  requests 0 and 1 have their second tokens and leave; slot 0 reads request 2 again,
    50  slot 1 its last token, which ends at 70
    """
    limits = replace(tight, blocks=11, max_num_batched_tokens=6)
    arrivals = make_arrivals((0, 2, 2), (0, 2, 2), (1, 7, 1))
    return arrivals, constant_tables(stage_ps=[10, 10]), limits


def test_a_half_read_prompt_is_the_first_victim_even_in_flight(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    served, steps = run_and_log(
        engine, two_stages_short_of_blocks(make_arrivals, constant_tables, tight)
    )

    assert served.preemptions.tolist() == [0, 0, 1]
    assert served.first_scheduled_ps.tolist() == [0, 0, 10]
    assert served.first_token_ps.tolist() == [20, 20, 70]
    assert served.finish_ps.tolist() == [40, 40, 70]
    assert steps["start_ps"].tolist() == [0, 10, 20, 40, 50]
    assert steps["slot"].tolist() == [0, 1, 0, 0, 1]
    assert steps["tokens"].tolist() == [4, 6, 2, 6, 1]
    assert steps["emitted"].tolist() == [2, 0, 2, 0, 1]
    assert steps["used_blocks"].tolist() == [4, 10, 6, 6, 7]
    assert steps["waiting"].tolist() == [0, 0, 1, 0, 0]


def test_what_a_half_read_prompt_lost_belongs_to_no_slot(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    phases_of: PhasesOf,
) -> None:
    phases = phases_of(engine, two_stages_short_of_blocks(make_arrivals, constant_tables, tight))

    lost = phases[phases["request"] == 2]
    # request, replica, slot, row of the five steps, kind: it was admitted in step 1, preempted
    # before step 2, and read in steps 3 and 4, the last of which emits its only token
    assert lost.tolist() == [
        (2, 0, -1, 1, WAITING),
        (2, 0, -1, 1, READING),
        (2, 0, -1, 1, LOST),
        (2, 0, -1, 2, WAITING),
        (2, 0, -1, 3, READING),
        (2, 0, 1, 4, DECODING),
        (2, 0, 1, 4, FINISHED),
    ]


def test_a_half_read_prompt_without_blocks_for_its_next_chunk_goes_itself(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two stages of 10, budget 4, eight blocks of one token.
    #    0  slot 0: request 0 (prompt 2, output 2), 2 blocks
    #   10  slot 1: 4 of the 6 tokens of request 1, for which there is just room: 6 blocks
    #   20  slot 0: request 0 takes the seventh; of the last chunk's two only one is there, so
    #       request 1 is preempted and starts again when request 0 has left
    #   40  slot 0: 4 tokens; slot 1 at 50: 2 more, through at 70
    limits = replace(tight, blocks=8, max_num_batched_tokens=4)
    arrivals = make_arrivals((0, 2, 2), (1, 6, 1))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), limits))

    assert served.preemptions.tolist() == [0, 1]
    assert served.finish_ps.tolist() == [40, 70]
    assert steps["tokens"].tolist() == [2, 4, 1, 4, 2]
    assert steps["used_blocks"].tolist() == [2, 6, 3, 4, 6]


def test_no_request_is_admitted_before_the_oldest_has_its_missing_block(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two slots of one member, two stages of 10, budget 4, five blocks of one token.
    #    0  slot 0: request 0 (prompt 1), 1 block, done at 20
    #   10  slot 1: request 1 (prompt 2, output 3), 3 blocks in use
    #   20  slot 0: request 2 (prompt 3), 2 + 3 blocks: all
    #   30  slot 1: request 1, now the oldest, lacks its third block and is left out
    #   40  request 2 is done. Slot 0 looks first, and request 3 (prompt 3) would fit beside the 2
    #       of request 1; it stays. Slot 1: request 1 has its block, 3 in use, and its second token
    #   60  at 60. Slot 0: 3 + 3 blocks are too many. Slot 1: request 1's last token, at 80
    #   80  slot 0: request 3, which ends at 100
    limits = replace(tight, blocks=5, max_num_seqs=2, max_num_batched_tokens=4)
    arrivals = make_arrivals((0, 1, 1), (1, 2, 3), (2, 3, 1), (3, 3, 1))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), limits))

    assert served.finish_ps.tolist() == [20, 80, 40, 100]
    assert served.preemptions.tolist() == [0, 0, 0, 0]
    assert steps["start_ps"].tolist() == [0, 10, 20, 40, 60, 80]
    assert steps["slot"].tolist() == [0, 1, 0, 1, 1, 0]
    assert steps["used_blocks"].tolist() == [1, 3, 5, 3, 4, 3]


def two_victims(
    make_arrivals: MakeArrivals, constant_tables: ConstantTables, tight: Limits
) -> Problem:
    """Two stages of 10, two members per slot, budget 2, eight blocks of one token.

    Requests 0 and 1 decode in slot 0, 2 and 3 in slot 1; all of prompt 1 and output 3.
    0, 10  the prompts: 4 blocks; first tokens at 20 and 30
    20, 30  a token each: 8 blocks; second tokens at 40 and 50
    40  slot 0: request 0 needs a ninth; request 1 is preempted: 8 - 2 + 1 = 7
    50  slot 1: request 2 takes the eighth; request 3 has none, is its slot's youngest: 8 - 2 = 6
    60  request 0 leaves. Request 1 stands before request 3 in the queue, though it was preempted
        first: slot 0 reads 2 of the 3 tokens that it knows, 3 + 2 = 5 blocks
    70  request 2 leaves. Slot 1: the last of request 1, the first of request 3: 3 + 1 = 4
    80  slot 0: the last 2 of request 3: 6. Their third tokens at 90 and 100
    """
    limits = replace(tight, blocks=8, max_num_batched_tokens=2)
    arrivals = make_arrivals((0, 1, 3), (0, 1, 3), (0, 1, 3), (0, 1, 3))
    return arrivals, constant_tables(stage_ps=[10, 10]), limits


def test_a_preempted_request_returns_to_its_place_by_number(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    served, steps = run_and_log(engine, two_victims(make_arrivals, constant_tables, tight))

    assert served.first_token_ps.tolist() == [20, 20, 30, 30]
    assert served.finish_ps.tolist() == [60, 90, 70, 100]
    assert served.preemptions.tolist() == [0, 1, 0, 1]
    assert steps["start_ps"].tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80]
    assert steps["tokens"].tolist() == [2, 2, 2, 2, 1, 1, 2, 2, 2]
    assert steps["used_blocks"].tolist() == [2, 4, 6, 8, 7, 6, 5, 4, 6]
    assert steps["waiting"].tolist() == [2, 0, 0, 0, 1, 2, 1, 0, 0]


def test_a_step_that_preempts_admits_no_request(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Two stages of 10, two members per slot, budget 4, ten blocks of one token.
    #    0  slot 0: requests 0 and 1 (prompts of 1), 2 blocks
    #   10  slot 1: requests 2 and 3 (prompts of 1 and 3), 6
    #   20  a token each, 8; 30 likewise, 10
    #   40  slot 0: request 1 makes room for request 0: 10 - 2 + 1 = 9
    #   50  slot 1: request 2 takes the tenth, request 3 has none and goes: 10 - 4 = 6. Budget, room
    #       and 4 blocks are available for the 3 tokens of request 1, but it waits
    #   60  request 0 leaves; slot 0 reads them: 3 + 3
    #   70  request 2 leaves; slot 1: 4 of the 5 tokens of request 3, 3 + 4
    #   80  request 1 leaves; slot 0: its last
    limits = replace(tight, blocks=10, max_num_batched_tokens=4)
    arrivals = make_arrivals((0, 1, 3), (0, 1, 3), (1, 1, 3), (1, 3, 3))

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10, 10]), limits))

    assert served.finish_ps.tolist() == [60, 80, 70, 100]
    assert served.preemptions.tolist() == [0, 1, 0, 1]
    assert steps["tokens"].tolist() == [2, 4, 2, 2, 1, 1, 3, 4, 1]
    assert steps["used_blocks"].tolist() == [2, 6, 8, 10, 9, 6, 6, 7, 5]


def test_a_lost_decode_is_of_its_slot(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    tight: Limits,
    phases_of: PhasesOf,
) -> None:
    phases = phases_of(engine, two_victims(make_arrivals, constant_tables, tight))

    # Row n of the nine steps above starts at 10 n. A loss is after the row before the one that
    # was scheduled; the request with its last chunk then does not decode.
    rows = {
        number: phases[["slot", "row", "kind"]][phases["request"] == number].tolist()
        for number in (1, 3)
    }
    assert rows[1] == [
        (-1, 0, WAITING),
        (-1, 0, READING),
        (0, 0, DECODING),
        (0, 3, LOST),
        (-1, 4, WAITING),
        (-1, 6, READING),
        (1, 7, DECODING),
        (1, 7, FINISHED),
    ]
    assert rows[3][3:] == [
        (1, 4, LOST),
        (-1, 5, WAITING),
        (-1, 7, READING),
        (0, 8, DECODING),
        (0, 8, FINISHED),
    ]
