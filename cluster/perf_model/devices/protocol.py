"""Protocol of a device: prices and counts of the work of one rank.

A device module prices products, vector work and attention, and defines its memories, its formats
and the joules of its counts. Layers, stages, collectives, memory, energy, both engines and all
studies use devices only through this protocol. A new kind of device is a hardware file and a
module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.perf_model.attention import Heads
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import LONGEST_PS, Records, TooSlowError
from corsair_common.units import Floats, Integers
from workloads.formats import Format

if TYPE_CHECKING:
    from cluster.perf_model.collectives import Cost, Group
    from cluster.scenario.formats import Formats


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
    held: Integers | None = None
    """Vectors during which weights stay loaded, summed over copies with unequal m: each counts at
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


class Device(Protocol):
    """A rank of one kind of device, with the formats of a run; built by ``device_of``."""

    @property
    def weights(self) -> Format: ...
    @property
    def activations(self) -> Format: ...
    @property
    def wire(self) -> Format: ...
    @property
    def units(self) -> int:
        """Units of a rank that cut n and k: chiplets of a card; 1 on a GPU."""

    @property
    def cards(self) -> int:
        """Ranks of the tensor group."""

    @property
    def expert_ranks(self) -> int: ...
    @property
    def memory(self) -> str:
        """Source of weights: ``near``; the far memory ahead of use (``prefetched``), so that the
        slower of both sets a stage's time; or at the start of the operation (``on_demand``)."""

    @property
    def ranks(self) -> int:
        """Units of the group."""

    @property
    def dispatch_ps(self) -> int: ...
    @property
    def ridge_rows(self) -> int:
        """Vectors at which arithmetic takes as long as loading the next weights; at least 1."""

    @property
    def clocks_per_query(self) -> int:
        """Clocks of a query, which determine chunks' tile passes (``KIND``); 1 if unused."""

    def holding(self, near: bool) -> Self:
        """The same device with weights in the near or in the far memory."""

    def of_group(self, size: int) -> int:
        """The largest shard over all units of the group."""

    def of_card(self, size: int) -> int:
        """The largest shard over the units of one rank."""

    def matmul(self, name: str, product: Product, stored: StoredWeights) -> Operation:
        """A product with weights of the fullest unit; k and n are its shard."""

    def vector(self, name: str, *work: VectorWork, normed: Integers | int = 0) -> Operation:
        """Element-wise work; a norm takes the root of each of ``normed`` rows."""

    def elsewhere(self, name: str, rows: Integers) -> Operation:
        """A dispatch whose work is priced in another table: attention, or the network."""

    def lookup(self, name: str, tokens: Integers, hidden: int) -> Operation:
        """Rows of the embedding table."""

    def attention_dispatches(self, heads: Heads, tokens: Integers) -> list[Operation]:
        """Dispatches of the attention itself, and its work that depends on tokens only."""

    def merge(
        self, heads: Heads, tokens: Integers, cast_heads: int, value_dim: int, gated: bool
    ) -> list[Operation]:
        """Merge of the parts of a head's context, before the output projection."""

    def layer_end(self, tokens: Integers) -> list[Operation]:
        """Additional operations of the software at the end of every layer."""

    def attention_records(self, heads: Heads, layers: int, kind: int) -> Records:
        """[op] records of ``layers`` layers of a kind, in a constant number (dtype ATTENTION)."""

    def attention_counts(self, heads: Heads) -> Integers:
        """[MEASURES, counts] of one unit of each measure, one layer."""

    def far_counts(self, moved_bytes: int) -> Integers:
        """[counts] of bytes from or to the far memory."""

    def far_ps(self, moved_bytes: float) -> float:
        """Time of a unit's far memory for these bytes."""

    def load_ps(self, moved_bytes: int) -> tuple[int, int]:
        """A load or store of a program through the far memory, and its bound."""

    def elements_ps(self, elements: int) -> tuple[int, int]:
        """Vector work of unknown kind, and its bound."""

    def roofline_ps(self, flop: int, moved_bytes: int, attends: bool) -> tuple[int, int]:
        """The longer of flop at peak rate and of bytes from the near memory, and its bound."""

    def work_joules(self, work: ProgramWork) -> Floats:
        """[n, parts] of operations of a program, without their communication."""

    @property
    def host_overlaps(self) -> bool:
        """Whether asynchronous scheduling hides host time; else it is only the remaining time."""

    def host_ps(self, rows: Integers) -> Integers:
        """[row count] host time of a step by emitting rows; entry 0 is the part of every step."""


class DeviceModule(Protocol):
    """A module of ``devices``: names, and facts independent of a model and formats."""

    @property
    def BOUNDS(self) -> tuple[str, ...]:  # noqa: N802 - constants of a module
        """Bounds of an operation's time, including ``network``."""

    @property
    def COUNTS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def PARTS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def PRODUCTS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def FAR_BOUND(self) -> str | None: ...  # noqa: N802
    @property
    def HOST_BOUND(self) -> str: ...  # noqa: N802
    @property
    def MEMORIES(self) -> tuple[str, ...]:  # noqa: N802
        """Names of the near memory, and of the far one if there is one."""

    @property
    def TAIL_BITS(self) -> int: ...  # noqa: N802
    @property
    def PART_OF_LINK(self) -> Mapping[object, str]: ...  # noqa: N802

    def interior(self, figures: Figures) -> Interior: ...
    def room(self, figures: Figures) -> Room: ...
    def format_breaches(self, figures: Figures, formats: "Formats") -> list[str]: ...
    def peak_flop_per_s(
        self, figures: Figures, item: Format, activation_bits: int | None
    ) -> float | None:
        """Of a card that multiplies weights of this format by activations of so many bits, or of
        the width that it is multiplied in; None where it cannot."""

    def dispatch_ps(self, figures: Figures) -> int:
        """Of an operation of a recorded trace, beside its recorded time."""

    def all_reduce(
        self, figures: Figures, group: "Group", payload_bytes: Integers
    ) -> "Cost | None":
        """A measured or fitted curve; None leaves it to the collectives library."""

    def request_s(self, figures: Figures) -> float:
        """Latency per request between client and engine, added to its first token and its end."""

    def count_joules(self, figures: Figures) -> Floats: ...
    def ends_joules(self, figures: Figures) -> Floats: ...
    def inside_joules(self, figures: Figures) -> tuple[Floats, ...]: ...
    def device_of(
        self, figures: Figures, formats: "Formats", *, cards: int, expert_ranks: int, streams: bool
    ) -> Device: ...


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
