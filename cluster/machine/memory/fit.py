"""A replica laid on its chiplets: how many KV blocks it has, and what lies on which card."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cluster.machine.attention import BLOCK_TOKENS
from cluster.machine.memory.advice import shortfall
from cluster.machine.memory.shard import KvBlock, shard
from cluster.machine.memory.stage import (
    MemorySettings,
    StageMemory,
    chiplets_of,
    stage_contents,
    stage_memory,
)
from cluster.machine.views import Figures
from workloads.model import Model, Tensor
from workloads.plan import Plan, check_plan


class DoesNotFit(ValueError):  # noqa: N818 - the plain words are the name that users read
    """A stage needs more memory than its chiplets have."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Bytes of one class of tensors on one card."""

    tensor_class: str
    """A weight's role, ``kv`` (the block pool) or ``kv_tail`` (its FP16 tails)."""
    where: str
    """sram or lpddr."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Where everything lies in a replica."""

    mode: str
    block_size: int
    blocks: int
    """KV blocks of the replica: as many as its tightest stage has room for."""
    stages: tuple[StageMemory, ...]
    holdings: tuple[tuple[tuple[Holding, ...], ...], ...]
    """[stage][position]"""

    @property
    def headroom_bytes(self) -> tuple[int, ...]:
        """[stage] usable SRAM of the fullest chiplet that is left when the pool is full."""
        return tuple(
            stage.sram_bytes - stage.reserved_bytes - math.ceil(self.blocks * stage.block_bytes)
            for stage in self.stages
        )


def fit(model: Model, plan: Plan, hardware: Figures, settings: MemorySettings) -> Fit:
    """Lay a replica's weights and KV on its chiplets.

    The blocks of a sequence are dealt in turn to the chiplets that share a head, each sequence
    starting one further on; over the pool they count as evenly spread.

    Raises
    ------
    PlanError
        The plan cannot cut the model.
    DoesNotFit
        A stage lacks room for its weights and one KV block; says what would do.
    """
    check_plan(plan, model)
    stages = stage_memory(model, plan, hardware, settings)
    if not all(stage.fits for stage in stages):
        raise DoesNotFit(shortfall(model, plan, hardware, settings, stages))
    blocks = min(stage.blocks for stage in stages)
    chiplets = chiplets_of(hardware)
    holdings = []
    for kinds, kv in stage_contents(model, plan, chiplets, settings.kv):
        cache = tuple(_cache(kv, settings, blocks))
        holdings.append(
            tuple(
                (*_weights(kinds, plan, position, chiplets, settings), *cache)
                for position in range(plan.tensor_parallel_size)
            )
        )
    return Fit(
        mode=settings.mode,
        block_size=settings.block_size,
        blocks=blocks,
        stages=stages,
        holdings=tuple(holdings),
    )


def _weights(
    kinds: Counter[Tensor], plan: Plan, position: int, chiplets: int, settings: MemorySettings
) -> Iterator[Holding]:
    """Weights of one card by role, copies on several chiplets counted."""
    sizes: Counter[str] = Counter()
    for tensor, times in kinds.items():
        sizes[tensor.role] += times * shard(tensor, plan, position, chiplets, settings.weights).card
    where = "lpddr" if settings.mode == "capacity" else "sram"
    for role, size_bytes in sorted(sizes.items()):
        yield Holding(tensor_class=role, where=where, size_bytes=size_bytes)


def _cache(kv: KvBlock, settings: MemorySettings, blocks: int) -> Iterator[Holding]:
    """The pool and its tails, the same on every card of a group."""
    pool = blocks * settings.block_size * kv.card // BLOCK_TOKENS
    yield Holding(tensor_class="kv", where="sram", size_bytes=pool)
    tails = settings.max_num_seqs * kv.tail_card
    yield Holding(tensor_class="kv_tail", where="sram", size_bytes=tails)
