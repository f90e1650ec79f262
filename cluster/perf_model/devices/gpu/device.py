"""A GPU as a device: one kernel, or what is fused into one, of a rank of a tensor group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, AnyHeads, Heads, StateHeads
from cluster.perf_model.devices.gpu.constants import (
    Kernel,
    attention,
    experts,
    gemm,
    peak_flop_per_s,
    query_bytes_per_s,
    vector_bytes_per_s,
)
from cluster.perf_model.devices.gpu.facts import (
    COUNTS,
    HOST,
    LAUNCH,
    MEMORY,
    PARTS,
    TENSOR,
    VECTOR,
    count_joules,
    flop_j,
    format_breaches,
)
from cluster.perf_model.devices.gpu.kernels import (
    ELEMENT_BYTES,
    OUTPUT_BYTES,
    attention_counts,
    attention_records,
    product_ps,
    product_work,
    vector_bytes,
    work_counts,
)
from cluster.perf_model.devices.gpu.recurrent import state_counts, state_records
from cluster.perf_model.devices.useful import USEFUL, attention_useful, product_useful
from cluster.perf_model.devices.work import (
    Operation,
    Product,
    ProgramWork,
    StoredWeights,
    VectorWork,
    shard,
    whole,
)
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import Records
from cluster.scenario.formats import Formats
from corsair_common.units import PS_PER_S, Floats, Integers
from workloads.formats import Format
from workloads.model.scan import recurrent_widths


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A rank that is a GPU: constants of its kernels for the formats of a run."""

    figures: Figures
    weights: Format
    activations: Format
    kv: Format
    wire: Format
    gemm: Kernel
    experts: Kernel
    attention: Kernel
    cards: int
    """Of the tensor group."""
    expert_ranks: int

    @property
    def memory(self) -> Literal["near"]:
        return "near"

    @property
    def units(self) -> int:
        return 1

    @property
    def ranks(self) -> int:
        return self.cards

    @property
    def compiled(self) -> bool:
        """Not without measurements: vLLM's pass for it is off unless configured."""
        return False

    @property
    def dispatch_ps(self) -> int:
        """Kernels carry their launch."""
        return 0

    @property
    def ridge_rows(self) -> int:
        return 1

    @property
    def clocks_per_query(self) -> int:
        return 1

    @property
    def clocks_per_pass(self) -> int:
        return BLOCK_TOKENS

    @property
    def host_overlaps(self) -> bool:
        """The engine's figures are what asynchronous scheduling leaves of the host's time."""
        return False

    def holding(self, near: bool) -> "Gpu":  # noqa: ARG002 - there is one memory
        return self

    def of_group(self, size: int) -> int:
        return shard(size, self.cards)

    def of_card(self, size: int) -> int:
        return size

    def matmul(self, name: str, product: Product, stored: StoredWeights) -> Operation:
        """A product, or the grouped one of experts; all weights lie in the one memory."""
        kernel = self.gemm if product.vectors is None else self.experts
        moved, flop = product_work(product, self.weights, self.activations)
        ps, bound = product_ps(kernel, moved, flop)
        counts = work_counts(moved, flop, self.activations)
        counts[..., -len(USEFUL) :] = product_useful(product, stored, self.weights)
        return self._operation(name, ps, bound, counts)

    def vector(self, name: str, *work: VectorWork, normed: Integers | int = 0) -> Operation:  # noqa: ARG002
        """Elementwise work by its bytes; a norm's roots cost nothing beside them."""
        moved: Floats = np.sum(
            [
                np.asarray(elements, np.float64) * vector_bytes(kinds, self.activations)
                for elements, kinds in work
            ],
            axis=0,
        )
        return self._moved(name, moved, vector_bytes_per_s(self.figures))

    def _moved(self, name: str, moved: Floats, bytes_per_s: float) -> Operation:
        ps = whole(moved * PS_PER_S / bytes_per_s)
        counts = work_counts(moved, np.zeros_like(moved), self.activations)
        return self._operation(name, ps, np.full(ps.shape, VECTOR), counts)

    def _operation(self, name: str, ps: Integers, bound: Integers, counts: Integers) -> Operation:
        return Operation(name=name, ps=ps, bound=bound, far_ps=np.zeros_like(ps), counts=counts)

    def elsewhere(self, name: str, rows: Integers) -> Operation:
        nothing = np.zeros_like(rows)
        return self._operation(
            name, nothing, nothing, np.zeros((*rows.shape, len(COUNTS)), np.int64)
        )

    def lookup(self, name: str, tokens: Integers, hidden: int) -> Operation:
        """Rows of the table are read and written in 16 bits."""
        row = self.weights.matrix_bytes(hidden, 1) + OUTPUT_BYTES * hidden
        moved = np.asarray(tokens, np.float64) * row
        return self._moved(name, moved, vector_bytes_per_s(self.figures))

    def attention_dispatches(self, heads: Heads, tokens: Integers) -> list[Operation]:
        """Queries in, context out, keys and values of new tokens into the cache, 16 bits each.

        Slower than the memory: tiles of queries are cast, scaled and summed up on the way.
        """
        queries = heads.kv_heads * heads.queries_per_kv_head
        width = heads.key_dim + heads.value_dim
        each = OUTPUT_BYTES * (queries + heads.kv_heads) * width
        moved = np.asarray(tokens, np.float64) * each
        return [self._moved("attention", moved, query_bytes_per_s(self.figures, self.kv))]

    def index_dispatches(self, tokens: Integers) -> list[Operation]:
        return [self.elsewhere("index scores", tokens)]

    def state_dispatches(self, states: StateHeads, tokens: Integers) -> list[Operation]:
        """Queries, keys and values in, output out, 16 bits each."""
        made = recurrent_widths(states.attention, states.heads, states.groups)
        each = OUTPUT_BYTES * (made.channels + made.values)
        moved = np.asarray(tokens, np.float64) * each
        return [self._moved("scan", moved, vector_bytes_per_s(self.figures))]

    def merge(
        self, heads: Heads, tokens: Integers, cast_heads: int, value_dim: int, gated: bool
    ) -> list[Operation]:
        """The cast of the context to the next product's format; nothing is to be merged."""
        width = heads.kv_heads * heads.queries_per_kv_head * heads.value_dim
        gate: tuple[str, ...] = ("activation",) if gated else ()
        cast = width + cast_heads * value_dim
        return [self.vector("merge", (tokens * cast, ("quantize",)), (tokens * width, gate))]

    def layer_end(self, tokens: Integers, works_ps: Integers) -> list[Operation]:
        """Other kernels of a layer, and the wait for their launches outside of a CUDA graph.

        Steps of more tokens than graphs are captured for launch kernel by kernel: a layer that
        takes less than its launches waits for them.
        """
        eager_ps = round(self.figures["engine.eager_layer_s"] * PS_PER_S)
        eager = tokens > int(self.figures["engine.captured_tokens"])
        ps = np.where(tokens > 0, round(self.figures["engine.layer_s"] * PS_PER_S), 0)
        ps = ps + np.where(eager, np.maximum(eager_ps - works_ps, 0), 0)
        counts = np.zeros((*tokens.shape, len(COUNTS)), np.int64)
        return [self._operation("engine", ps, np.full(ps.shape, LAUNCH), counts)]

    @property
    def layer_end_above(self) -> int | None:
        if self.figures["engine.layer_s"] > 0:
            return 0
        eager = self.figures["engine.eager_layer_s"] > 0
        return int(self.figures["engine.captured_tokens"]) if eager else None

    def attention_records(self, heads: AnyHeads, layers: int, kind: int) -> Records:
        if isinstance(heads, StateHeads):
            return state_records(self.attention, heads, layers=layers, kind=kind)
        return attention_records(self.attention, heads, self.kv, layers=layers, kind=kind)

    def attention_counts(self, heads: AnyHeads) -> Integers:
        if isinstance(heads, StateHeads):
            counts = state_counts(heads)
        else:
            counts = attention_counts(heads, self.kv)
        counts[:, -len(USEFUL) :] = attention_useful(heads, self.kv)
        return counts

    def far_counts(self, moved_bytes: int) -> Integers:  # noqa: ARG002 - no far memory
        return np.zeros(len(COUNTS), np.int64)

    def far_ps(self, moved_bytes: float) -> float:  # noqa: ARG002
        return 0.0

    def host_ps(self, rows: Integers) -> Integers:
        """Of the engine for a step and for each sequence that it gives a token to."""
        each_s = self.figures["host.overhead_s"] + self.figures["engine.step_s"]
        seconds = each_s + self.figures["engine.sequence_s"] * np.asarray(rows, np.float64)
        return np.rint(seconds * PS_PER_S).astype(np.int64)

    def work_joules(self, work: ProgramWork) -> Floats:
        cost = count_joules(self.figures)
        spent = np.zeros((len(work.macs), len(PARTS)))
        bits = np.where(work.attends, 16, max(4, self.activations.element_bits))
        spent[:, PARTS.index("tensor")] = 2 * work.macs * flop_j(self.figures) * bits / 16
        kinds = np.array([vector_bytes(kinds, self.activations) for kinds in work.kinds])
        moved = work.near_bytes + work.far_bytes + work.elements * kinds[work.name]
        memory = PARTS.index("memory")
        spent[:, memory] = moved * cost[COUNTS.index("memory_lines"), memory] / 64
        return spent

    def load_ps(self, moved_bytes: int) -> tuple[int, int]:
        """A load or store of a program: over PCIe, to or from the host's memory."""
        rate = self.figures["card.pcie_bandwidth_bytes_per_s"] * self.figures["links.efficiency"]
        return _one(moved_bytes / rate), HOST

    def elements_ps(self, elements: int) -> tuple[int, int]:
        """Vector work of unknown kind: read and written once, and its bound."""
        return _one(elements * ELEMENT_BYTES["add"] / vector_bytes_per_s(self.figures)), VECTOR

    def roofline_ps(self, flop: int, moved_bytes: int, attends: bool) -> tuple[int, int]:
        """The longer of flop at the peak and of bytes from memory, and its bound."""
        peak = self.figures["gpu.bf16_flop_per_s"]
        if not attends:
            peak = peak_flop_per_s(self.figures, self.activations)
        flop_s = flop / peak
        moved_s = moved_bytes / self.figures["gpu.memory_bandwidth_bytes_per_s"]
        return _one(max(flop_s, moved_s)), TENSOR if flop_s >= moved_s else MEMORY


def _one(seconds: float) -> int:
    return int(whole(np.array([seconds * PS_PER_S]))[0])


def device_of(
    figures: Figures,
    formats: Formats,
    *,
    cards: int,
    expert_ranks: int,
    streams: bool,  # noqa: ARG001 - no far memory
) -> Gpu:
    """Read the figures of these formats.

    Raises
    ------
    FormatError
        The GPU does not multiply them.
    """
    refuse(format_breaches(figures, formats))
    return Gpu(
        figures=figures,
        weights=formats.weights,
        activations=formats.activations,
        kv=formats.kv,
        wire=formats.wire,
        gemm=gemm(figures, formats.activations),
        experts=experts(figures, formats.activations),
        attention=attention(figures, formats.kv),
        cards=cards,
        expert_ranks=expert_ranks,
    )


def refuse(breaches: Sequence[str]) -> None:
    """Name all at once."""
    if breaches:
        from workloads.formats import FormatError

        raise FormatError("; ".join(breaches))
