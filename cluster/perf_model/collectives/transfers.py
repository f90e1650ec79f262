"""Transfers as tables: sequences of legs, and their shares of resources."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers

FULL = 1 << 40
"""The whole of a resource, in shares. Shares are integers, so that sums do not depend on their
order; eight million legs on one resource still fit an int64."""


class FabricError(ValueError):
    """Invalid transfers."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transfers:
    """One row per leg; the first leg identifies a transfer, which continues with ``then``."""

    latency_ps: Integers
    """[t] latency before the work; independent of other traffic."""
    work_ps: Integers
    """[t] the rest of the leg's time without contention; at least 1 if it has uses."""
    peak: npt.NDArray[np.float64]
    """[t] bytes per picosecond on the leg's most loaded resource, at full speed: contending legs
    get equal rates by this measure. Positive, even without uses."""
    then: Integers
    """[t] the leg that follows, -1 after the last; always a higher number than the leg's own."""
    use_offsets: Integers
    """[t + 1] into the columns below."""
    use_resource: Integers
    """[u] rising within a leg."""
    use_share: Integers
    """[u] share of the resource at full speed of the leg, 1..FULL."""
    use_bytes: Integers
    """[u] total bytes of the leg over the resource."""
    resource_name: Any
    """[r] str"""
    capacity_bytes_per_s: npt.NDArray[np.float64]
    """[r] usable, after ``links.efficiency``."""

    @property
    def legs(self) -> int:
        return len(self.latency_ps)

    @property
    def resources(self) -> int:
        return len(self.capacity_bytes_per_s)

    def alone_ps(self) -> Integers:
        """[t] time of a transfer from this leg on without other traffic."""
        total = self.latency_ps + self.work_ps
        for leg in np.flatnonzero(self.then >= 0)[::-1]:
            total[leg] += total[self.then[leg]]
        return total
