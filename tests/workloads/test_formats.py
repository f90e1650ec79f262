from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.formats import (
    ALIASES,
    FORMATS,
    GROUP,
    Format,
    FormatError,
    block_format,
    get_format,
)

SPARSE = ("sbfp12_16+4:8", "sbfp12_16+2:8", "mxint8+4:8", "fp16+2:8")
formats = st.sampled_from([*FORMATS.values(), *map(get_format, SPARSE)])
counts = st.integers(0, 2**40)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("mxint4", Fraction(33, 8)),  # 4.125
        ("mxint8", Fraction(65, 8)),  # 8.125
        ("mxint16", Fraction(129, 8)),  # 16.125
        ("mxint4_k32", Fraction(17, 4)),  # 4.25
        ("mxint8_k32", Fraction(33, 4)),  # 8.25
        ("mxint16_k32", Fraction(65, 4)),  # 16.25
        ("bfp12_64", Fraction(33, 8)),
        ("bfp12_16", Fraction(9, 2)),  # 4.5
        ("bfp16_64", Fraction(65, 8)),
        ("bfp24_64", Fraction(129, 8)),
        ("sbfp12_16", Fraction(9, 2)),  # 4.5
        ("mxfp4", Fraction(17, 4)),  # 4.25
        ("mxfp6_e2m3", Fraction(25, 4)),  # 6.25
        ("mxfp6_e3m2", Fraction(25, 4)),
        ("mxfp8_e4m3", Fraction(33, 4)),  # 8.25
        ("mxfp8_e5m2", Fraction(33, 4)),
        ("nvfp4", Fraction(9, 2)),  # 4.5; the float32 of the whole array left out
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
    assert len(FORMATS) == 22


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


@pytest.mark.parametrize(
    ("name", "wide"),
    [
        ("sbfp12_16", "bfp16_64"),
        ("bfp12_16", "bfp16_64"),
        ("mxint4_k32", "bfp16_64"),
        ("mxint8_k32", "bfp16_64"),
        ("mxint16_k32", "bfp24_64"),
        ("sbfp12_16+4:8", "bfp16_64"),
        ("mxfp4", "bfp16_64"),
        ("mxfp8_e5m2", "bfp16_64"),
        ("nvfp4", "bfp16_64"),
    ],
)
def test_blocks_smaller_than_the_cores_rows_are_expanded(name: str, wide: str) -> None:
    stored = get_format(name)

    assert stored.arithmetic == wide
    assert stored.columns == get_format(wide).columns


@pytest.mark.parametrize("name", ["bfp12_128", "mxint8_k256", "mxint16"])
def test_blocks_of_whole_tiles_are_multiplied_as_they_are(name: str) -> None:
    stored = get_format(name)

    assert stored.arithmetic == ""
    assert stored.columns == f"int{stored.element_bits}"


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("sbfp12_16+4:8", Fraction(13, 4)),  # (4 + 8/16) / 2 + 1, the published 5x: 16 / 3.25 = 4.9
        ("sbfp12_16+2:8", Fraction(17, 8)),
        ("mxint8+4:8", Fraction(81, 16)),
        ("MXINT4_K64+2:8", Fraction(65, 32)),
        ("fp8+4:8", Fraction(5)),
    ],
)
def test_sparsity_halves_or_quarters_what_is_stored_and_adds_a_mask(
    name: str, bits: Fraction
) -> None:
    assert get_format(name).bits_per_element == bits


def test_a_begun_group_keeps_what_it_can() -> None:
    half = get_format("mxint8+4:8")

    # 19 elements: 2 x 4 + 3 kept under one exponent, and 19 bits of mask: 88 + 8 + 19 = 115
    assert half.stored(19) == 11
    assert half.bytes_of(19) == 15
    assert half.matrix_bytes(19, 2) == 29  # 230 bits
    assert half.bytes_of(256) * 8 == 128 * 8 + 2 * 8 + 256  # blocks of 64 kept


def test_sparsity_changes_storage_and_nothing_else() -> None:
    dense, sparse = get_format("sbfp12_16"), get_format("sbfp12_16+4:8")

    assert (sparse.columns, sparse.arithmetic) == (dense.columns, dense.arithmetic)
    assert sparse.name == "sbfp12_16+4:8"


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
    elements = blocks * item.block * GROUP

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


def test_a_name_that_says_too_little_is_refused_with_what_it_may_mean() -> None:
    with pytest.raises(FormatError, match=r"did you mean 'mxfp6_e2m3' or 'mxfp6_e3m2'\?"):
        get_format("MXFP6")


