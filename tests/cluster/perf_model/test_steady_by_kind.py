"""What a step of steady decoding fetches from LPDDR where layers have a window."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.prices import steady_decode
from cluster.perf_model.tables import KIND, PriceTables

FULL_PS, WINDOWED_PS = 1000, 10
"""To fetch a block of the full layers, and of those that see 128 tokens."""


@pytest.mark.parametrize(
    ("in_sram", "full", "windowed"),
    [
        (264, 0, 0),  # 8 sequences hold 30 blocks of full layers and 3 of windowed ones
        (216, 49, 0),  # 48 / 240 of the 240 blocks that are read and one that is written
        (24, 241, 0),
        (8, 241, 17),  # and 16 / 24 of the 24 read and one written in windowed layers
        (0, 241, 25),
    ],
)
def test_blocks_inside_a_window_are_the_last_to_leave_sram(
    constant_tables: Callable[..., PriceTables], in_sram: int, full: int, windowed: int
) -> None:
    tables = constant_tables([0])
    tables = replace(
        tables,
        kinds=np.array([(0, 8, 64, 0), (128, 8, 64, 0)], KIND),
        far_block_ps=np.array([[FULL_PS, WINDOWED_PS]], np.float64),
    )
    capacity = KvCapacity(
        windows=np.array([0, 128]),
        block_units=np.array([[1, 1]]),
        room_units=np.array([10_000]),
        sram_units=in_sram,
    )

    steady = steady_decode(tables, batch=8, context=30 * 64, room=(capacity, 64))

    assert steady.cycle_ps == full * FULL_PS + windowed * WINDOWED_PS
