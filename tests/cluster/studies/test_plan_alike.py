"""Batches of one shape that are as good as its best are folded into one row."""

import numpy as np

from cluster.studies.plan.alike import alike


def test_others_of_the_same_shape_within_a_percent_that_meet_the_slo_are_counted() -> None:
    columns = {
        "output_throughput": np.array([100.0, 99.5, 98.0, 99.9, 99.5]),
        "meets_slo": np.array([True, True, True, True, False]),
    }
    shape = np.array([0, 0, 0, 1, 0])  # the fourth is another plan, the last misses the SLO

    found = alike(columns, "tokens_per_s", (shape,), np.array([0, 3]))
    assert found.tolist() == [1, 0]


def test_where_less_is_better_closeness_is_relative_as_well() -> None:
    columns = {"ttft_ms": np.array([10.0, 10.09, 10.2]), "meets_slo": np.ones(3, np.bool_)}

    found = alike(columns, "ttft", (np.zeros(3, np.int64),), np.array([0]))
    assert found.tolist() == [1]
