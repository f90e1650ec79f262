"""The study of block sizes, against the Monte Carlo table of the vendor's formulae."""

import pytest

from cluster.studies.block_sizes import BlockRow, block_rows, dot_rows, drawn, plain

# Block: mean square error of 4 bits under exact scales and under shared exponents, its SQNR in dB,
# and of 8 bits under shared exponents, its SQNR; another sample than ours, to three digits.
TABLE = {
    16: (7.28e-3, 1.37e-2, 18.63, 5.28e-5, 42.78),
    32: (9.43e-3, 1.76e-2, 17.53, 6.81e-5, 41.67),
    64: (1.16e-2, 2.03e-2, 16.92, 7.91e-5, 41.02),
    128: (1.37e-2, 2.12e-2, 16.73, 8.32e-5, 40.80),
    256: (1.60e-2, 2.19e-2, 16.59, 8.56e-5, 40.67),
}


@pytest.fixture(scope="module")
def rows() -> dict[tuple[int, int], BlockRow]:
    return {(row.bits, row.block): row for row in block_rows(seed=0, numbers=1 << 20)}


@pytest.mark.parametrize("block", TABLE)
def test_errors_are_those_of_the_table_within_its_precision(
    rows: dict[tuple[int, int], BlockRow], block: int
) -> None:
    scaled, four_bits, four_db, eight_bits, eight_db = TABLE[block]
    four, eight = rows[4, block], rows[8, block]

    # both are samples: 1 % covers the last digit and the draw
    assert four.scaled_noise == pytest.approx(scaled, rel=0.01)
    assert four.noise == pytest.approx(four_bits, rel=0.01)
    assert four.sqnr_db == pytest.approx(four_db, abs=0.045)
    assert eight.noise == pytest.approx(eight_bits, rel=0.01)
    assert eight.sqnr_db == pytest.approx(eight_db, abs=0.045)


def test_theory_agrees_to_one_per_cent_from_blocks_of_64_on(
    rows: dict[tuple[int, int], BlockRow],
) -> None:
    for (_, block), row in rows.items():
        if block >= 64:
            assert row.noise == pytest.approx(row.noise_formula, rel=0.01)
        if row.scaled_noise is not None:
            assert row.scaled_noise == pytest.approx(row.scaled_formula, rel=0.01)


def test_gaussian_numbers_hardly_mind_large_blocks_and_outliers_do(
    rows: dict[tuple[int, int], BlockRow],
) -> None:
    for bits in (4, 8):
        gaussian = rows[bits, 64].sqnr_db - rows[bits, 256].sqnr_db
        heavy = rows[bits, 64].heavy_db - rows[bits, 256].heavy_db
        assert gaussian < 0.4
        assert heavy > 2.5


def test_every_row_is_drawn_and_printed(rows: dict[tuple[int, int], BlockRow]) -> None:
    points = drawn(list(rows.values()))

    assert len(points) == 5 * 6 + 5 * 4  # a line and dots of three series, then of two
    assert plain(rows[8, 64])["bits_per_element"] == 8.125


def test_inner_products_are_as_the_formula_says_and_within_the_bound() -> None:
    for row in dot_rows(seed=0, numbers=1 << 20):
        # 4,096 products of blocks of 256 know their mean square to 2.2 %
        assert row.noise == pytest.approx(row.noise_formula, rel=0.07)
        if row.bound is not None:
            assert 0.3 * row.bound < row.noise < row.bound
        if row.largest is not None:
            assert row.largest < 1
