"""Large arrays are zeros like any other, and give their memory back row by row."""

import numpy as np
import pytest

from corsair_common import pages


@pytest.mark.parametrize("rows", [10, 1 << 20], ids=["small", "large"])
def test_what_is_released_reads_as_zeros_and_the_rest_stays(rows: int) -> None:
    array = pages.zeros(rows, np.dtype([("a", np.int64), ("b", np.int64)]))
    assert not array["a"].any()
    array["a"] = np.arange(rows)

    pages.release(array, rows // 2)

    kept = array["a"][rows // 2 :]
    assert kept.tolist() == list(range(rows // 2, rows))
    large = array.nbytes >= pages.LEAST_BYTES
    assert array["a"][: rows // 4].any() != large


def test_an_array_of_another_kind_is_left_alone() -> None:
    array = np.ones(1 << 22)

    pages.release(array, len(array))

    assert array.all()
