import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corsair_common.units import Integers
from results.histogram import BINS, deviation_ps, itl_edges_ps, percentiles_ps

TIMES = st.lists(st.integers(1, 10**15), min_size=1, max_size=200)


def by_hand(value: int) -> int:
    """The bin of a value by the rule as it is written."""
    if value < 256:
        return value
    shift = value.bit_length() - 8
    return 256 + (shift - 1) * 128 + (value >> shift) - 128


def counted(values: list[int]) -> Integers:
    found = np.searchsorted(itl_edges_ps(), values, side="right") - 1
    return np.bincount(found, minlength=BINS)


def test_the_edges_rise_from_zero_to_the_end_of_int64() -> None:
    edges = itl_edges_ps()

    assert edges.shape == (BINS + 1,)
    assert edges.dtype == np.int64
    assert (np.diff(edges) > 0).all()
    assert (edges[0], edges[256], edges[-1]) == (0, 256, 2**63 - 1)


@given(st.integers(0, 2**63 - 2))
def test_the_edges_are_those_of_the_rule(value: int) -> None:
    assert np.searchsorted(itl_edges_ps(), value, side="right") - 1 == by_hand(value)


@given(TIMES, st.floats(0, 100))
def test_a_percentile_is_within_eight_thousandths_of_the_exact_one(
    values: list[int], percentile: float
) -> None:
    exact = float(np.percentile(np.array(values, np.float64), percentile))
    found = percentiles_ps(counted(values), percentile)

    assert found is not None
    assert abs(float(found) - exact) <= 0.008 * exact


@given(TIMES)
def test_the_deviation_is_within_half_a_bin_of_the_exact_one(values: list[int]) -> None:
    exact = float(np.std(values))
    found = deviation_ps(counted(values))

    assert found is not None
    assert abs(found - exact) <= 0.008 * max(values)


def test_small_values_are_exact() -> None:
    found = percentiles_ps(counted([10, 20, 30, 40]), [0, 50, 100])

    np.testing.assert_array_equal(found, [10, 25, 40])


def test_nothing_counted_has_no_percentile() -> None:
    empty = np.zeros(BINS, np.int64)

    assert percentiles_ps(empty, 50) is None
    assert deviation_ps(empty) is None
