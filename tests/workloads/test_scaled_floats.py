"""OCP's MX formats and NVFP4: tables and blocks by hand, and held against ml_dtypes."""

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from workloads.formats import (
    Format,
    decode,
    distortion,
    encode,
    gaussian_noise,
    get_format,
    quantize,
)

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
E2M3 = [
    *[0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875],
    *[1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875],
    *[2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75],
    *[4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5],
]
E3M2 = [
    *[0, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375],
    *[0.5, 0.625, 0.75, 0.875, 1, 1.25, 1.5, 1.75],
    *[2, 2.5, 3, 3.5, 4, 5, 6, 7],
    *[8, 10, 12, 14, 16, 20, 24, 28],
]
ELEMENTS: dict[str, Any] = {
    "mxfp4": ml_dtypes.float4_e2m1fn,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
}
LARGEST = {
    "mxfp4": 6.0,
    "mxfp6_e2m3": 7.5,
    "mxfp6_e3m2": 28.0,
    "mxfp8_e4m3": 448.0,
    "mxfp8_e5m2": 57344.0,
}
EMAX = {"mxfp4": 2, "mxfp6_e2m3": 2, "mxfp6_e3m2": 4, "mxfp8_e4m3": 8, "mxfp8_e5m2": 15}


def numbers_of(name: str, codes: npt.NDArray[Any], scale: int = 127) -> Any:
    """What these codes stand for under one code of a scale; 127 is 1 in E8M0."""
    stored = encode(np.zeros(len(codes), np.float32), name)
    assert stored.scales is not None
    return decode(replace(stored, elements=codes, scales=np.full_like(stored.scales, scale)))


