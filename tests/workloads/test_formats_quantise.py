"""The quantisers against their definitions, in fractions, element by element."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.formats import FORMATS, Format, FormatError, decode, encode, get_format, quantize
from workloads.formats.quantise import Encoded

BLOCK_FORMATS = (
    "mxint4",
    "mxint8",
    "mxint16",
    "mxint4_k32",
    "mxint8_k32",
    "bfp12_16",
    "bfp16_64",
    "bfp24_64",
)
FLOATS = ("fp8_e4m3", "fp8_e5m2", "fp16", "bf16", "fp32")
SCALED_FLOATS = ("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "nvfp4")
SPARSE = ("sbfp12_16+4:8", "mxint8+2:8", "fp8_e4m3+4:8", "mxfp4+4:8", "nvfp4+2:8")
EVERY = (*FORMATS, *SPARSE)
E8M7, E8M23 = 2**128 - 2**120, 2**128 - 2**104
LARGEST: dict[str, int | Fraction] = {
    "e2m1": 6,
    "e2m3": Fraction(15, 2),
    "e3m2": 28,
    "e4m3": 448,
    "e5m2": 57344,
    "e5m10": 65504,
    "e8m7": E8M7,
    "e8m23": E8M23,
}
ELEMENTS = {
    "fp8_e4m3": "e4m3",
    "fp8_e5m2": "e5m2",
    "fp16": "e5m10",
    "bf16": "e8m7",
    "fp32": "e8m23",
    "mxfp4": "e2m1",
    "mxfp6_e2m3": "e2m3",
    "mxfp6_e3m2": "e3m2",
    "mxfp8_e4m3": "e4m3",
    "mxfp8_e5m2": "e5m2",
    "nvfp4": "e2m1",
}


def binade(x: Fraction) -> int:
    """Floor of the binary logarithm."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def oracle_exponent(block: list[Fraction], bits: int) -> list[Fraction]:
    top = max(map(abs, block))
    e = min(127, max(-127, binade(top))) if top else -127
    step = Fraction(2) ** (e - (bits - 2))
    most = 2 ** (bits - 1) - 1
    return [step * min(most, max(-most, round(x / step))) for x in block]  # round: ties to even


def oracle_scale(block: list[Fraction], bias: int) -> list[Fraction]:
    top = max(map(abs, block))
    if not top or binade(top / 7) < 1 - bias:
        return [Fraction(0)] * len(block)
    unit = Fraction(2) ** (binade(top / 7) - 4)
    scale = min(unit * round(top / 7 / unit), Fraction(31, 16) * Fraction(2) ** (15 - bias))
    return [round(7 * x / top) * scale for x in block]


def oracle_float(x: Fraction, element: str) -> Fraction:
    exponents, fraction = map(int, element[1:].split("m"))
    bias, largest = 2 ** (exponents - 1) - 1, Fraction(LARGEST[element])
    e = max(binade(abs(x)), 1 - bias) if x else 0
    step = Fraction(2) ** (e - fraction)
    return min(largest, max(-largest, step * round(x / step)))


def oracle_power(block: list[Fraction], element: str) -> list[Fraction]:
    """Section 6.3 of OCP Microscaling Formats 1.0."""
    top = max(map(abs, block))
    e = binade(top) - binade(Fraction(LARGEST[element])) if top else -127
    scale = Fraction(2) ** min(127, max(-127, e))
    return [scale * oracle_float(x / scale, element) for x in block]


def oracle_tensor(x: list[Fraction]) -> Fraction:
    """The float32 that an array in NVFP4 shares."""
    wanted = float(max(map(abs, x)) / 2688)
    return Fraction(max(2.0**-149, float(np.float32(wanted)))) if wanted else Fraction(1)


def oracle_two_levels(block: list[Fraction], tensor: Fraction) -> list[Fraction]:
    """NVFP4: a scale in E4M3 under that of the array."""
    scale = tensor * oracle_float(max(map(abs, block)) / 6 / tensor, "e4m3")
    if not scale:
        return [Fraction(0)] * len(block)
    return [scale * oracle_float(x / scale, "e2m1") for x in block]


