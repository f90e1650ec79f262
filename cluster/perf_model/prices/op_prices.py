"""One operation on the fullest chiplet of a tensor group, priced for every count of rows."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cluster.perf_model.chiplet import (
    LPDDR,
    SIMD,
    Chiplet,
    Floats,
    Mode,
    Product,
    chiplet_of,
    lpddr_ps,
    mode_of,
    picoseconds,
    product_work,
    shard,
    vector_clocks,
)
from cluster.perf_model.collectives.resources import card_rates
from cluster.perf_model.energy.counters import COUNTS, Recipe
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.op_counts import product_counts, recipe, vector_counts
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import Integers
from workloads.formats import Format
from workloads.formats.format import COLUMN_MODES

UNIT = 64
"""Rows or columns of weights that are never parted between chiplets."""

WIDTHS: dict[str, int] = {name: int(name.removeprefix("int")) for name in COLUMN_MODES}
"""Bits of the operands that each DIMC column mode takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpPricer:
    """Where operations are priced: a chiplet, the widths of its operands, and its peers."""

    figures: Figures
    chiplet: Chiplet
    weights: Format
    activations: Format
    wire: Format
    mode: Mode
    """Weights stationary."""
    kv_mode: Mode
    """Keys and values stationary."""
    tail_mode: Mode
    """V's last block until its 64 tokens are full: FP16, multiplied as 16-bit integers."""
    chiplets: int
    """Of a card."""
    cards: int
    """Of the tensor group."""
    expert_ranks: int
    memory: Literal["sram", "prefetched", "on_demand"]
    """Where weights come from: SRAM; LPDDR ahead of use, so that a stage waits for whichever is
    slower; or LPDDR when the operation starts, so that each operation does."""

    @property
    def ranks(self) -> int:
        """Chiplets of the group."""
        return self.cards * self.chiplets

    @property
    def dispatch_ps(self) -> int:
        return round(self.figures["card.dispatch_s"] * 1e12)

    def simd(self, *names: str, times: int = 1) -> Recipe:
        """These kinds of vector work on one element, one after the other, so many times."""
        return recipe(self.figures, *names, times=times)

    def holding(self, in_sram: bool) -> "OpPricer":
        """The same bench for work whose weights lie in SRAM, or not."""
        return replace(self, memory="sram") if in_sram else self

    def of_group(self, size: int) -> int:
        """The largest shard over all chiplets of the group."""
        return shard(size, self.ranks)

    def of_card(self, size: int) -> int:
        """The largest shard over the chiplets of one card."""
        return shard(size, self.chiplets)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedWeights:
    """A card's part of a product's weights, as they lie in LPDDR: striped over its chiplets."""

    k: int
    n: int
    units: int
    """Equal shares in which its chiplets use them, dealt to the packages in turn."""
    copies: Integers | int = 1
    """Matrices that are read, by count of rows."""

    def bytes_of(self, weights: Format) -> Floats:
        """[row count] or one number: bytes of the whole card."""
        each = weights.matrix_bytes(self.k, self.n)
        return np.asarray(self.copies, np.float64) * each


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one dispatch does, by count of rows."""

    name: str
    ps: Integers
    """[row count] without its dispatch."""
    bound: Integers
    """[row count] position in BOUNDS of what sets its time."""
    lpddr_ps: Integers
    """[row count] time to bring its weights from LPDDR, where they live there."""
    counts: Integers
    """[row count, COUNTS] of a card."""
    dispatches: int = 1


def op_pricer_of(inputs: PriceInputs) -> OpPricer:
    """Read the figures; formats must have been checked."""
    figures, formats = inputs.hardware, inputs.formats
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
    return OpPricer(
        figures=figures,
        chiplet=chiplet_of(figures),
        weights=formats.weights,
        activations=formats.activations,
        wire=formats.wire,
        mode=stationary(formats.weights),
        kv_mode=stationary(formats.kv),
        tail_mode=mode_of(figures, weight_width=16, activation_width=16, activation_bytes=2.0),
        chiplets=int(figures["card.packages"]) * int(figures["package.chiplets"]),
        cards=inputs.plan.tensor_parallel_size,
        expert_ranks=inputs.plan.expert_parallel_size,
        memory=("prefetched" if ahead else "on_demand") if inputs.placed.streams else "sram",
    )


def matmul(
    bench: OpPricer, name: str, product: Product, kept: StreamedWeights | None = None
) -> Operation:
    """A product with weights of the fullest chiplet; k and n are its shard of them.

    ``kept`` is what the whole card has of them; without it every chiplet has as much as this one.
    """
    done = product_work(bench.chiplet, bench.mode, product)
    bound, ps = done.bound, picoseconds(bench.chiplet, done.clocks)
    stream_ps, moved = np.zeros_like(ps), np.zeros(ps.shape)
    if bench.memory != "sram":
        whole_card = kept or StreamedWeights(
            k=int(product.k),
            n=int(product.n) * bench.chiplets,
            units=bench.chiplets,
            copies=product.copies,
        )
        stream_ps = np.where(ps > 0, stream_of(bench, whole_card), 0)
        moved = np.where(ps > 0, whole_card.bytes_of(bench.weights) / bench.chiplets, 0.0)
    counts = product_counts(bench.figures, bench.chiplets, bench.mode, product, done, moved)
    if bench.memory == "on_demand":
        bound = np.where(stream_ps > ps, LPDDR, bound)
        ps = np.maximum(ps, stream_ps)
    return Operation(name=name, ps=ps, bound=bound, lpddr_ps=stream_ps, counts=counts)


def stream_of(bench: OpPricer, kept: StreamedWeights) -> Integers:
    """Time in which the card's LPDDR gives ``kept``, to whichever chiplets use it.

    All chiplets read an equal stripe and pass it on, inside a package over links that are faster
    than LPDDR. Where the packages use unequal parts, the fuller one cannot have more than its own
    LPDDR and the link between the packages bring.
    """
    figures, packages = bench.figures, int(bench.figures["card.packages"])
    rate = bench.chiplet.lpddr_bytes_per_s
    link = card_rates(figures).package_link
    fuller = -(-kept.units // packages) / max(1, kept.units)
    share = 1 / bench.chiplets
    if packages > 1:
        share = max(share, fuller * rate / (bench.chiplets / packages * rate + link))
    return lpddr_ps(bench.chiplet, kept.bytes_of(bench.weights) * share)


def vector(
    bench: OpPricer, name: str, *work: tuple[Integers, Recipe], normed: Integers | int = 0
) -> Operation:
    """Element-wise work: pairs of elements on the fullest chiplet and what is done to each.

    Of ``normed`` rows a norm takes the root.
    """
    parts = [vector_clocks(bench.chiplet, elements, made.clocks) for elements, made in work]
    clocks: Floats = np.sum(parts, axis=0)
    ps = picoseconds(bench.chiplet, clocks)
    return Operation(
        name=name,
        ps=ps,
        bound=np.full(ps.shape, SIMD),
        lpddr_ps=np.zeros_like(ps),
        counts=vector_counts(bench.chiplets, work, np.asarray(normed, np.int64)),
    )


def elsewhere(name: str, rows: Integers) -> Operation:
    """A dispatch whose work is priced in another table: attention, or the network."""
    nothing = np.zeros_like(rows)
    counts = np.zeros((*rows.shape, len(COUNTS)), np.int64)
    return Operation(name=name, ps=nothing, bound=nothing, lpddr_ps=nothing, counts=counts)


def by_bound(bench: OpPricer, operations: Iterable[Operation], rows: Integers) -> Integers:
    """[row count, 6] the operations one after another, with their dispatches."""
    total = np.zeros((len(rows), 6), np.int64)
    row = np.arange(len(rows))
    for operation in operations:
        total[row, operation.bound] += operation.ps
        total[:, 5] += operation.dispatches * bench.dispatch_ps * (rows > 0)
    return total


def counted(operations: Iterable[Operation], rows: Integers) -> Integers:
    """[row count, COUNTS] the operations together; none where there are no rows."""
    total = np.zeros((len(rows), len(COUNTS)), np.int64)
    for operation in operations:
        total += operation.counts
    return np.where((rows > 0)[:, None], total, 0)
