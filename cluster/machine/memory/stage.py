"""What the fullest chiplet of every stage has, and what weights and KV ask of it."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from cluster.machine.attention import BLOCK_TOKENS
from cluster.machine.memory.shard import KvBlock, MemoryInputError, kv_block, shard
from cluster.machine.views import Figures
from workloads.formats import Format
from workloads.model import Model, Tensor
from workloads.plan import Plan, stage_layers
from workloads.slices import stage_tensors

MODES = ("performance", "capacity")
"""Weights in SRAM, or in LPDDR and streamed; KV in SRAM either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """What is stored, how, and where."""

    weights: Format
    kv: Format
    mode: str = "performance"
    """One of MODES."""
    block_size: int = BLOCK_TOKENS
    """Tokens of a KV block of the scheduler; a multiple or a divisor of 64."""
    max_num_seqs: int = 1
    """Sequences of a replica, each of which keeps an FP16 tail."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MemoryInputError(f"memory mode is {' or '.join(MODES)}, got {self.mode!r}")
        size = self.block_size
        if not (size >= 1 and (size % BLOCK_TOKENS == 0 or BLOCK_TOKENS % size == 0)):
            raise MemoryInputError(
                f"block_size is a multiple or a divisor of {BLOCK_TOKENS} tokens, got {size!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """The fullest chiplet of a stage, in bytes."""

    weight_bytes: int
    sram_bytes: int
    """Usable for weights, KV and streaming."""
    reserved_bytes: int
    """SRAM of what is no KV block: weights or their stream's buffer, and the FP16 tails."""
    lpddr_bytes: int
    """There is for weights; 0 where they lie in SRAM."""
    block_bytes: Fraction
    """Of one scheduler block of KV."""

    @property
    def blocks(self) -> int:
        """Scheduler blocks that fit beside the rest."""
        return max(0, int((self.sram_bytes - self.reserved_bytes) // self.block_bytes))

    @property
    def sram_needed_bytes(self) -> int:
        """With room for one block."""
        return self.reserved_bytes + math.ceil(self.block_bytes)

    @property
    def lpddr_needed_bytes(self) -> int:
        return self.weight_bytes if self.lpddr_bytes else 0

    @property
    def fits(self) -> bool:
        return (
            self.sram_needed_bytes <= self.sram_bytes
            and self.lpddr_needed_bytes <= self.lpddr_bytes
        )


def stage_memory(
    model: Model, plan: Plan, hardware: Figures, settings: MemorySettings
) -> tuple[StageMemory, ...]:
    """Return what each stage's fullest chiplet has and needs, whether it fits or not."""
    chiplets = chiplets_of(hardware)
    in_lpddr = settings.mode == "capacity"
    usable = hardware["chiplet.sram_bytes"] * hardware["chiplet.usable_sram_fraction"]
    stages = []
    for kinds, kv in stage_contents(model, plan, chiplets, settings.kv):
        weight_bytes = sum(
            times * shard(tensor, plan, 0, chiplets, settings.weights).chiplet
            for tensor, times in kinds.items()
        )
        kept = int(hardware["chiplet.prefetch_bytes"]) if in_lpddr else weight_bytes
        stages.append(
            StageMemory(
                weight_bytes=weight_bytes,
                sram_bytes=int(usable),
                reserved_bytes=kept + math.ceil(settings.max_num_seqs * kv.tail_chiplet),
                lpddr_bytes=int(hardware["chiplet.lpddr_bytes"]) if in_lpddr else 0,
                block_bytes=kv.chiplet * Fraction(settings.block_size, BLOCK_TOKENS),
            )
        )
    return tuple(stages)


def chiplets_of(hardware: Figures) -> int:
    """Chiplets of one card."""
    return int(hardware["card.packages"]) * int(hardware["package.chiplets"])


def stage_contents(
    model: Model, plan: Plan, chiplets: int, kv: Format
) -> Iterator[tuple[Counter[Tensor], KvBlock]]:
    """For each stage: how often each kind of tensor stands there, and 64 tokens of its KV."""
    each = {
        attention: kv_block(attention, plan, chiplets, kv)
        for attention in {layer.attention for layer in model.layers}
    }
    stages = zip(stage_tensors(model, plan), stage_layers(plan, model), strict=True)
    for tensors, layers in stages:
        first, *others = (each[model.layers[layer].attention] for layer in layers)
        yield Counter(replace(tensor, layer=0) for tensor in tensors), sum(others, first)
