"""Bounds of the errors of inner products in block formats."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.formats import (
    FormatError,
    block_format,
    gaussian_dot_bound,
    gaussian_dot_noise,
    gaussian_noise,
    get_format,
    largest_error,
    quantize,
    rounded_up_noise,
    scaled_noise,
)

BLOCKS = (16, 32, 64, 128, 256)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    tail=st.floats(0.0, 12.0),
    bits=st.sampled_from((4, 8)),
    block=st.sampled_from(BLOCKS),
)
def test_no_inner_product_is_off_by_more_than_its_bound(
    seed: int, tail: float, bits: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 8, 256)) * np.exp(tail * rng.standard_normal((2, 8, 256)))
    item = block_format(bits, block)
    left, right = quantize(x, item), quantize(y, item)

    errors = np.abs((left * right - x * y).sum(axis=1))
    # the sum of 256 float64 products may itself be off in its last bits
    slack = 1e-13 * np.abs(x * y).sum(axis=1)
    assert np.all(errors <= largest_error(x, y, item) + slack)


def test_the_bound_by_hand() -> None:
    # largest 3 and 4 bits: steps of 2^(1 - 2) = 0.5; 3.9 is beyond 7.25 halves and may lose a step
    x, y = np.zeros(16), np.zeros(16)
    x[:2], y[:2] = (3.9, 1.0), (2.0, 1.0)
    expected = 0.5 * 2 + 3.9 * 0.25 + 0.5 * 0.25 + (0.25 * 1 + 1 * 0.25 + 0.25 * 0.25)
    expected += 14 * 0.25 * 0.25

    assert largest_error(x, y, block_format(4, 16)) == pytest.approx(expected)
    assert largest_error(np.zeros(16), y, block_format(4, 16)) == 0


def test_the_bound_of_gaussian_numbers_by_hand() -> None:
    # 64 numbers: E M^2 <= 2 (1 + ln 64) = 10.318; steps of M / 4 at 4 bits, of M / 7 if exact
    least = 10.318 / (12 * 49)

    assert gaussian_dot_bound(4, 64, exact_scale=True) == pytest.approx(2 * least, rel=0.01)
    assert gaussian_dot_bound(4, 64) == pytest.approx(
        2 * 10.318 / 192 + (10.318 / 192) ** 2, rel=1e-4
    )


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_closed_forms_respect_the_bound(bits: int, block: int) -> None:
    item = block_format(bits, block)
    shared, exact = gaussian_noise(item), scaled_noise(item, block)

    assert gaussian_dot_noise(shared) < gaussian_dot_bound(bits, block)
    assert gaussian_dot_noise(exact) < gaussian_dot_bound(bits, block, exact_scale=True)
    # rounded up, a scale is at most twice the exact one, and never clips
    assert exact < rounded_up_noise(bits, block) < 4 * exact * block / (block - 1)


def test_the_largest_square_of_many_is_below_two_and_two_logarithms() -> None:
    squares = np.square(np.random.default_rng(0).standard_normal((20_000, 64))).max(axis=1)

    assert 6.5 < squares.mean() < 2 * (1 + math.log(64))


@pytest.mark.parametrize("name", ["sbfp12_16", "fp8", "mxfp4", "mxint8+4:8"])
def test_formats_without_a_shared_exponent_over_integers_have_no_such_bound(name: str) -> None:
    with pytest.raises(FormatError, match="dense integers under a power of two"):
        largest_error(np.ones(64), np.ones(64), get_format(name))


def test_rows_that_end_within_a_block_are_refused() -> None:
    with pytest.raises(FormatError, match="63 elements are no multiple of the block of 64"):
        largest_error(np.ones(63), np.ones(63), get_format("mxint8"))
