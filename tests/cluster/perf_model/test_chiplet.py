from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.perf_model.devices.dimc.chiplet import (
    MAC,
    STREAM,
    Chiplet,
    Mode,
    lpddr_ps,
    picoseconds,
    product_clocks,
    product_work,
    vector_clocks,
)
from cluster.perf_model.devices.work import Product, shard, whole

CHIPLET = Chiplet(
    clock_hz=1e9,
    cores=256,
    slices=16,
    rows=64,
    load_clocks=64,
    fill_clocks=32.0,
    noc_bytes_per_clock=128.0,
    lanes=1024,
    lpddr_bytes_per_s=40e9,
)
INT8 = Mode(columns=64, clocks_per_vector=8, activation_bytes=1.0)
INT4 = Mode(columns=128, clocks_per_vector=4, activation_bytes=0.5)
SIZES = st.integers(1, 5000)


def clocks_of(m: int, k: int, n: int, mode: Mode = INT8, copies: int = 1) -> float:
    product = Product(m=np.array([m]), k=k, n=n, copies=copies)
    return float(product_clocks(CHIPLET, mode, product)[0][0])


def test_one_tile_and_one_vector_take_two_tile_times_and_the_fill() -> None:
    assert clocks_of(1, 64, 64) == 64 + 64 + 32


def test_a_vector_beyond_the_ridge_adds_its_clocks() -> None:
    # Nine vectors of 8 clocks hold the tile for 72 clocks.
    assert clocks_of(9, 64, 64) == 64 + 72 + 32


def test_a_long_k_is_split_over_idle_cores_of_a_slice_for_free() -> None:
    # Sixteen tiles over K side by side in sixteen cores: one round instead of sixteen.
    assert clocks_of(1, 1024, 64) == 64 + 64 + 32


def test_a_split_over_slices_is_taken_where_its_sums_cost_less_than_rounds() -> None:
    # 64 K tiles x 1 column, m = 64: with 64 cores in four slices one round of 512 clocks; partial
    # sums 3 x 64 x 64 x 4 B over 2,048 B/clk = 24; each slice receives 64 x 1,024 B = 512 clocks.
    assert clocks_of(64, 4096, 64) == 64 + 512 + 32


def test_partial_sums_over_slices_take_the_network_s_time() -> None:
    # 256 K tiles x 96 columns of tiles, m = 8, 1 B/clk a slice. 64 cores in four slices share a
    # column: each slice receives 8 x 4,096 B of x; three of four send 8 x 6,144 sums of 4 B, over
    # 16 ports 36,864 clocks. Two slices would receive 65,536 B, eight send 86,016 B a port.
    slow = replace(CHIPLET, noc_bytes_per_clock=1.0)
    sums_bytes = 3 * 8 * 6144 * 4

    done = product_work(slow, INT8, Product(m=np.array([8]), k=256 * 64, n=6144))

    assert done.clocks.tolist() == [64 + sums_bytes / 16 + 32] == [64 + 36_864 + 32]
    assert done.network_bytes.tolist() == [16 * 8 * 4096 + sums_bytes]


def test_x_reaches_each_slice_at_its_network_port() -> None:
    # Two K tiles, 256 columns of tiles: no room for a split in one round (2 rounds, 128 clocks), x
    # is 5 x 128 B = 5 clocks; at 1 B/clk it would be 640.
    slow = replace(CHIPLET, noc_bytes_per_clock=1.0)
    product = Product(m=np.array([5]), k=128, n=256 * 64)

    assert product_clocks(CHIPLET, INT8, product)[0][0] == 64 + 128 + 32
    assert product_clocks(slow, INT8, product)[0][0] == 64 + 640 + 32


def test_equal_products_share_the_cores() -> None:
    # 300 products of one tile: two rounds.
    assert clocks_of(1, 64, 64, copies=300) == 64 + 2 * 64 + 32


def test_odd_shapes_pay_for_whole_tiles() -> None:
    assert clocks_of(3, 65, 65) == clocks_of(3, 128, 128)
    assert clocks_of(3, 64, 65, INT4) == clocks_of(3, 64, 128, INT4)


def test_what_bounds_a_product_turns_at_the_ridge() -> None:
    rows = np.array([7, 8, 9])
    product = Product(m=rows, k=64, n=64 * 2560)

    assert product_clocks(CHIPLET, INT8, product)[1].tolist() == [STREAM, MAC, MAC]


def test_no_rows_are_no_work() -> None:
    assert clocks_of(0, 64, 64) == 0
    assert clocks_of(5, 64, 0) == 0


@given(m=SIZES, k=SIZES, n=SIZES, more=st.integers(1, 300))
def test_more_work_never_takes_less_time(m: int, k: int, n: int, more: int) -> None:
    base = clocks_of(m, k, n)

    assert base <= min(clocks_of(m + more, k, n), clocks_of(m, k + more, n))
    assert base <= clocks_of(m, k, n + more)


@given(m=SIZES, k=SIZES, n=SIZES)
def test_no_product_beats_the_roofline(m: int, k: int, n: int) -> None:
    mac_clocks = m * k * n / (512 * 256)
    stream_clocks = -(-k // 64) * -(-n // 64) * 64 / 256

    assert clocks_of(m, k, n) >= max(mac_clocks, stream_clocks) + 64 + 32


@given(rows=st.lists(SIZES, min_size=1, max_size=5), k=SIZES, n=SIZES)
def test_rows_are_priced_one_by_one(rows: list[int], k: int, n: int) -> None:
    together = product_clocks(CHIPLET, INT8, Product(m=np.array(rows), k=k, n=n))[0]

    assert together.tolist() == [clocks_of(m, k, n) for m in rows]


def test_vector_work_runs_in_waves_of_lanes() -> None:
    assert vector_clocks(CHIPLET, np.array([0, 1, 1024, 1025]), 4.0).tolist() == [0, 4, 4, 8]


def test_picoseconds_are_whole_half_to_even_and_at_least_one() -> None:
    assert whole(np.array([0.0, 1e-9, 0.5, 1.5, 2.5])).tolist() == [0, 1, 1, 2, 2]
    assert picoseconds(CHIPLET, np.array([160.0])).tolist() == [160_000]


def test_lpddr_brings_its_bytes_at_the_sustained_rate() -> None:
    assert lpddr_ps(CHIPLET, np.array([0.0, 40e6])).tolist() == [0, 1_000_000_000]


@pytest.mark.parametrize(
    ("size", "parts", "largest"), [(14336, 32, 448), (2880, 32, 128), (64, 8, 64), (65, 1, 128)]
)
def test_a_shard_is_the_largest_in_whole_units(size: int, parts: int, largest: int) -> None:
    assert shard(size, parts) == largest
