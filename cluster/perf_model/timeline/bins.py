"""Sums per stage and time bin."""

from dataclasses import dataclass, replace

import numpy as np

from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Sums per replica, stage and bin; bin b spans ``start_ps + [b bin_ps, (b + 1) bin_ps)``."""

    bin_ps: int
    start_ps: int = 0
    """Start of the first bin and of the measured window."""
    busy_ps: Integers
    """[replica, stage, bin, bound]; the rest of ``bin_ps`` is idle time."""
    tokens: Integers
    """[replica, stage, bin] of the steps that start at the stage in the bin."""
    steps: Integers
    """[replica, stage, bin] that start in the bin."""
    tier_bytes: Integers
    """[replica, stage, bin, tier] bytes of each card of the stage on each tier."""
    send_bytes: Integers
    """[replica, stage, bin] bytes that each card sent to the next stage, in the bin of the work's
    end."""
    counts: Integers
    """[replica, stage, bin, COUNTS] of each card of the stage (``cluster.perf_model.energy``)."""
    kv_block_ns: Integers
    """[replica, bin] KV blocks x nanoseconds: divided by the bin's length, the mean occupancy."""
    peak_blocks: Integers
    """[replica, bin]"""

    def joined(self) -> "Bins":
        """The last stage and the one before in one, whose steps and tokens are counted once."""

        def sum_of(column: Integers) -> Integers:
            both = column[:, -2:].sum(axis=1, keepdims=True)
            return np.concatenate([column[:, :-2], both], axis=1)

        return replace(
            self,
            busy_ps=sum_of(self.busy_ps),
            tokens=self.tokens[:, :-1],
            steps=self.steps[:, :-1],
            tier_bytes=sum_of(self.tier_bytes),
            send_bytes=sum_of(self.send_bytes),
            counts=sum_of(self.counts),
        )