def oracle(x: list[float], item: Format, bias: int = 7) -> list[float]:
    """One row, blocks from its beginning."""
    exact = [Fraction(value) for value in x]
    if not item.is_block:
        return [float(oracle_float(value, ELEMENTS[item.name])) for value in exact]
    found: list[Fraction] = []
    tensor = oracle_tensor(exact) if item.scale == "e4m3" else Fraction(1)
    for first in range(0, len(exact), item.block):
        block = exact[first : first + item.block]
        if item.scale == "e4m3":
            found += oracle_two_levels(block, tensor)
        elif item.name in ELEMENTS:
            found += oracle_power(block, ELEMENTS[item.name])
        elif item.scale == "e4m4":
            found += oracle_scale(block, bias)
        else:
            found += oracle_exponent(block, item.mantissa_bits)
    return [float(value) for value in found]


def rows(dtype: npt.DTypeLike, most: float) -> st.SearchStrategy[npt.NDArray[Any]]:
    """Rows of plain numbers, of ties on a grid, of subnormals and of the largest there are."""
    width = 32 if np.dtype(dtype) == np.float32 else 64
    numbers = st.one_of(
        st.floats(-most, most, width=width),  # type: ignore[arg-type]
        st.integers(-512, 512).map(lambda n: n / 256),
        st.integers(-(2**24), 2**24).map(lambda n: n * 2.0**-149),
        st.sampled_from([0.0, -0.0, most, -most, 448.0, 464.0, 2.0**-9, 2.0**-10]),
    )
    return hnp.arrays(dtype, st.integers(1, 150), elements=numbers)


LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("name", [*BLOCK_FORMATS, *FLOATS, *SCALED_FLOATS])
@settings(max_examples=8)
@given(data=st.data())
def test_float32_is_quantised_exactly_as_defined(name: str, data: st.DataObject) -> None:
    x = data.draw(rows(np.float32, LARGEST_FLOAT32))

    found = quantize(x, name)
    assert found.dtype == np.float32
    # what NVFP4 stands for takes up to 30 bits
    assert found.tolist() == np.array(oracle(x.tolist(), get_format(name)), np.float32).tolist()


@pytest.mark.parametrize("name", ["mxint4", "mxint8", "bfp24_64", *FLOATS, *SCALED_FLOATS[:-1]])
@settings(max_examples=6)
@given(data=st.data())
def test_float64_is_quantised_exactly_as_defined(name: str, data: st.DataObject) -> None:
    x = data.draw(rows(np.float64, 1.7e308))

    found = quantize(x, name)
    assert found.dtype == np.float64
    assert found.tolist() == oracle(x.tolist(), get_format(name))


@settings(max_examples=30)
@given(x=rows(np.float32, 3000.0), bias=st.integers(-20, 30))
def test_scaled_blocks_are_quantised_exactly_as_defined(
    x: npt.NDArray[np.float32], bias: int
) -> None:
    item = get_format("sbfp12_16")

    assert quantize(x, item, scale_bias=bias).tolist() == oracle(x.tolist(), item, bias)


def bits_of(stored: Encoded) -> int:
    """Of elements, scales and mask together."""
    bits: int = stored.elements.size * stored.format.element_bits
    bits += 0 if stored.scales is None else stored.scales.size * stored.format.scale_bits
    return bits + (0 if stored.mask is None else stored.mask.size)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=5)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_decoding_the_stored_form_equals_quantising(
    name: str, data: st.DataObject, dtype: Any
) -> None:
    x = data.draw(rows(dtype, LARGEST_FLOAT32))

    stored = encode(x, name)
    assert decode(stored).tobytes() == quantize(x, name).tobytes()  # the signs of zeros too
    assert (bits_of(stored) + 7) // 8 == get_format(name).bytes_of(len(x))


