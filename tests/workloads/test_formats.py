from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.formats import ALIASES, FORMATS, Format, FormatError, get_format

formats = st.sampled_from(list(FORMATS.values()))
counts = st.integers(0, 2**40)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("mxint4", Fraction(33, 8)),  # 4.125
        ("mxint8", Fraction(65, 8)),  # 8.125
        ("mxint16", Fraction(129, 8)),  # 16.125
        ("bfp12_64", Fraction(33, 8)),
        ("bfp16_64", Fraction(65, 8)),
        ("bfp24_64", Fraction(129, 8)),
        ("sbfp12_16", Fraction(9, 2)),  # 4.5
        ("fp8_e4m3", Fraction(8)),
        ("fp8_e5m2", Fraction(8)),
        ("fp16", Fraction(16)),
        ("bf16", Fraction(16)),
        ("fp32", Fraction(32)),
    ],
)
def test_bits_per_element_are_exact_with_shared_exponents(name: str, bits: Fraction) -> None:
    assert get_format(name).bits_per_element == bits


def test_the_table_above_names_every_format() -> None:
    assert len(FORMATS) == 12


@pytest.mark.parametrize("vendor", ["bfp12_64", "bfp16_64", "bfp24_64"])
def test_the_vendors_names_mean_the_same_arithmetic(vendor: str) -> None:
    twin = {"bfp12_64": "mxint4", "bfp16_64": "mxint8", "bfp24_64": "mxint16"}[vendor]
    ours, theirs = get_format(twin), get_format(vendor)

    assert (ours.element_bits, ours.block, ours.scale_bits, ours.columns) == (
        theirs.element_bits,
        theirs.block,
        theirs.scale_bits,
        theirs.columns,
    )


def test_the_matrix_engine_runs_integers_only() -> None:
    floats = {name for name, item in FORMATS.items() if item.columns is None}

    assert floats == {"fp8_e4m3", "fp8_e5m2", "fp16", "bf16", "fp32"}


def test_compressed_storage_is_multiplied_as_eight_bits() -> None:
    stored = get_format("sbfp12_16")

    assert stored.columns == get_format(stored.arithmetic).columns == "int8"


def test_a_begun_block_pays_its_whole_scale() -> None:
    mxint8 = get_format("mxint8")

    assert [mxint8.bytes_of(n) for n in (0, 1, 63, 64, 65, 128)] == [0, 2, 64, 65, 67, 130]


def test_a_matrix_is_cut_into_blocks_down_each_column() -> None:
    mxint8 = get_format("mxint8")

    assert mxint8.matrix_bytes(64, 3) == 3 * 65
    assert mxint8.matrix_bytes(65, 3) == 3 * 67  # two scales in each column
    assert mxint8.bytes_of(3 * 65) == 3 * 65 + 4  # but four in one run


@given(formats, counts, counts)
def test_storing_apart_is_never_cheaper(item: Format, first: int, second: int) -> None:

    together = item.bytes_of(first + second)
    assert together <= item.bytes_of(first) + item.bytes_of(second)
    assert together >= item.bytes_of(first)


@given(formats, st.integers(0, 2**30))
def test_whole_blocks_cost_exactly_their_bits(item: Format, blocks: int) -> None:
    elements = blocks * item.block

    assert item.bytes_of(elements) * 8 == elements * item.bits_per_element


@given(formats, st.lists(counts, max_size=8))
def test_arrays_are_counted_like_numbers(item: Format, elements: list[int]) -> None:
    array = np.array(elements, np.int64)

    found = item.bytes_of(array)
    assert found.dtype == np.int64
    assert found.tolist() == [item.bytes_of(number) for number in elements]


@pytest.mark.parametrize("word", ["MXINT8", " mxint8 ", "MxInt8_K64"])
def test_names_are_read_in_any_case(word: str) -> None:
    assert get_format(word).name == "mxint8"


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_means_its_format(alias: str, name: str) -> None:
    assert get_format(alias) is FORMATS[name]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(FormatError, match=r"'mxint9'; did you mean 'mxint8'\?"):
        get_format("mxint9")


@pytest.mark.parametrize("amount", [-1, 1.5, float("nan"), np.array([-1]), np.array([1.0])])
def test_an_amount_that_cannot_be_is_refused(amount: object) -> None:
    with pytest.raises(FormatError):
        get_format("mxint8").bytes_of(amount)  # type: ignore[call-overload]
