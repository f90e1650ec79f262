"""Sums per stage and time bin."""

from dataclasses import dataclass

from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Sums per replica, stage and bin; bin b spans ``start_ps + [b bin_ps, (b + 1) bin_ps)``."""

    bin_ps: int
    start_ps: int = 0
    """Where the first bin, and the window that the run is measured in, begin."""
    busy_ps: Integers
    """[replica, stage, bin, 6] by bound; what is missing to ``bin_ps`` was idle."""
    tokens: Integers
    """[replica, stage, bin] of the steps that the stage began in the bin."""
    steps: Integers
    """[replica, stage, bin] begun in the bin."""
    tier_bytes: Integers
    """[replica, stage, bin, tier] bytes that each card of the stage put on each tier."""
    send_bytes: Integers
    """[replica, stage, bin] bytes that each card sent on; in the bin in which the work ended."""
    counts: Integers
    """[replica, stage, bin, COUNTS] of each card of the stage (``cluster.perf_model.energy``)."""
    kv_block_ns: Integers
    """[replica, bin] KV blocks x nanoseconds: divided by the bin's length, the mean occupancy."""
    peak_blocks: Integers
    """[replica, bin]"""
