"""What is stored, by hand: exponents, scales, codes of floats, what sparsity keeps."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from workloads.formats import decode, encode, quantize
from workloads.formats.shared_scale import usual_bias


def test_a_block_takes_the_exponent_of_its_largest() -> None:
    x = np.zeros(70, np.float32)
    x[0], x[1], x[64] = 1.0, 0.3, 0.3

    stored = encode(x, "mxint8")  # steps 2^-6 in the first block, 2^-8 in the short second
    assert stored.scales is not None
    assert stored.scales.tolist() == [127, 125]
    assert stored.elements[[0, 1, 64]].tolist() == [64, 19, 77]  # 19.2 and 76.8
    assert decode(stored)[[0, 1, 64]].tolist() == [1.0, 19 / 64, 77 / 256]


def test_halves_go_to_the_even_step() -> None:
    x = np.array([1.0, 0.5 / 64, 1.5 / 64, 2.5 / 64, -0.5 / 64, -3.5 / 64], np.float32)

    assert encode(x, "bfp16_64").elements.tolist() == [64, 0, 2, 2, 0, -4]


def test_what_rounds_up_to_the_next_binade_is_clipped() -> None:
    x = np.array([1.9999, -1.9999], np.float32)  # 127.99 steps: the clip is 1.984375 x 2^e

    assert quantize(x, "bfp16_64").tolist() == [1.984375, -1.984375]
    assert quantize(x, "bfp12_64").tolist() == [1.75, -1.75]


def test_small_numbers_beside_a_large_one_become_plain_zeros() -> None:
    found = quantize(np.array([1.0, -1e-4, -0.0], np.float32), "mxint8")

    assert found.tolist() == [1.0, 0.0, 0.0]
    assert not np.signbit(found).any()


def test_shared_exponents_end_where_eight_bits_do() -> None:
    tiny = np.array([2.0**-127, 2.0**-128, 2.0**-134, 2.0**-149], np.float32)
    below = np.array([2.0**-140], np.float32)

    stored = encode(tiny, "mxint8")  # exponent -127, steps of 2^-133; 2^-134 is half a step
    assert stored.scales is not None
    assert stored.scales.tolist() == [0]
    assert stored.elements.tolist() == [64, 32, 0, 0]
    assert quantize(below, "mxint8").tolist() == [0.0]
    assert quantize(below, "mxint16").tolist() == [2.0**-140]  # steps of 2^-141
    assert quantize(np.array([1e300, 1e30]), "mxint8").tolist() == [127 * 2.0**121, 0.0]


def test_zeros_have_code_zero() -> None:
    stored = encode(np.zeros((2, 64), np.float32), "mxint8")

    assert stored.scales is not None
    assert stored.scales.tolist() == [[0], [0]]
    assert not decode(stored).any()


def test_a_scaled_block_stores_a_seventh_of_its_largest_in_five_bits() -> None:
    x = np.array([1.0, -0.5, 0.25, 0.1, 0.0714], np.float32)

    stored = encode(x, "sbfp12_16", scale_bias=7)
    # 1/7 = 1.142857 x 2^-3, to 5 bits 18/16 x 2^-3; field -3 + 7 = 4, fraction 2
    assert stored.scales is not None
    assert stored.scales.tolist() == [4 * 16 + 2]
    assert stored.elements.tolist() == [7, -4, 2, 1, 0]  # 7, -3.5, 1.75, 0.7, 0.4998
    assert decode(stored).tolist() == [m * 18 / 128 for m in (7, -4, 2, 1, 0)]


def test_scales_below_the_smallest_are_flushed_and_above_the_largest_clipped() -> None:
    small = np.array([7 * 2.0**-6, *[0.0] * 15, 6.9 * 2.0**-6], np.float32)
    large = np.array([7 * 1000.0], np.float32)

    assert quantize(small, "sbfp12_16", scale_bias=7).tolist() == [7 * 2.0**-6, *[0.0] * 16]
    assert quantize(large, "sbfp12_16", scale_bias=7).tolist() == [7 * 496.0]


def test_the_bias_moves_only_as_far_as_an_array_needs() -> None:
    def bias_of(*largest: float) -> int:
        return usual_bias(np.array(largest, np.float32))

    assert bias_of(7 * 0.25, 0.0) == 7
    assert bias_of(7 * 2.0**-6) == 7
    assert bias_of(7 * 2.0**-7) == 8  # field 1
    assert bias_of(7 * 300.0) == 7  # field 15
    assert bias_of(7 * 511.0) == 6  # rounds up to 512, field 16
    assert bias_of(7 * 2.0**-20, 7 * 2.0**10) == 5  # the largest goes first
    assert bias_of(0.0) == 7


def test_weights_that_the_usual_bias_would_flush_survive() -> None:
    x = np.random.default_rng(4).normal(0, 0.02, 4096).astype(np.float32)

    assert not quantize(x, "sbfp12_16", scale_bias=7).any()
    assert np.abs(quantize(x, "sbfp12_16") - x).max() < 0.02 * 4.5 / 7


def test_fp8_codes_are_those_of_ocp() -> None:
    e4m3 = np.array([448, 1e9, -448, 1.0, 2.0**-6, 2.0**-9, 2.0**-10, 1.5 * 2.0**-9, -0.0])
    e5m2 = np.array([57344, 1e9, -57344, 1.0, 2.0**-14, 2.0**-16, 2.0**-17, 1.5 * 2.0**-16, -0.0])

    assert encode(e4m3, "fp8_e4m3").elements.tolist() == [
        0x7E, 0x7E, 0xFE, 0x38, 0x08, 0x01, 0x00, 0x02, 0x80
    ]  # fmt: skip
    assert encode(e5m2, "fp8_e5m2").elements.tolist() == [
        0x7B, 0x7B, 0xFB, 0x3C, 0x04, 0x01, 0x00, 0x02, 0x80
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "not_finite"), [("fp8_e4m3", 2), ("fp8_e5m2", 8)])
def test_every_code_of_eight_bits_is_a_number_that_has_that_code(
    name: str, not_finite: int
) -> None:
    codes = np.arange(256, dtype=np.uint8)
    numbers = decode(every_code(name, codes))

    finite = np.isfinite(numbers)
    assert (~finite).sum() == not_finite
    assert np.isnan(numbers[0x7F])
    assert np.isinf(numbers).sum() == (0 if name == "fp8_e4m3" else 2)
    assert encode(numbers[finite], name).elements.tolist() == codes[finite].tolist()


def every_code(name: str, codes: npt.NDArray[Any]) -> Any:
    return replace(encode(np.zeros(len(codes), np.float32), name), elements=codes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_precision_is_numpys(dtype: Any) -> None:
    bits = np.random.default_rng(5).integers(0, 2**16, 4096, dtype=np.uint16)
    half = bits.view(np.float16)[np.isfinite(bits.view(np.float16))]
    x = (half.astype(np.float64) * (1 + 2.0**-11)).astype(dtype)  # beside the ties
    x = x[np.abs(x) <= 65504]

    assert quantize(x, "fp16").tobytes() == x.astype(np.float16).astype(dtype).tobytes()
    assert encode(x, "fp16").elements.tobytes() == x.astype(np.float16).tobytes()


def test_bf16_is_the_upper_half_of_float32() -> None:
    x = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -3.4e38, 2.0**-133, -0.0], np.float32)

    # ties to even: 1 + 2^-8 goes down, 1 + 3 x 2^-8 up; 2^-133 is the smallest subnormal
    assert encode(x, "bf16").elements.tolist() == [0x3F80, 0x3F80, 0x3F82, 0xFF7F, 0x0001, 0x8000]


def test_sparsity_keeps_the_largest_of_every_eight() -> None:
    x = np.array([1, -8, 2, 7, -3, 6, 4, 5, 0, 0, 0, 0, 0, -1, 0, 0, 9, 9, 9], np.float32)

    half, quarter = quantize(x, "fp16+4:8"), quantize(x, "fp16+2:8")
    assert half.tolist() == [0, -8, 0, 7, 0, 6, 0, 5, 0, 0, 0, 0, 0, -1, 0, 0, 9, 9, 9]
    assert quarter.tolist() == [0, -8, 0, 7, *[0] * 9, -1, 0, 0, 9, 9, 0]


def test_of_equals_the_first_are_kept() -> None:
    stored = encode(np.ones(8, np.float32), "mxint8+4:8")

    assert stored.mask is not None
    assert stored.mask.tolist() == [True] * 4 + [False] * 4
