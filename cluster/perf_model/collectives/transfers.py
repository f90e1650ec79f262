"""Transfers as tables: legs, one after the other, and what each takes of shared resources."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers

FULL = 1 << 40
"""The whole of a resource, in shares. Shares are integers, so that sums do not depend on their
order; eight million legs on one resource still fit an int64."""


class FabricError(ValueError):
    """Transfers that make no sense."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transfers:
    """One row per leg; a transfer is named by its first leg and goes on with ``then``."""

    latency_ps: Integers
    """[t] passes first; it does not depend on other traffic."""
    work_ps: Integers
    """[t] what remains of the leg's time when it is alone; at least 1 where there are uses."""
    peak: npt.NDArray[np.float64]
    """[t] bytes per picosecond where the leg is most loaded, at full speed: legs that contend get
    equal rates by this measure. Positive, also where there are no uses."""
    then: Integers
    """[t] the leg that follows, -1 after the last; always a higher number than the leg's own."""
    use_offsets: Integers
    """[t + 1] into the columns below."""
    use_resource: Integers
    """[u] rising within a leg."""
    use_share: Integers
    """[u] of the resource while the leg has its full speed, 1..FULL."""
    use_bytes: Integers
    """[u] that the leg moves over the resource in all."""
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
        """[t] how long a transfer that begins with this leg takes without other traffic."""
        total = self.latency_ps + self.work_ps
        for leg in np.flatnonzero(self.then >= 0)[::-1]:
            total[leg] += total[self.then[leg]]
        return total
