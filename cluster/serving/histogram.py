"""The histogram of inter-token latencies: exact below 256 ps, then 128 bins to each doubling.

A bin is at most 1/128 of its lower edge wide, and the bins cover all of int64: value ``v < 256``
has bin ``v``; else, with ``e = bit_length(v) - 8``, bin ``256 + (e - 1) 128 + ((v >> e) - 128)``.
"""

import numpy as np

from cluster.compiled import compiled
from cluster.perf_model.tables import Integers

EXACT = 256
"""Values below this have a bin of their own."""
PER_DOUBLING = 128
BINS = EXACT + 55 * PER_DOUBLING
"""2^63 - 1 falls into the last one."""


@compiled
def bin_of(value_ps: int) -> int:
    """The bin of a value of at least 0."""
    shift = 0
    rest = value_ps
    while rest >= EXACT << 16:
        rest >>= 16
        shift += 16
    while rest >= EXACT:
        rest >>= 1
        shift += 1
    if shift == 0:
        return rest
    return EXACT + (shift - 1) * PER_DOUBLING + rest - PER_DOUBLING


def lower_edges_ps() -> Integers:
    """The least value of every bin, int64[BINS]; a bin ends just below the next one's edge."""
    beyond = np.arange(BINS - EXACT, dtype=np.int64)
    scaled = (PER_DOUBLING + beyond % PER_DOUBLING) << (1 + beyond // PER_DOUBLING)
    return np.concatenate([np.arange(EXACT, dtype=np.int64), scaled])
