"""Points of figures, by hand and against the slow way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from results.figures.series import count_at, percentiles_by_bin, quantiles, spread_at


def test_an_even_flow_is_half_done_at_half_time() -> None:
    given_out = spread_at(
        np.array([10.0, 4.0]),
        np.array([0.0, 3.0]),
        np.array([2.0, 3.0]),
        np.array([0.0, 1.0, 2.0, 3.0, 4.0]),
    )

    assert given_out.tolist() == pytest.approx([0.0, 5.0, 10.0, 14.0, 14.0])


@given(
    arrays.arrays(np.float64, 7, elements=st.floats(0, 100)),
    arrays.arrays(np.float64, 7, elements=st.floats(0, 100)),
)
def test_prefix_sums_are_the_sum_over_all_flows(first: np.ndarray, second: np.ndarray) -> None:
    begin, end = np.minimum(first, second), np.maximum(first, second) + 1.0
    edges = np.linspace(0, 110, 12)
    amount = np.arange(1.0, 8.0)
    slow = [
        sum(
            a * np.clip((edge - b) / (e - b), 0, 1)
            for a, b, e in zip(amount, begin, end, strict=True)
        )
        for edge in edges
    ]

    assert spread_at(amount, begin, end, edges).tolist() == pytest.approx(slow, abs=1e-9)


def test_what_never_happened_is_counted_at_no_time() -> None:
    moments = np.array([1.0, np.nan, 0.0, 1.0])

    assert count_at(moments, np.array([0.0, 0.5, 1.0])).tolist() == [1, 1, 3]


def test_percentiles_are_those_of_each_bin_and_none_where_it_is_empty() -> None:
    found = percentiles_by_bin(
        np.array([1.0, 2.0, 3.0, 9.0, np.nan]),
        np.array([0.1, 0.2, 0.3, 2.5, 0.4]),
        np.array([0.0, 1.0, 2.0, 3.0]),
        (0.0, 50.0, 100.0),
    )

    assert found[0].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [9.0, 9.0, 9.0]


def test_quantiles_reach_from_the_least_to_the_most() -> None:
    shares, values = quantiles(np.array([3.0, 1.0, 2.0, np.nan]))

    assert (shares[0], values[0]) == (0.0, 1.0)
    assert (shares[-1], values[-1]) == (1.0, 3.0)
