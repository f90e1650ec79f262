"""Bins of the inter-token latencies."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.serving.histogram import bin_of
from results.histogram import BINS, itl_edges_ps


def test_small_values_have_a_bin_of_their_own_and_greater_ones_share() -> None:
    assert [bin_of(value) for value in (0, 255, 256, 257, 258, 511, 512)] == [
        0,
        255,
        256,
        256,
        257,
        383,
        384,
    ]


def test_the_greatest_value_falls_into_the_last_bin() -> None:
    assert bin_of(2**63 - 1) == BINS - 1


@given(value=st.integers(0, 63).flatmap(lambda bits: st.integers(0, 2**bits - 1)))
def test_a_value_lies_between_the_edges_of_its_bin(value: int) -> None:
    edges = itl_edges_ps()
    place = bin_of(value)

    assert edges[place] <= value
    assert place == BINS - 1 or value < edges[place + 1]


def test_no_bin_is_wider_than_a_128th_of_its_lower_edge() -> None:
    edges = itl_edges_ps()[:-1]
    exact = edges[:-1] < 256

    assert np.all(np.diff(edges)[exact] == 1)
    assert np.all(np.diff(edges)[~exact] * 128 <= edges[:-1][~exact])
