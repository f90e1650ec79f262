"""Protocol of a device: prices and counts of the work of one rank.

A device module prices products, vector work and attention, and defines its memories, its formats
and the joules of its counts. Layers, stages, collectives, memory, energy, both engines and all
studies use devices only through this protocol. A new kind of device is a hardware file and a
module.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from cluster.perf_model.attention import AnyHeads, Heads, StateHeads
from cluster.perf_model.devices.useful import Peaks
from cluster.perf_model.devices.work import (
    Interior,
    Operation,
    Product,
    ProgramWork,
    Room,
    StoredWeights,
    VectorWork,
)
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import Records
from corsair_common.units import Floats, Integers
from workloads.formats import Format

if TYPE_CHECKING:
    from cluster.perf_model.collectives import Cost, Group
    from cluster.scenario.formats import Formats


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
    def compiled(self) -> bool:
        """Whether a compiler places collectives among its operations, so that norms may be split by
        token, and products cut into chunks beside collectives."""

    @property
    def dispatch_ps(self) -> int: ...
    @property
    def ridge_rows(self) -> int:
        """Vectors at which arithmetic takes as long as loading the next weights; at least 1."""

    @property
    def clocks_per_query(self) -> int:
        """Clocks of a query, which determine chunks' tile passes (``KIND``); 1 if unused."""

    @property
    def clocks_per_pass(self) -> int:
        """Clocks of queries in one tile pass."""

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

    def index_dispatches(self, tokens: Integers) -> list[Operation]:
        """Dispatches of an indexer's scores and of what it picks."""

    def state_dispatches(self, states: StateHeads, tokens: Integers) -> list[Operation]:
        """Dispatches of a recurrent layer's scan, and its work that depends on tokens only."""

    def merge(
        self, heads: Heads, tokens: Integers, cast_heads: int, value_dim: int, gated: bool
    ) -> list[Operation]:
        """Merge of the parts of a head's context, before the output projection."""

    def layer_end(self, tokens: Integers, works_ps: Integers) -> list[Operation]:
        """What the software adds to a layer, in one operation at most.

        ``works_ps`` is the time of the layer's operations and collectives, attention apart.
        """

    @property
    def layer_end_above(self) -> int | None:
        """Tokens of a step above which layers end so; None if none does."""

    def attention_records(self, heads: AnyHeads, layers: int, kind: int) -> Records:
        """[op] records of ``layers`` layers of a kind, in a constant number (dtype ATTENTION)."""

    def attention_counts(self, heads: AnyHeads) -> Integers:
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
    def PRODUCTS(self) -> tuple[str, ...]:  # noqa: N802
        """Names of the records of attention; an indexer and a state have their own."""

    @property
    def INDEX_PRODUCTS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def STATE_PRODUCTS(self) -> tuple[str, ...]: ...  # noqa: N802
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
    def latent_copies(self, figures: Figures) -> int:
        """Copies of MLA's latents in a format with block exponents."""

    def format_breaches(self, figures: Figures, formats: "Formats") -> list[str]: ...
    def peak_flop_per_s(
        self, figures: Figures, item: Format, activation_bits: int | None
    ) -> float | None:
        """Of a card that multiplies weights of this format by activations of so many bits, or of
        the width that it is multiplied in; None where it cannot."""

    def peaks(self, figures: Figures, formats: "Formats") -> Peaks: ...  # of one card

    def dispatch_ps(self, figures: Figures) -> int:
        """Of an operation of a recorded trace, beside its recorded time."""

    def all_reduce(
        self, figures: Figures, group: "Group", payload_bytes: Integers
    ) -> "Cost | None":
        """A measured or fitted curve; None leaves it to the collectives library."""

    def request_s(self, figures: Figures) -> float:
        """Latency per request between client and engine, added to its first token and its end."""

    def converted_s(self, figures: Figures, elements: Integers, moved_bytes: Integers) -> Floats:
        """[...] a card's time to write KV in another format; bytes are read and written ones."""

    def converted_joules(self, figures: Figures, elements: float, moved_bytes: float) -> Floats:
        """[PARTS] of the same."""

    def count_joules(self, figures: Figures) -> Floats: ...
    def ends_joules(self, figures: Figures) -> Floats: ...
    def inside_joules(self, figures: Figures) -> tuple[Floats, ...]: ...
    def device_of(
        self, figures: Figures, formats: "Formats", *, cards: int, expert_ranks: int, streams: bool
    ) -> Device: ...
