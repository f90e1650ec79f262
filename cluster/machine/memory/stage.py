"""What the fullest chiplet of every stage has, and what weights and KV ask of it."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from cluster.machine.attention import BLOCK_TOKENS
from cluster.machine.memory.shard import KvBlock, MemoryInputError, kv_block, shard
from cluster.machine.residency.places import (
    KV_PLACES,
    MODES,
    NO_PINS,
    Mode,
    Pins,
    Residency,
    class_of,
    layer_hot,
    outer_hot,
    uniform,
)
from cluster.machine.views import Figures
from workloads.formats import Format
from workloads.model import Model, Tensor
from workloads.plan import Plan, stage_layers
from workloads.slices import outer_tensors, tensor_slice


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """What is stored, how, and where."""

    weights: Format
    kv: Format
    mode: Mode = "performance"
    """One of MODES."""
    block_size: int = BLOCK_TOKENS
    """Tokens of a KV block of the scheduler; a multiple or a divisor of 64."""
    max_num_seqs: int = 1
    """Sequences of a replica, each of which keeps an FP16 tail."""
    pins: Pins = NO_PINS
    lpddr_taken_bytes: int = 0
    """On every card, by other models that wait there."""

    def __post_init__(self) -> None:
        for what, known, value in (
            ("memory mode", MODES, self.mode),
            ("the place of KV", KV_PLACES, self.pins.kv),
        ):
            if value not in known:
                raise MemoryInputError(f"{what} is one of {', '.join(known)}, got {value!r}")
        size = self.block_size
        if not (size >= 1 and (size % BLOCK_TOKENS == 0 or BLOCK_TOKENS % size == 0)):
            raise MemoryInputError(
                f"block_size is a multiple or a divisor of {BLOCK_TOKENS} tokens, got {size!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """The fullest chiplet of a stage, in bytes."""

    sram_weight_bytes: int
    """Weights that lie in its SRAM."""
    lpddr_weight_bytes: int
    """Its share of what lies in the card's LPDDR: matrices are striped over all its chiplets."""
    sram_bytes: int
    """Usable for weights, KV and streaming."""
    buffer_bytes: int
    """Kept in SRAM for what streams in; 0 where nothing does."""
    tail_bytes: int
    """The FP16 tails of V."""
    lpddr_bytes: int
    """There is for weights and KV, beside what other models take."""
    block_bytes: Fraction
    """Of one scheduler block of KV."""
    kv: str = "sram"
    """Where KV blocks may lie: sram, lpddr, or spill (either)."""

    @property
    def weight_bytes(self) -> int:
        return self.sram_weight_bytes + self.lpddr_weight_bytes

    @property
    def reserved_bytes(self) -> int:
        """SRAM of what is no KV block."""
        return self.sram_weight_bytes + self.buffer_bytes + self.tail_bytes

    @property
    def sram_blocks(self) -> int:
        """Scheduler blocks that fit in SRAM beside the rest."""
        if self.kv == "lpddr":
            return 0
        return max(0, int((self.sram_bytes - self.reserved_bytes) // self.block_bytes))

    @property
    def lpddr_blocks(self) -> int:
        """Scheduler blocks that fit in LPDDR beside the weights there."""
        if self.kv == "sram":
            return 0
        return max(0, int((self.lpddr_bytes - self.lpddr_weight_bytes) // self.block_bytes))

    @property
    def blocks(self) -> int:
        return self.sram_blocks + self.lpddr_blocks

    @property
    def sram_needed_bytes(self) -> int:
        """With room for one block, where blocks lie there."""
        return self.reserved_bytes + (math.ceil(self.block_bytes) if self.kv == "sram" else 0)

    @property
    def lpddr_needed_bytes(self) -> int:
        one = 0 if self.kv == "sram" else math.ceil(self.block_bytes)
        return self.lpddr_weight_bytes + one

    @property
    def fits(self) -> bool:
        return (
            self.sram_needed_bytes <= self.sram_bytes
            and self.lpddr_needed_bytes <= self.lpddr_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Equal tensors of a stage that lie alike."""

    tensor: Tensor
    """With layer 0, whichever its own is."""
    hot: int
    """Of the equal matrices that a card holds of it, how many lie in SRAM; more where all do."""

    @property
    def tensor_class(self) -> str:
        return class_of(self.tensor)


def stage_memory(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    residency: Residency | None = None,
) -> tuple[StageMemory, ...]:
    """Return what each stage's fullest chiplet has and needs, whether it fits or not.

    Without a residency all of a class lies alike, by mode and pins; ``auto`` counts as capacity
    then, which is the least that it needs.
    """
    chiplets = chiplets_of(hardware)
    placed = residency or uniform(settings.mode, model, plan, settings.pins)
    usable = hardware["chiplet.sram_bytes"] * hardware["chiplet.usable_sram_fraction"]
    lpddr = int(hardware["chiplet.lpddr_bytes"]) - -(-settings.lpddr_taken_bytes // chiplets)
    stages = []
    contents = stage_contents(model, plan, chiplets, settings.kv, placed)
    for kinds, kv in contents:
        in_sram, in_lpddr = _split(kinds, plan, chiplets, settings.weights)
        streams = in_lpddr > 0 or placed.kv != "sram"
        stages.append(
            StageMemory(
                sram_weight_bytes=in_sram,
                lpddr_weight_bytes=in_lpddr,
                sram_bytes=int(usable),
                buffer_bytes=int(hardware["chiplet.prefetch_bytes"]) if streams else 0,
                tail_bytes=math.ceil(settings.max_num_seqs * kv.tail_chiplet),
                lpddr_bytes=lpddr,
                block_bytes=kv.chiplet * Fraction(settings.block_size, BLOCK_TOKENS),
                kv=placed.kv,
            )
        )
    return tuple(stages)


def _split(kinds: Counter[Held], plan: Plan, chiplets: int, weights: Format) -> tuple[int, int]:
    """Bytes in SRAM on the fullest chiplet, and its share of those in the card's LPDDR."""
    in_sram = in_lpddr = 0
    for held, times in kinds.items():
        whole = shard(held.tensor, plan, 0, chiplets, weights)
        count = matrices(held.tensor, plan)
        hot = min(held.hot, count)
        in_sram += times * whole.chiplet * hot // count
        in_lpddr += times * whole.card * (count - hot) // count
    return in_sram, -(-in_lpddr // chiplets)


def matrices(tensor: Tensor, plan: Plan, position: int = 0) -> int:
    """Equal matrices of ``tensor`` on the card at ``position``, at least 1."""
    return max(1, len(tensor_slice(tensor, plan, position).count))


def chiplets_of(hardware: Figures) -> int:
    """Chiplets of one card."""
    return int(hardware["card.packages"]) * int(hardware["package.chiplets"])


def stage_contents(
    model: Model, plan: Plan, chiplets: int, kv: Format, residency: Residency
) -> Iterator[tuple[Counter[Held], KvBlock]]:
    """For each stage: how often each kind of tensor stands there, and 64 tokens of its KV."""
    each = {
        attention: kv_block(attention, plan, chiplets, kv)
        for attention in {layer.attention for layer in model.layers}
    }
    inside = {
        layer: [replace(tensor, layer=0) for tensor in model.layer_tensors(number)]
        for layer, number in {layer: number for number, layer in enumerate(model.layers)}.items()
    }
    outside, stages = outer_tensors(model, plan), stage_layers(plan, model)
    for outer, layers, places in zip(outside, stages, residency.stages, strict=True):
        held = Counter(
            Held(tensor=replace(tensor, layer=0), hot=outer_hot(tensor, places)) for tensor in outer
        )
        kinds = Counter(zip((model.layers[layer] for layer in layers), places.layers, strict=True))
        for (layer, where), times in kinds.items():
            for tensor in inside[layer]:
                held[Held(tensor=tensor, hot=layer_hot(tensor, where))] += times
        first, *others = (each[model.layers[layer].attention] for layer in layers)
        yield held, sum(others, first)
