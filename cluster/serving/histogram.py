"""The histogram of inter-token latencies: exact below 256 ps, then 128 bins to each doubling.

A bin is at most 1/128 of its lower edge wide, and the bins cover all of int64: value ``v < 256``
has bin ``v``; else, with ``e = bit_length(v) - 8``, bin ``256 + (e - 1) 128 + ((v >> e) - 128)``.
"""

from cluster.compiled import compiled
from results.histogram import EXACT, PER_OCTAVE


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
    return EXACT + (shift - 1) * PER_OCTAVE + rest - PER_OCTAVE