@pytest.mark.parametrize("name", EVERY)
def test_quantising_twice_changes_nothing_more(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((3, 200)).astype(np.float32)

    once = quantize(x, name)
    if name.startswith("nvfp4"):  # the float32 of the array is rounded twice
        np.testing.assert_allclose(quantize(once, name), once, rtol=1e-6)
    elif "sbfp" not in name:  # there the largest is 7 rounded scales, a seventh of which may round
        assert quantize(once, name).tobytes() == once.tobytes()
    assert not np.array_equal(once, x) or name == "fp32"


@pytest.mark.parametrize("name", ["mxint8", "sbfp12_16", "fp16", "sbfp12_16+4:8", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("shape", [(300, 5), (3, 130, 4), (2, 3, 4, 70), (150,), (0, 64), (64, 0)])
def test_any_axis_is_quantised_like_the_last(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)

    for axis in range(-len(shape), len(shape)):
        turned = np.ascontiguousarray(np.moveaxis(x, axis, -1))
        found = quantize(x, name, axis=axis)
        assert found.shape == shape
        np.testing.assert_array_equal(np.moveaxis(found, axis, -1), quantize(turned, name))
        assert decode(encode(x, name, axis=axis)).tobytes() == found.tobytes()


@pytest.mark.parametrize("name", EVERY)
def test_large_arrays_are_cut_into_pieces_without_a_trace(name: str) -> None:
    x = np.random.default_rng(3).standard_normal((2, 70_001)).astype(np.float32)
    x[:, -1] = 6.0  # the largest of the whole and of its end: NVFP4 has one scale for all

    ends = slice(69_888, None)  # whole blocks and groups before it; bias 7 holds all scales
    np.testing.assert_array_equal(quantize(x, name)[:, ends], quantize(x[:, ends], name))


@pytest.mark.parametrize("name", EVERY)
def test_the_largest_and_smallest_numbers_stay_finite(name: str) -> None:
    for x in (LARGEST_FLOAT32, 2.0**-149, 1.7e308, 5e-324):
        many = np.array([x, -x, 0.0] * 30)
        assert np.isfinite(quantize(many, name)).all()
        if x <= LARGEST_FLOAT32:
            assert np.isfinite(quantize(many.astype(np.float32), name)).all()


@settings(max_examples=12)
@given(rows(np.float32, 1e6))
def test_a_sparse_format_is_its_dense_one_on_what_is_kept(x: npt.NDArray[np.float32]) -> None:
    stored = encode(x, "sbfp12_16+4:8", scale_bias=7)

    assert stored.mask is not None
    kept = x[stored.mask]
    for first in range(0, len(x), 8):
        group, held = np.abs(x[first : first + 8]), stored.mask[first : first + 8]
        assert held.sum() == min(4, len(group))
        assert not held.all() or len(group) <= 4
        assert group[~held].max(initial=0) <= group[held].min()
    dense = encode(kept, "sbfp12_16", scale_bias=7)
    assert dense.elements.tolist() == stored.elements.tolist()
    assert dense.scales is not None
    assert stored.scales is not None
    assert dense.scales.tolist() == stored.scales.tolist()
    assert (
        quantize(x, "sbfp12_16+4:8", scale_bias=7)[stored.mask].tolist() == decode(dense).tolist()
    )


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    "name", ["mxint8", "sbfp12_16", "fp8_e4m3", "sbfp12_16+4:8", "mxfp4", "nvfp4"]
)
def test_what_is_not_finite_is_refused_with_its_place(name: str, bad: float) -> None:
    x = np.ones((3, 70, 2), np.float32)
    x[2, 65, 1] = bad

    with pytest.raises(FormatError, match=rf"there is {bad} at index \[2, 65, 1\] \(1 such"):
        quantize(x, name, axis=1)
    with pytest.raises(FormatError, match="only finite numbers"):
        encode(x, name, axis=1)


@pytest.mark.parametrize(
    ("x", "arguments", "words"),
    [
        (np.ones(3, np.int64), {}, "float32 or float64, got int64"),
        (np.ones(3, np.float16), {}, "got float16"),
        (np.float32(1), {}, "axis -1 is not one of the 0"),
        (np.ones((2, 2)), {"axis": 2}, "axis 2 is not one of the 2"),
        (np.ones(3), {"scale_bias": 128}, "between -112 and 127, got 128"),
    ],
)
def test_arguments_that_cannot_be_are_refused(x: Any, arguments: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        quantize(x, "sbfp12_16", **arguments)


@settings(max_examples=10)
@given(x=rows(np.float32, 2.0**100))
def test_more_mantissa_bits_are_never_farther_off(x: npt.NDArray[np.float32]) -> None:
    def error(name: str) -> Any:
        return np.abs(quantize(x, name).astype(np.float64) - x)

    for finer, coarser in (("mxint8", "mxint4"), ("mxint16", "mxint8"), ("fp32", "bf16")):
        assert (error(finer) <= error(coarser)).all()
