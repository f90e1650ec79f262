"""Analog columns: energies and errors by hand, and the figures of docs/studies/analog-imc.md."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cluster.studies import analog
from cluster.studies.analog import (
    Column,
    blocks,
    column_db,
    conversion_range_j,
    converter_m2,
    least_bits,
    rivals,
)

DIGITAL_J = 53e-15
"""``energy.mac_int8_j`` of Corsair."""
IDEAL = Column(activation_slice=1, weight_slice=1, capacitor_f=1e-6, spread=0.0)
"""Without noise to speak of."""


def test_a_column_is_converted_once_for_each_pair_of_slices() -> None:
    cut = replace(IDEAL, activation_slice=2, weight_slice=1)

    assert IDEAL.conversions == 7 * 7
    assert cut.conversions == 4 * 7  # 2 + 2 + 2 + 1 bits
    assert replace(IDEAL, activation_slice=7, weight_slice=7).conversions == 1
    assert replace(IDEAL, magnitude_bits=3).conversions == 9


def test_energies_and_noise_follow_from_the_capacitor() -> None:
    column = Column(activation_slice=2, weight_slice=1, capacitor_f=0.5e-15)

    # 64 cells, 28 passes, half of 0.5 fF x (0.8 V)^2
    assert column.array_j == pytest.approx(64 * 28 * 0.5 * 0.5e-15 * 0.64)
    # 64 x 53 fJ = 3.392 pJ, less the array's 0.287, over 28 conversions, less 0.05 for the adder
    assert column.conversion_j(64 * DIGITAL_J) == pytest.approx(0.0609e-12, rel=1e-3)
    # sqrt(kT / 32 fF) = 0.393 mV on 0.8 V, for sums of up to 64
    assert column.noise == pytest.approx(64 * math.sqrt(1.380649e-23 * 358 / 32e-15) / 0.8)
    assert column.cell_spread == pytest.approx(0.01 * math.sqrt(2))


def test_enough_bits_for_every_count_make_an_ideal_analog_column_exact() -> None:
    sample = blocks(256)

    assert column_db(sample, IDEAL, None) == pytest.approx(sample.digital_db, abs=1e-3)
    assert column_db(sample, IDEAL, 8) == pytest.approx(sample.digital_db, abs=1e-3)
    assert column_db(sample, IDEAL, 3) < sample.digital_db - 3


def test_the_digital_column_loses_what_two_quantised_vectors_do() -> None:
    # 41.0 dB each (docs/studies/block-sizes.md): noise of both adds, 3.01 dB less
    assert blocks(1 << 13).digital_db == pytest.approx(41.0 - 3.01, abs=0.3)
    assert blocks(1 << 13, "mxint4").digital_db == pytest.approx(16.9 - 3.01, abs=0.3)


def test_a_converter_of_b_bits_has_the_error_of_its_step() -> None:
    # one conversion of a Gaussian: at 8 bits the best range is about 4 sigma, a step of sigma / 32
    rng = np.random.default_rng(0)
    line = rng.standard_normal(1 << 14)
    held = analog._Line(held=line, clean=line, step=1e-9, unit=1.0)
    noise = float(np.mean((analog._converted(held, 8) - line) ** 2))

    assert noise == pytest.approx((1 / 32) ** 2 / 12, rel=0.15)


def test_current_readout_cannot_reach_the_digital_columns_accuracy() -> None:
    sample = blocks(1 << 11)
    current = replace(IDEAL, activation_slice=7, weight_slice=7, readout="current", spread=0.05)

    # cells of 5 % leave 1 / 0.05^2 = 26.0 dB, whatever the ADC; the formats' 37.9 dB come on top
    expected = -10 * math.log10(0.05**2 + 10 ** (-sample.digital_db / 10))
    assert column_db(sample, current, None) == pytest.approx(expected, abs=0.3)
    assert least_bits(sample, current) is None


def test_assumed_conversions_grow_five_times_for_two_bits_and_areas_four() -> None:
    assert conversion_range_j(6) == (0.1e-12, 0.4e-12)
    assert conversion_range_j(10) == pytest.approx((2.5e-12, 10e-12))
    assert converter_m2(8)[1] == pytest.approx(4 * converter_m2(6)[1])


def test_the_studys_number_at_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analog, "SLICES", (1, 2, 7))
    monkeypatch.setattr(analog, "CAPACITORS_F", (0.5e-15, 1e-15, 16e-15))
    best = rivals(blocks(1 << 11), DIGITAL_J)[0]

    assert (best.column.activation_slice, best.column.weight_slice) == (2, 1)
    assert (best.column.conversions, best.bits) == (28, 6)
    assert best.break_even_j == pytest.approx(0.061e-12, rel=0.01)
    assert best.break_even_j < conversion_range_j(6)[0]  # analog loses


def test_the_studys_number_at_four_bits() -> None:
    best = rivals(blocks(1 << 11, "mxint4"), 13.25e-15)[0]

    assert (best.column.conversions, best.bits) == (1, 5)
    assert best.break_even_j == pytest.approx(0.767e-12, rel=0.01)
    assert best.break_even_j > conversion_range_j(5)[1]  # analog wins