def various(seed: int) -> npt.NDArray[np.float32]:
    """Rows of numbers of many magnitudes, with ties, zeros and a short last block."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((64, 200)) * np.exp2(rng.integers(-40, 40, (64, 1)))
    x[::3] = rng.integers(-64, 65, (22, 200)) / 8
    x[5] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize(
    ("name", "table"), [("mxfp4", E2M1), ("mxfp6_e2m3", E2M3), ("mxfp6_e3m2", E3M2)]
)
def test_every_code_of_four_and_six_bits_is_a_number(name: str, table: list[float]) -> None:
    codes = np.arange(2 * len(table), dtype=np.uint8)

    found = numbers_of(name, codes)
    assert found.tolist() == [*table, *(-each for each in table)]
    assert np.signbit(found).tolist() == [False] * len(table) + [True] * len(table)


@pytest.mark.parametrize("name", ELEMENTS)
def test_every_code_stands_for_what_ml_dtypes_reads(name: str) -> None:
    element = ELEMENTS[name]
    codes = np.arange(2 ** get_format(name).element_bits, dtype=np.uint8)

    np.testing.assert_array_equal(
        numbers_of(name, codes), codes.view(element).astype(np.float32)
    )  # infinities and NaNs too


def test_every_code_of_a_scale_stands_for_what_ml_dtypes_reads() -> None:
    codes = np.arange(255, dtype=np.uint8)
    stored = encode(np.zeros((255, 1)), "mxfp4")
    ones = np.full_like(stored.elements, 2)  # the code of 1 in E2M1

    found = decode(replace(stored, elements=ones, scales=codes[:, None]))[:, 0]
    assert found.tolist() == codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64).tolist()


def test_the_last_code_of_a_scale_makes_its_block_nan() -> None:
    found = numbers_of("mxfp4", np.arange(16, dtype=np.uint8), scale=255)

    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("name", "alike"),
    [("fp8", "mxfp8_e4m3"), ("fp8_e4m3", "mxfp8_e4m3"), ("fp8_e5m2", "mxfp8_e5m2")],
)
def test_plain_fp8_is_that_of_ml_dtypes_saturated(name: str, alike: str) -> None:
    x, element, largest = various(0), ELEMENTS[alike], LARGEST[alike]

    expected = np.clip(x, -largest, largest).astype(element)
    assert encode(x, name).elements.tolist() == expected.view(np.uint8).tolist()
    assert quantize(x, name).tolist() == expected.astype(np.float32).tolist()


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_those_of_the_specification_with_ml_dtypes_elements(
    name: str, seed: int
) -> None:
    x, element, largest = various(seed), ELEMENTS[name], LARGEST[name]

    stored = encode(x, name)
    assert stored.scales is not None
    for row in range(len(x)):
        for block, first in enumerate(range(0, x.shape[1], 32)):
            part = x[row, first : first + 32].astype(np.float64)
            top = np.abs(part).max()
            code = max(0, int(np.frexp(top)[1]) - 1 - EMAX[name] + 127) if top else 0
            scale = np.uint8(code).reshape(1).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
            expected = np.clip(part / scale, -largest, largest).astype(element)
            assert stored.scales[row, block] == code
            found = stored.elements[row, first : first + 32]
            assert found.tolist() == expected.view(np.uint8).tolist()


def test_mxfp4_by_hand() -> None:
    # floor(log2 7) = 2, less emax 2: a scale of 1; ties go to the even fraction, 7 is clipped
    x = np.array([7, 5, -5, 2.5, 3.5, 0.25, 0.75, -0.2, 1.25, 1.75], np.float32)
    # the next block: floor(log2 0.3) = -2, a scale of 2^-4; 0.3 is 4.8 of them, between 4 and 6
    y = np.array([*x, *[0.0] * 22, 0.3, 0.1], np.float32)

    stored = encode(y, "mxfp4")
    assert stored.scales is not None
    assert stored.scales.tolist() == [127, 123]
    assert stored.elements[:10].tolist() == [7, 6, 14, 4, 6, 0, 2, 8, 2, 4]
    assert decode(stored)[:10].tolist() == [6, 4, -4, 2, 4, 0, 1, 0, 1, 2]
    assert decode(stored)[32:].tolist() == [0.25, 0.09375]  # 0.1 is 1.6 of them: 1.5


def test_mxfp8_keeps_subnormals_and_clips_what_its_scale_does_not_reach() -> None:
    # floor(log2 500) = 8 = emax of E4M3: a scale of 1, in which 500 is beyond 448
    x = np.array([500, 2.0**-6, 2.0**-9, 2.0**-10, 1.5 * 2.0**-9, -(2.0**-11)], np.float32)

    assert quantize(x, "mxfp8_e4m3").tolist() == [448, 2.0**-6, 2.0**-9, 0, 2.0**-8, 0]
    assert encode(x, "mxfp8_e4m3").elements.tolist() == [0x7E, 0x08, 0x01, 0x00, 0x02, 0x80]


def test_scales_end_where_eight_bits_do() -> None:
    tiny = np.array([2.0**-127, 2.0**-128, 2.0**-129], np.float32)  # the least scale is 2^-127

    stored = encode(tiny, "mxfp4")
    assert stored.scales is not None
    assert stored.scales.tolist() == [0]
    assert decode(stored).tolist() == [2.0**-127, 2.0**-128, 0]
    huge = encode(np.array([1e300]), "mxfp4")  # the largest is 2^127
    assert huge.scales is not None
    assert huge.scales.tolist() == [254]
    assert decode(huge).tolist() == [6 * 2.0**127]


def test_nvfp4_by_hand() -> None:
    x = np.zeros(64, np.float32)
    x[0] = 2688  # 6 x 448: the array's float32 is 1, and this block's scale 448
    x[16:18] = 6, 2.5  # scale 1: 2.5 is a tie, to 2
    x[32:34] = 3.1, 0.7  # 3.1 / 6 = 0.5167, in E4M3 0.5: 6.2 is clipped to 6, 1.4 goes to 1.5
    x[48] = 6 * 2.0**-10  # a scale of 2^-10 is half the least of E4M3: flushed

    stored = encode(x, "nvfp4")
    assert stored.tensor_scale == 1
    assert stored.scales is not None
    assert stored.scales.tolist() == [0x7E, 0x38, 0x30, 0x00]
    assert stored.elements[[0, 16, 17, 32, 33]].tolist() == [7, 7, 4, 7, 3]
    assert decode(stored)[[0, 16, 17, 32, 33, 48]].tolist() == [2688, 6, 2, 3, 0.75, 0]


@pytest.mark.parametrize("seed", range(3))
def test_nvfp4_is_two_levels_of_ml_dtypes_elements(seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((64, 256)).astype(np.float32)

    stored = encode(x, "nvfp4")
    assert stored.scales is not None
    assert stored.tensor_scale == float(np.float32(np.abs(x).max() / np.float64(2688)))
    blocks = x.reshape(64, 16, 16).astype(np.float64)
    wanted = np.abs(blocks).max(axis=2) / 6 / stored.tensor_scale
    scales = np.minimum(wanted, 448).astype(ml_dtypes.float8_e4m3fn)
    assert stored.scales.tolist() == scales.view(np.uint8).tolist()
    under = blocks / (scales.astype(np.float64) * stored.tensor_scale)[:, :, None]
    expected = under.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    assert stored.elements.reshape(64, 16, 16).tolist() == expected.tolist()


def test_a_block_that_nvfp4_flushes_stores_zeros() -> None:
    x = np.full(32, 6 * 2.0**20, np.float32)
    x[0] = 2688 * 2.0**30  # under its 2^30 the second block's scale is 2^-10

    stored = encode(x, "nvfp4")
    assert stored.elements[16:].tolist() == [0] * 16
    assert quantize(x, "nvfp4")[16:].tolist() == [0.0] * 16


def test_an_arrays_scale_that_was_rounded_up_does_not_overflow() -> None:
    most = float(np.finfo(np.float32).max)
    item = Format(
        name="mine", element_bits=6, mantissa_bits=2, block=16, scale_bits=8, scale="e4m3"
    )

    assert quantize(np.array([most, -most]), item).max() > most  # what a float64 array holds
    found = quantize(np.array([most, -most], np.float32), item)
    assert found.tolist() == [most, -most]


def test_an_arrays_own_scale_lets_nvfp4_hold_any_magnitude() -> None:
    x = np.random.default_rng(0).standard_normal(4096).astype(np.float32)

    for power in (-100, 0, 100):
        scaled = x * np.float32(2.0**power)
        assert (quantize(scaled, "nvfp4") == quantize(x, "nvfp4") * np.float32(2.0**power)).all()


@pytest.mark.parametrize("item", [
    Format(name="mine", element_bits=7, mantissa_bits=3, block=8, scale_bits=8, scale="e8m0"),
    Format(name="mine", element_bits=6, mantissa_bits=2, block=32, scale_bits=8, scale="e4m3"),
])  # fmt: skip
def test_a_format_is_its_definition_and_needs_no_code(item: Format) -> None:
    x = np.random.default_rng(1).standard_normal((512, 256)).astype(np.float32)

    left = quantize(x, item)
    assert decode(encode(x, item)).tobytes() == left.tobytes()
    assert distortion(x, item).noise == pytest.approx(gaussian_noise(item), rel=0.02)
