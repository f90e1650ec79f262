"""A card of DIMC chiplets as a device: one operation on the fullest chiplet of a tensor group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cluster.perf_model.attention import WIDTH, AnyHeads, Heads, StateHeads
from cluster.perf_model.devices.dimc.attention import (
    INDEX_PRODUCTS,
    attention_records,
    gathered_elements,
)
from cluster.perf_model.devices.dimc.chiplet import (
    LPDDR,
    MAC,
    SIMD,
    STREAM,
    Chiplet,
    Mode,
    chiplet_of,
    lpddr_ps,
    mode_of,
    peak_flop_per_s,
    peak_stream_bytes_per_s,
    picoseconds,
    product_work,
    ridge_rows,
    vector_clocks,
)
from cluster.perf_model.devices.dimc.counters import COUNTS, Recipe
from cluster.perf_model.devices.dimc.facts import WIDTHS, interior, room
from cluster.perf_model.devices.dimc.op_counts import (
    attention_counts,
    product_counts,
    recipe,
    vector_counts,
)
from cluster.perf_model.devices.dimc.program_energy import work_joules
from cluster.perf_model.devices.dimc.recurrent import (
    STATE_PRODUCTS,
    UPDATE,
    state_counts,
    state_records,
)
from cluster.perf_model.devices.dimc.value_tail import value_tail
from cluster.perf_model.devices.useful import USEFUL, attention_useful, product_useful
from cluster.perf_model.devices.work import (
    Interior,
    Operation,
    Product,
    ProgramWork,
    Room,
    StoredWeights,
    VectorWork,
    shard,
    whole,
)
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_PASSES, Records
from cluster.scenario.formats import Formats
from corsair_common.units import PS_PER_S, Floats, Integers
from workloads.formats import Format

MOVE = ("add",)
"""Vector work of an element that is moved, added or compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DimcCard:
    """A rank that is a card: a chiplet, the widths of its operands, and its peers."""

    figures: Figures
    chiplet: Chiplet
    inside: Interior
    room: Room
    weights: Format
    activations: Format
    kv: Format
    wire: Format
    mode: Mode
    """Weights stationary."""
    kv_mode: Mode
    """Keys and values stationary."""
    tail_mode: Mode
    """V's last block until its 64 tokens are full: FP16, multiplied as 16-bit integers."""
    cards: int
    """Of the tensor group."""
    expert_ranks: int
    memory: Literal["near", "prefetched", "on_demand"]
    """``near`` is SRAM, the far memory LPDDR (``cluster.perf_model.devices.protocol``)."""

    @property
    def units(self) -> int:
        """Chiplets of a card."""
        return self.inside.units

    @property
    def ranks(self) -> int:
        """Chiplets of the group."""
        return self.cards * self.units

    @property
    def compiled(self) -> bool:
        return True

    @property
    def dispatch_ps(self) -> int:
        return round(self.figures["card.dispatch_s"] * PS_PER_S)

    @property
    def ridge_rows(self) -> int:
        return ridge_rows(self.chiplet, self.mode)

    @property
    def clocks_per_query(self) -> int:
        return self.kv_mode.clocks_per_vector

    @property
    def clocks_per_pass(self) -> int:
        """Loading a tile hides as many clocks of vectors."""
        return self.chiplet.load_clocks

    def simd(self, names: Sequence[str]) -> Recipe:
        """These kinds of vector work on one element, one after the other."""
        return recipe(self.figures, *names)

    def holding(self, near: bool) -> "DimcCard":
        return replace(self, memory="near") if near else self

    def of_group(self, size: int) -> int:
        return shard(size, self.ranks)

    def of_card(self, size: int) -> int:
        return shard(size, self.units)

    def matmul(self, name: str, product: Product, stored: StoredWeights) -> Operation:
        """A product with weights of the fullest chiplet; k and n are its shard."""
        done = product_work(self.chiplet, self.mode, product)
        bound, ps = done.bound, picoseconds(self.chiplet, done.clocks)
        stream_ps, moved_bytes = np.zeros_like(ps), np.zeros(ps.shape)
        if self.memory != "near":
            stream_ps = np.where(ps > 0, self._stream_ps(stored), 0)
            moved_bytes = np.where(ps > 0, stored.bytes_of(self.weights) / self.units, 0.0)
        counts = product_counts(
            self.figures, self.chiplet, self.units, self.mode, product, done, moved_bytes
        )
        counts[..., -len(USEFUL) :] = product_useful(product, stored, self.weights)
        if self.memory == "on_demand":
            bound = np.where(stream_ps > ps, LPDDR, bound)
            ps = np.maximum(ps, stream_ps)
        return Operation(name=name, ps=ps, bound=bound, far_ps=stream_ps, counts=counts)

    def _stream_ps(self, stored: StoredWeights) -> Integers:
        """Time to load ``stored`` from the card's LPDDR.

        All chiplets read an equal stripe and forward it, inside a package over links that are
        faster than LPDDR. If the packages use unequal parts, the fuller one is limited by its own
        LPDDR and the link between the packages.
        """
        packages, rate = self.inside.packages, self.chiplet.lpddr_bytes_per_s
        fuller = -(-stored.shares // packages) / max(1, stored.shares)
        share = 1 / self.units
        if packages > 1:
            link = self.inside.package_link_bytes_per_s
            share = max(share, fuller * rate / (self.units / packages * rate + link))
        return lpddr_ps(self.chiplet, stored.bytes_of(self.weights) * share)

    def vector(self, name: str, *work: VectorWork, normed: Integers | int = 0) -> Operation:
        made = tuple((elements, self.simd(kinds)) for elements, kinds in work)
        parts = [vector_clocks(self.chiplet, elements, each.clocks) for elements, each in made]
        clocks: Floats = np.sum(parts, axis=0)
        ps = picoseconds(self.chiplet, clocks)
        return Operation(
            name=name,
            ps=ps,
            bound=np.full(ps.shape, SIMD),
            far_ps=np.zeros_like(ps),
            counts=vector_counts(self.units, made, np.asarray(normed, np.int64)),
        )

    def elsewhere(self, name: str, rows: Integers) -> Operation:
        nothing = np.zeros_like(rows)
        counts = np.zeros((*rows.shape, len(COUNTS)), np.int64)
        return Operation(name=name, ps=nothing, bound=nothing, far_ps=nothing, counts=counts)

    def lookup(self, name: str, tokens: Integers, hidden: int) -> Operation:
        """Rows of the embedding table, cast to FP16.

        Rows of a table in LPDDR are known only when the step starts, so reading them is not
        hidden; in the worst case all are on one chiplet.
        """
        found = self.vector(name, (tokens * hidden, ("quantize",)))
        if self.memory == "near":
            return found
        rows = np.asarray(tokens, np.float64) * self.weights.matrix_bytes(hidden, 1)
        read_ps = lpddr_ps(self.chiplet, rows)
        counts = found.counts.copy()
        counts[..., COUNTS.index("lpddr_bytes")] += np.rint(rows).astype(np.int64)
        return replace(
            found,
            counts=counts,
            ps=np.maximum(found.ps, read_ps),
            bound=np.where(read_ps > found.ps, LPDDR, found.bound),
        )

    def attention_dispatches(self, heads: Heads, tokens: Integers) -> list[Operation]:
        names = ("QK^T", "softmax", "PV")
        return [*(self.elsewhere(name, tokens) for name in names), value_tail(self, heads, tokens)]

    def index_dispatches(self, tokens: Integers) -> list[Operation]:
        return [self.elsewhere(name, tokens) for name in INDEX_PRODUCTS]

    def state_dispatches(self, states: StateHeads, tokens: Integers) -> list[Operation]:  # noqa: ARG002
        return [self.elsewhere(name, tokens) for name in STATE_PRODUCTS]

    def merge(
        self, heads: Heads, tokens: Integers, cast_heads: int, value_dim: int, gated: bool
    ) -> list[Operation]:
        """Merge of the partial softmaxes over chiplets, and the cast to the next product's format.

        ``cast_heads`` heads of ``value_dim`` are cast once more after absorbing V (MLA).
        """
        queries = heads.kv_heads * heads.queries_per_kv_head
        merged = -(-queries * heads.value_dim // self.units)
        cast = merged + -(-cast_heads // self.units) * value_dim
        gate: tuple[str, ...] = ("activation",) if gated else ()
        return [self.vector("merge", (tokens * cast, ("quantize",)), (tokens * merged, gate))]

    def layer_end(self, tokens: Integers, works_ps: Integers) -> list[Operation]:  # noqa: ARG002
        return []

    @property
    def layer_end_above(self) -> None:
        return None

    def attention_records(self, heads: AnyHeads, layers: int, kind: int) -> Records:
        if isinstance(heads, StateHeads):
            return state_records(
                self.chiplet,
                self.tail_mode,
                heads,
                chiplets=self.units,
                layers=layers,
                update_clocks=self.simd(UPDATE).clocks,
                kind=kind,
            )
        return attention_records(
            self.chiplet,
            self.kv_mode,
            heads,
            chiplets=self.units,
            layers=layers,
            clocks=(self.simd(("softmax",)).clocks, self.simd(MOVE).clocks),
            kind=kind,
        )

    def attention_counts(self, heads: AnyHeads) -> Integers:
        if isinstance(heads, StateHeads):
            counts = state_counts(
                self.figures, self.chiplet, self.tail_mode, heads, self.simd(UPDATE)
            )
            counts[:, -len(USEFUL) :] = attention_useful(heads, self.kv)
            return counts
        counts = np.zeros((WIDTH, len(COUNTS)), np.int64)
        scored = self.simd(("compare", "add") if heads.picks else ("softmax",))
        gathered = gathered_elements(heads) if heads.picked else 0
        counts[[DECODE_BLOCKS, PREFILL_PASSES]] = attention_counts(
            self.figures, self.chiplet, self.kv_mode, heads, scored, gathered
        )
        counts[:, -len(USEFUL) :] = attention_useful(heads, self.kv)
        return counts

    def far_counts(self, moved_bytes: int) -> Integers:
        counts = np.zeros(len(COUNTS), np.int64)
        counts[COUNTS.index("lpddr_bytes")] = moved_bytes
        return counts

    def far_ps(self, moved_bytes: float) -> float:
        return moved_bytes * PS_PER_S / self.chiplet.lpddr_bytes_per_s

    @property
    def host_overlaps(self) -> bool:
        return True

    def host_ps(self, rows: Integers) -> Integers:
        return np.full(rows.shape, round(self.figures["host.overhead_s"] * PS_PER_S))

    def work_joules(self, work: ProgramWork) -> Floats:
        return work_joules(self.figures, self.mode, self.kv_mode, work)

    def load_ps(self, moved_bytes: int) -> tuple[int, int]:
        """A load or store of a program through LPDDR, and its bound."""
        return int(lpddr_ps(self.chiplet, np.array([moved_bytes / self.units]))[0]), LPDDR

    def elements_ps(self, elements: int) -> tuple[int, int]:
        """Vector work of unknown kind: one clock an element, and its bound."""
        each = np.array([-(-elements // self.units)])
        return int(picoseconds(self.chiplet, vector_clocks(self.chiplet, each, 1.0))[0]), SIMD

    def roofline_ps(self, flop: int, moved_bytes: int, attends: bool) -> tuple[int, int]:
        """The longer of flop at peak rate and of bytes at the rate of SRAM, and its bound."""
        mode = self.kv_mode if attends else self.mode
        stored = WIDTHS[self.weights.columns or "int8"]
        flop_s = flop / (peak_flop_per_s(self.chiplet, mode) * self.units)
        rate = peak_stream_bytes_per_s(self.chiplet, self.mode, stored) * self.units
        ps = whole(np.array([max(flop_s, moved_bytes / rate) * PS_PER_S]))
        return int(ps[0]), MAC if flop_s >= moved_bytes / rate else STREAM


def device_of(
    figures: Figures, formats: Formats, *, cards: int, expert_ranks: int, streams: bool
) -> DimcCard:
    """Read the figures; formats must have been checked. ``streams``: weights come from LPDDR."""
    activation_bytes = float(formats.activations.bits_per_element) / 8
    width = WIDTHS[formats.activations.columns or "int8"]

    def stationary(chosen: Format) -> Mode:
        return mode_of(
            figures,
            weight_width=WIDTHS[chosen.columns or "int8"],
            activation_width=width,
            activation_bytes=activation_bytes,
        )

    ahead = figures["chiplet.prefetch_bytes"] > 0
    return DimcCard(
        figures=figures,
        chiplet=chiplet_of(figures),
        inside=interior(figures),
        room=room(figures),
        weights=formats.weights,
        activations=formats.activations,
        kv=formats.kv,
        wire=formats.wire,
        mode=stationary(formats.weights),
        kv_mode=stationary(formats.kv),
        tail_mode=mode_of(figures, weight_width=16, activation_width=16, activation_bytes=2.0),
        cards=cards,
        expert_ranks=expert_ranks,
        memory=("prefetched" if ahead else "on_demand") if streams else "near",
    )
