"""Layers with a window free what lies behind it; the room is counted per kind of layer."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cluster.perf_model.kv_capacity import KvCapacity, held_blocks
from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.interface import Arrivals, Limits, Served
from corsair_common.names import Status

Engine: TypeAlias = Callable[..., Served]
RunAndLog: TypeAlias = Callable[[Engine, tuple[object, ...]], tuple[Served, Records]]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]


def room_for(*constraints: tuple[int, int, int]) -> KvCapacity:
    """A layer that sees all and layers that see 2 tokens; (a block of either, room) each."""
    full, windowed, room = zip(*constraints, strict=True)
    return KvCapacity(
        windows=np.array([0, 2]),
        block_units=np.array([full, windowed]).T,
        room_units=np.array(room),
        sram_units=2**62,
    )


def test_a_window_holds_its_tokens_the_chunk_and_one_begun_block() -> None:
    # Blocks of 2, a window of 2, of a sequence of 12: a chunk of 4 sees back 1 more token, and 5
    # tokens lie in ceil(5 / 2) + 1 = 4 blocks at most; a decode's 2 tokens in 1 + 1.
    windows = np.array([0, 2])

    assert held_blocks(windows, np.array([12, 4]), 4, 2).tolist() == [[6, 4], [2, 2]]
    assert held_blocks(windows, np.array([12]), 1, 2).tolist() == [[6, 2]]


@pytest.mark.parametrize(
    ("capacity", "second_starts_ps"),
    [
        (room_for((1, 2, 25)), 30),
        (room_for((1, 2, 24)), 40),
        (room_for((1, 2, 1000), (3, 0, 39)), 30),
        (room_for((1, 2, 1000), (3, 0, 38)), 40),
    ],
)
def test_windowed_layers_free_blocks_behind_and_the_tightest_constraint_binds(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
    capacity: KvCapacity,
    second_starts_ps: int,
) -> None:
    # Blocks of 2, budget 4, a step lasts 10; two prompts of 12, answers of 2. Request 0 holds, in
    # full and windowed layers (the latter count twice in the first constraint):
    #    0   4 tokens: 2 and 2 blocks, 2 + 2 x 2 =  6
    #   10   8:        4 and 4,                    12
    #   20  12:        6 and 4,                    14, its first token at 30
    #   30  13:        7 and 2,                    11, its second at 40
    # Request 1 has 6 and 4 at its end, 14 units: 11 + 14 = 25 at 30, and in the second constraint,
    # which knows full layers only, 3 x 7 + 3 x 6 = 39. With one less it waits until 40.
    arrivals = make_arrivals((0, 12, 2), (0, 12, 2))
    limits = replace(roomy, max_num_batched_tokens=4, windowed=capacity)

    served, steps = run_and_log(engine, (arrivals, constant_tables(stage_ps=[10]), limits))

    assert served.first_scheduled_ps.tolist() == [0, second_starts_ps]
    assert served.preemptions.tolist() == [0, 0]
    used = steps["used_blocks"].tolist()
    assert used[:3] == [6, 12, 14]
    if second_starts_ps == 30:
        # Beside the token of request 0 its first 3: 2 and 2 blocks, 6 units. Then 7 (4 and 4), 11
        # (6 and 4), the twelfth alone (6 and 2), a decode (7 and 2).
        assert used[3:] == [11 + 6, 12, 14, 10, 11]
    else:
        assert used[3:] == [11, 6, 12, 14, 11]


@pytest.mark.parametrize(("room", "status"), [(14, Status.COMPLETED), (13, Status.NO_ROOM)])
def test_what_fits_an_empty_replica_is_counted_with_windows_too(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    room: int,
    status: Status,
) -> None:
    # 12 tokens, the last of 13 never stored, in chunks of up to 4: 6 + 2 x 4 units.
    limits = replace(roomy, max_num_batched_tokens=4, windowed=room_for((1, 2, room)))

    served = engine(make_arrivals((0, 12, 1)), constant_tables(stage_ps=[10]), limits)

    assert served.status.tolist() == [status]


def test_a_decode_that_opens_a_block_may_push_another_out(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    run_and_log: RunAndLog,
) -> None:
    # Windowed layers alone, 3 blocks of 2 for two sequences that hold 2 each at the end: prompts
    # of 2 (a block each), a step lasts 10.
    #    0  both prompts: 1 + 1 blocks
    #   10  request 0's third token opens its second block; request 1 has none and is preempted
    #   20  tokens 4, 5, 6: never more than 2 blocks, so never more than 2 in use; request 1 needs
    #       2 for the 3 tokens that it knows
    #   50  request 0 is done, request 1 reads again
    windows = KvCapacity(
        windows=np.array([2]),
        block_units=np.array([[1]]),
        room_units=np.array([3]),
        sram_units=2**62,
    )
    arrivals = make_arrivals((0, 2, 5), (0, 2, 3))
    problem = arrivals, constant_tables(stage_ps=[10]), replace(roomy, windowed=windows)

    served, steps = run_and_log(engine, problem)

    assert served.preemptions.tolist() == [0, 1]
    assert served.finish_ps.tolist() == [50, 70]
    assert steps["used_blocks"].tolist() == [2, 2, 2, 2, 2, 2, 2]
