"""Near-duplicates of a plan: other batches of the same shape that are as good."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.studies.plan.ranking import OBJECTIVES
from corsair_common.units import Integers

CLOSE = 0.01
"""Relative difference in the objective of plans that count as alike."""


def alike(
    columns: Mapping[str, Any], objective: str, groups: Sequence[npt.NDArray[Any]], rows: Integers
) -> Integers:
    """[rows] how many others of each row's group meet the SLO and are within 1 % of it.

    A group is equal in all of ``groups``: it differs in max_num_seqs and in the budget only.
    """
    name, _ = OBJECTIVES[objective]
    value, meets = columns[name], columns["meets_slo"]
    found = np.zeros(len(rows), np.int64)
    for place, row in enumerate(rows):
        same = meets & (np.abs(value - value[row]) <= CLOSE * abs(value[row]))
        for group in groups:
            same &= group == group[row]
        found[place] = np.count_nonzero(same) - int(same[row])
    return found
