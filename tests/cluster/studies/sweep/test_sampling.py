import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.studies.sweep.sampling import Range, sample


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_a_latin_hypercube_has_one_value_in_each_part_of_each_axis(count: int, seed: int) -> None:
    rows = sample(
        {"a": Range(low=0.0, high=1.0), "b": Range(low=1.0, high=math.e, log=True)},
        count,
        "latin_hypercube",
        seed,
    )

    parts_a = sorted(min(int(a * count), count - 1) for a, _ in rows)
    parts_b = sorted(min(int(math.log(b) * count + 1e-9), count - 1) for _, b in rows)
    assert parts_a == list(range(count))
    assert len(set(parts_b)) >= count - 1  # rounding may move one value over an edge


@given(st.integers(-5, 5), st.integers(1, 9), st.floats(0, 1))
def test_a_range_of_whole_numbers_gives_whole_numbers_of_it(
    low: int, width: int, share: float
) -> None:
    value = Range(low=low, high=low + width).at(share)

    assert isinstance(value, int)
    assert low <= value <= low + width


def test_more_axes_and_more_random_samples_leave_the_old_values_as_they_are() -> None:
    few = sample({"a": Range(low=0.0, high=1.0)}, 5, "random", 7)
    more = sample({"b": ("x", "y"), "a": Range(low=0.0, high=1.0)}, 9, "random", 7)

    assert [a for (a,) in few] == [a for _, a in more[:5]]


def test_choices_are_about_equally_likely() -> None:
    rows = sample({"a": ("x", "y")}, 100, "latin_hypercube", 0)

    assert sum(value == "x" for (value,) in rows) == pytest.approx(50, abs=1)
