"""HARDWARE.md 2.2: published peaks, bandwidth and ridge batches come out of the chiplet model."""

import numpy as np
import pytest

from cluster.perf_model.devices.dimc.chiplet import (
    chiplet_of,
    mode_of,
    peak_flop_per_s,
    peak_stream_bytes_per_s,
    product_clocks,
    ridge_rows,
)
from cluster.perf_model.devices.work import Product
from topology.catalog import Hardware, load_hardware

CHIPLETS_PER_CARD = 8


@pytest.fixture(scope="module")
def corsair() -> Hardware:
    return load_hardware("corsair")


@pytest.mark.parametrize(
    ("width", "flop_per_s", "ridge"), [(8, 2400e12, 8), (4, 9600e12, 16), (16, 600e12, 4)]
)
def test_a_card_has_its_published_peak_exactly(
    corsair: Hardware, width: int, flop_per_s: float, ridge: int
) -> None:
    chiplet = chiplet_of(corsair)
    mode = mode_of(corsair, weight_width=width, activation_width=width, activation_bytes=width / 8)

    assert chiplet.clock_hz == 1144409179.6875
    assert CHIPLETS_PER_CARD * peak_flop_per_s(chiplet, mode) == flop_per_s
    assert CHIPLETS_PER_CARD * peak_stream_bytes_per_s(chiplet, mode, width) == 150e12
    assert ridge_rows(chiplet, mode) == ridge


@pytest.mark.parametrize("width", [4, 8, 16])
def test_a_long_product_approaches_both_peaks_at_the_ridge(corsair: Hardware, width: int) -> None:
    chiplet = chiplet_of(corsair)
    mode = mode_of(corsair, weight_width=width, activation_width=width, activation_bytes=width / 8)
    ridge, k, n = ridge_rows(chiplet, mode), 64, mode.columns * chiplet.cores * 1000
    rows = np.array([1, ridge, 2 * ridge])

    clocks = product_clocks(chiplet, mode, Product(m=rows, k=k, n=n))[0]
    flop_per_s = 2 * rows * k * n / clocks * chiplet.clock_hz / peak_flop_per_s(chiplet, mode)
    assert flop_per_s == pytest.approx([1 / ridge, 1, 1], rel=2e-3)
