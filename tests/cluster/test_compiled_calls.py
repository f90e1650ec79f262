"""What compiled functions take, return and raise is what they would as Python."""

import os
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest

from cluster.compiled import called, compiled, inlined, prepared

compiling = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled"
)
POINT = np.dtype([("place", np.int64), ("weight", np.float64)])


class Pair(NamedTuple):
    """Two columns."""

    first: Any
    second: Any


@inlined
def moved(point: Any, by: int) -> None:
    point["place"] += by


@called
def weighed(points: Any, scale: float) -> float:
    total = 0.0
    for each in range(len(points)):
        total += points[each]["weight"] * scale
    return total


@compiled
def combined(pair: Pair, by: int, scale: float, back: bool) -> tuple[int, float, bool]:
    moved(pair.first[0], -by if back else by)
    return pair.first[0]["place"] + pair.second[1, 0], weighed(pair.first, scale), not back


@compiled
def quotient(of: int, by: int) -> int:
    return of // by


@compiled
def fill(out: Any, value: float) -> None:
    for each in range(len(out)):
        out[each] = value


def test_records_named_tuples_and_strided_arrays_go_in_and_a_tuple_comes_out() -> None:
    points = np.array([(3, 0.5), (4, 0.25)], POINT)
    table = np.arange(6, dtype=np.int64).reshape(2, 3).T  # [1, 0] is 1

    found = combined(Pair(points, table), 10, 2.0, True)

    assert found == (3 - 10 + 1, 1.5, False)
    assert points["place"].tolist() == [-7, 4]


def test_a_function_that_returns_nothing_fills_what_it_is_called_with() -> None:
    out = np.zeros(3)

    assert fill(out[::2], value=2.5) is None
    assert out.tolist() == [2.5, 0.0, 2.5]


def test_an_exception_in_compiled_code_is_raised_as_it_is() -> None:
    assert quotient(-7, 2) == -4
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)


@compiling
def test_a_number_beyond_64_bits_and_a_list_are_refused() -> None:
    with pytest.raises(OverflowError, match="more than 64 bits"):
        quotient(2**70, 3)
    with pytest.raises(TypeError, match="takes no list"):
        quotient([1], 3)  # type: ignore[arg-type]


@compiling
def test_a_constant_and_a_variable_are_one_kind_of_argument() -> None:
    quotient(7, 2)
    number: Any = np.int64(9)
    quotient(number, 3)

    assert len(quotient.signatures) == 1  # type: ignore[attr-defined]


def test_first_arguments_that_stay_are_prepared_once_and_the_others_may_change() -> None:
    points = np.array([(3, 0.5), (4, 0.25)], POINT)
    pair = Pair(points, np.full((2, 3), 10, np.int64))

    step = prepared(combined, pair, 10)
    first, second = step(2.0, False), step(4.0, True)

    assert first == (3 + 10 + 10, 1.5, True)
    assert second == (13 - 10 + 10, 3.0, False)
    assert points["place"].tolist() == [3, 4]


def test_a_compiled_function_is_sent_to_other_processes_by_name() -> None:
    assert pickle.loads(pickle.dumps(quotient)) is quotient
