"""Inter-token latencies as counts in log-linear bins: exact below 256 ps, then 128 bins per
octave, so the error of a value is below 0.4 %."""

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Integers

EXACT = 256
"""Below it each picosecond has its own bin."""

PER_OCTAVE = 128
_OCTAVES = 55  # 2**8 to 2**63, all that an int64 holds

BINS = EXACT + _OCTAVES * PER_OCTAVE


def itl_edges_ps() -> Integers:
    """Lower edges of the bins and the end of the last: [BINS + 1].

    The value v falls into bin v below EXACT; above, with ``e = bit_length(v) - 8``, into bin
    ``256 + (e - 1) * 128 + (v >> e) - 128``.
    """
    shifts = np.repeat(np.arange(1, _OCTAVES + 1), PER_OCTAVE)
    heads = np.tile(np.arange(PER_OCTAVE, 2 * PER_OCTAVE), _OCTAVES)
    end = np.iinfo(np.int64).max  # 2**63 itself does not fit
    return np.concatenate([np.arange(EXACT), heads << shifts, [end]])


def itl_middles_ps() -> Floats:
    """The middle of the whole numbers that fall into each bin."""
    edges = itl_edges_ps()
    return edges[:-1] + (np.diff(edges) - 1) / 2


def deviation_ps(counts: Integers) -> float | None:
    """Population standard deviation (as vLLM's) of the counted values; None if there are none."""
    total = int(counts.sum())
    if not total:
        return None
    weights, middles = counts / total, itl_middles_ps()
    mean = float(weights @ middles)
    return float(np.sqrt(weights @ (middles - mean) ** 2))


def percentiles_ps(counts: Integers, percentiles: npt.ArrayLike) -> Floats | None:
    """Percentiles by the rule of ``numpy.percentile``, on the middles of the bins.

    Each is off by no more than half a bin: 0.4 % of its value. None if nothing was counted.
    """
    total = int(counts.sum())
    if not total:
        return None
    reached, middles = np.cumsum(counts), itl_middles_ps()
    rank = (total - 1) * np.asarray(percentiles, np.float64) / 100
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, total - 1)
    low = middles[np.searchsorted(reached, below, side="right")]
    high = middles[np.searchsorted(reached, above, side="right")]
    return np.asarray(low + (high - low) * (rank - below))
