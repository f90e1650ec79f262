"""What a device is asked to price and what it answers: products, operations, memories, links."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import LONGEST_PS, TooSlowError
from corsair_common.units import Floats, Integers
from workloads.formats import Format

UNIT = 64
"""Rows or columns of weights that are never split between units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Rows of matrix products y[m, n] = x[m, k] W[k, n]; fields broadcast against one another."""

    m: Integers
    """Vectors per matrix; no work if 0."""
    k: Integers | int
    n: Integers | int
    copies: Integers | int = 1
    """Products with separate weights on the same unit (experts, heads)."""
    own_x: bool = False
    """Whether every copy has its own vectors, as heads do; else all share those of m."""
    x_rows: Integers | None = None
    """Distinct vectors of all copies, if copies share some (experts)."""
    vectors: Integers | None = None
    """Vectors multiplied by all copies together, if not m x copies."""
    held: Floats | None = None
    """Vectors during which a tile stays loaded, the mean over copies with unequal m: each counts at
    least the vectors that hide the loading of the next weights (``Device.ridge_rows``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """A rank's part of a product's weights in its memory."""

    k: int
    n: int
    shares: int
    """Number of equal shares among the units of the rank."""
    copies: Integers | int = 1
    """Matrices read, by row count."""

    def bytes_of(self, weights: Format) -> Floats:
        """[row count] or one number: bytes of the whole rank."""
        each = weights.matrix_bytes(self.k, self.n)
        return np.asarray(self.copies, np.float64) * each


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One dispatch (or kernel), by row count."""

    name: str
    ps: Integers
    """[row count] without its dispatch."""
    bound: Integers
    """[row count] position of its bound in the device's bounds."""
    far_ps: Integers
    """[row count] time to load its weights from the far memory, if they are there."""
    counts: Integers
    """[row count, counts] of a rank."""
    dispatches: int = 1


VectorWork: TypeAlias = tuple[Integers, Sequence[str]]
"""Elements on the fullest unit, and the kinds of work on each (``norm``, ``rope``, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramWork:
    """Computation and bytes of n operations of a program, on their ranks."""

    macs: Integers
    attends: npt.NDArray[np.bool_]
    """Whether the multiply-adds are those of attention."""
    near_bytes: Integers
    far_bytes: Integers
    """From or to the far memory, through the near one."""
    elements: Integers
    """Of vector work."""
    name: Integers
    """Position in ``kinds``."""
    kinds: tuple[tuple[str, ...], ...]
    """Kinds of vector work done on each element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interior:
    """Links between the units of one card, after ``links.efficiency``; units cut n and k."""

    packages: int = 1
    chiplets: int = 1
    """Of a package."""
    d2d_bytes_per_s: float = float("inf")
    """One direction of the link between two chiplets of a package."""
    package_bytes_per_s: float = float("inf")
    """All D2D traffic of one package together, both directions."""
    package_link_bytes_per_s: float = float("inf")
    """Rate of one package to, or from, the others of its card."""
    d2d_latency_s: float = 0.0
    package_latency_s: float = 0.0
    add_element_s: float = 0.0
    """Time of one addition of a reduction, with all lanes of a unit."""

    @property
    def units(self) -> int:
        """Chiplets of a card."""
        return self.packages * self.chiplets


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Memory of one unit (chiplet, GPU) for weights and KV."""

    near_bytes: float
    far_bytes: int
    """0 without a far memory."""
    buffer_bytes: int
    """Buffer in the near memory, reserved if anything streams from the far one."""
    far_bytes_per_s: float
    """Read rate of a unit from the far memory."""


def whole(time_ps: Floats) -> Integers:
    """Round half to even, at least 1 for any work.

    Raises
    ------
    TooSlowError
        An operation longer than a quarter of an hour.
    """
    longest_ps = float(np.max(time_ps, initial=0.0))
    if not longest_ps <= LONGEST_PS:
        raise TooSlowError(
            f"one operation would last {longest_ps * 1e-12:,.0f} s, at most "
            f"{LONGEST_PS * 1e-12:,.0f} s are simulated: the device is too slow for so much"
        )
    return np.where(time_ps > 0, np.maximum(1, np.rint(time_ps)), 0).astype(np.int64)


def shard(size: int, parts: int, unit: int = 64) -> int:
    """The largest shard of ``size`` elements cut in whole units over ``parts`` chiplets."""
    units = -(-size // unit)
    return -(-units // parts) * unit