@pytest.mark.parametrize("amount", [-1, 1.5, float("nan"), np.array([-1]), np.array([1.0])])
def test_an_amount_that_cannot_be_is_refused(amount: object) -> None:
    with pytest.raises(FormatError):
        get_format("mxint8").bytes_of(amount)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bfp12_65", "'bfp12_65' has blocks of 65; there are 16, 32, 64, 128 or 256"),
        ("mxint8+3:8", "'mxint8\\+3:8' ends in a sparsity of '3:8'; there are 4:8 and 2:8"),
        ("mxint8+", "sparsity of ''"),
        ("mxint5", "unknown number format 'mxint5'"),
    ],
)
def test_a_malformed_name_is_refused_with_what_there_is(name: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        get_format(name)


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("mxint8", "int8"),
        ("sbfp12_16", "int4"),
        ("mxfp4", "e2m1"),
        ("mxfp6_e3m2", "e3m2"),
        ("nvfp4", "e2m1"),
        ("bf16", "e8m7"),
    ],
)
def test_a_format_says_what_its_elements_are(name: str, elements: str) -> None:
    assert get_format(name).element == elements


def test_an_expert_of_gpt_oss_weighs_what_its_file_holds() -> None:
    # down_proj of gpt-oss-20b: 2,880 x 2,880 in 90 blocks of 16 bytes and a scale each
    assert get_format("mxfp4").matrix_bytes(2880, 2880) == 2880 * 90 * 17


INTEGERS: dict[str, Any] = {
    "element_bits": 8,
    "mantissa_bits": 8,
    "block": 64,
    "scale_bits": 8,
    "scale": "e8m0",
}
FLOATS: dict[str, Any] = {"element_bits": 8, "mantissa_bits": 3}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        # the sign alone: every number was quantised to zero
        (
            {**INTEGERS, "element_bits": 1, "mantissa_bits": 1},
            "element_bits of integers must be 2 to 16, got 1",
        ),
        ({**INTEGERS, "element_bits": 24, "mantissa_bits": 24}, "must be 2 to 16, got 24"),
        (
            {"element_bits": 8, "mantissa_bits": 8},
            "integers of 8 bits need a scale that a block shares",
        ),
        ({**FLOATS, "mantissa_bits": 9}, r"exponent bits \(8 - 1 - 9\) must be 2 to 8, got -2"),
        ({**FLOATS, "mantissa_bits": 0}, "mantissa_bits of floats must be 1 to 23, got 0"),
        ({**FLOATS, "element_bits": 64}, "must be 2 to 8, got 60"),
        ({**FLOATS, "element_bits": 0, "mantissa_bits": 0}, "integers of 0 bits need a scale"),
        ({**FLOATS, "element_bits": 8.0}, "element_bits must be a whole number, got 8.0"),
        ({**FLOATS, "block": 32}, "block must be 1 without a scale, got 32"),
        ({**FLOATS, "scale_bits": 8}, "scale_bits must be 0 without a scale, got 8"),
        ({**INTEGERS, "block": 0}, "a block of at least 2, got 0"),
        ({**INTEGERS, "block": 1}, "a block of at least 2, got 1"),
        ({**INTEGERS, "scale_bits": 0}, "scale_bits of e8m0 must be 8, got 0"),
        ({**INTEGERS, "scale": "e5m2"}, "scale must be one of '', 'e8m0', 'e4m4', 'e4m3', got"),
        ({**INTEGERS, "scale": "e4m4"}, "under e4m4 elements are int4, got int8"),
        ({**INTEGERS, "scale": "e4m3"}, "under e4m3 elements are floats, got int8"),
        ({**FLOATS, "kept": 3}, "kept must be 1, 2, 4 or 8 of 8, got 3"),
        ({**FLOATS, "kept": 0}, "kept must be 1, 2, 4 or 8 of 8, got 0"),
        ({**FLOATS, "columns": "int2"}, "columns must be int4, int8, int16 or None, got 'int2'"),
        ({**FLOATS, "arithmetic": "bfp16_64"}, "multiplied as bfp16_64, but in no columns"),
        ({**FLOATS, "name": " "}, "it needs a name"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused_when_it_is_made(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(FormatError, match=words):
        Format(**{"name": "mine", **fields})


def test_all_that_is_wrong_with_a_format_is_said_at_once() -> None:
    with pytest.raises(FormatError, match=r"'mine' makes no sense: .*element_bits.*; .*kept"):
        Format(name="mine", **{**INTEGERS, "element_bits": 1, "mantissa_bits": 1, "kept": 5})


def test_block_formats_of_other_widths_are_refused() -> None:
    with pytest.raises(FormatError, match="4, 8 or 16 mantissa bits"):
        block_format(5, 64)
