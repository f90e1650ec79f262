import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.formats import (
    FORMATS,
    FormatError,
    block_format,
    distortion,
    gaussian_noise,
    get_format,
    sqnr_db,
)
from workloads.formats.array_file import read_array

Numbers = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def normal() -> Numbers:
    return np.random.default_rng(0).standard_normal((1024, 256)).astype(np.float32)


def test_the_error_of_four_numbers_by_hand() -> None:
    # exponent 0, steps 1/64: 0.3 becomes 19/64, off by 1/320 = 0.2 steps
    found = distortion(np.array([1.0, 0.3, 0.0, -0.5]), get_format("mxint8"))

    assert found.signal == pytest.approx((1 + 0.09 + 0.25) / 4)
    assert found.noise == pytest.approx((0.2 / 64) ** 2 / 4)
    assert found.largest_relative == pytest.approx(0.2 / 64 / 0.3)
    assert found.largest_of_block == pytest.approx(0.2 / 64)
    assert found.sqnr_db == pytest.approx(10 * math.log10(1.34 / (0.2 / 64) ** 2))


def test_nothing_lost_is_infinitely_good_and_nothing_at_all_is_no_number() -> None:
    assert distortion(np.ones(3), get_format("mxint8")).sqnr_db == math.inf
    assert math.isnan(distortion(np.zeros(3), get_format("mxint8")).sqnr_db)
    assert math.isnan(distortion(np.zeros((0, 8)), get_format("fp16")).sqnr_db)
    assert sqnr_db(1.0, 0.01) == pytest.approx(20)


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**-600, 2.0**1000])
def test_numbers_whose_squares_no_float_holds_are_measured_too(scale: float) -> None:
    found = distortion(np.array([1.0, 0.5, 0.25]) * scale, get_format("fp16"))

    # flushed to zeros, or clipped to 65,504: all of the signal is lost
    assert found.sqnr_db == pytest.approx(0, abs=1e-9)
    assert found.largest_relative == pytest.approx(1)


def test_the_axis_decides_which_numbers_share() -> None:
    x = np.ones((64, 2), np.float32)
    x[:, 1] = 1e-4  # beside a 1 it is nothing, among its like it is exact enough

    across, along = (distortion(x, get_format("mxint8"), axis) for axis in (1, 0))
    assert across.largest_relative == 1
    assert along.largest_relative < 0.01


@pytest.mark.parametrize(
    "name",
    [*(name for name in FORMATS if name != "fp32"), "sbfp12_16+4:8", "mxint8+2:8", "fp8+4:8"],
)
def test_what_is_measured_is_what_the_closed_form_says(name: str, normal: Numbers) -> None:
    item = get_format(name)

    assert distortion(normal, item).noise == pytest.approx(gaussian_noise(item), rel=0.02)


def test_rounding_a_scale_to_five_bits_costs_two_per_cent() -> None:
    item = get_format("sbfp12_16")
    n = np.abs(np.random.default_rng(1).standard_normal((100_000, 16))).max(axis=1)

    expected = float((n**2).mean()) / (12 * 49) * 15 / 16
    assert expected < gaussian_noise(item) < expected * 1.05


def test_what_shares_no_scale_has_no_blocks_even_when_sparse() -> None:
    x = np.array([8, 7, 6, 5, 4, 3, 2, 1], np.float32)

    found = distortion(x, get_format("fp16+4:8"))  # four are dropped: each is all of its error
    assert found.largest_of_block == found.largest_relative == 1


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), spread=st.floats(0.1, 6.0), rows=st.integers(1, 4))
def test_more_mantissa_bits_never_lose_more(seed: int, spread: float, rows: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((rows, 256)) * np.exp(spread * rng.standard_normal(256))).astype(
        np.float32
    )

    def noise(bits: int, block: int) -> float:
        return distortion(x, block_format(bits, block)).noise

    for block in (16, 64, 256):
        assert noise(16, block) <= noise(8, block) <= noise(4, block)
    assert distortion(x, get_format("fp32")).noise <= distortion(x, get_format("bf16")).noise


def test_a_users_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))

    assert read_array(tmp_path / "x.npy").shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.npy", None, "No such file"),
        ("text.npy", b"1, 2, 3\n", "not an array as numpy.save writes it"),
        ("empty.npy", b"", "not an array"),
        ("zip.npy", b"PK\x03\x04 and no more", "not an array"),
        ("whole.npy", np.ones(3, np.int32), "float32 or float64, got int32"),
        ("things.npy", np.array([{}], object), "not an array as numpy.save"),
    ],
)
def test_files_without_such_numbers_are_refused(
    tmp_path: Path, name: str, content: Any, words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)

    with pytest.raises(FormatError, match=words):
        read_array(path)


def test_a_file_that_claims_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge.npy").open("wb") as file:
        header = {"shape": (1 << 50,), "fortran_order": False, "descr": "<f8"}
        np.lib.format.write_array_header_1_0(file, header)

    with pytest.raises(FormatError, match="larger than this machine's memory"):
        read_array(tmp_path / "huge.npy")


def test_several_arrays_in_a_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))

    with pytest.raises(FormatError, match="holds several arrays"):
        read_array(tmp_path / "two.npz")
