"""A replica placed on its chiplets: its KV blocks, and the contents of each card."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import ClassVar

from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.devices import module_of
from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.memory.advice import advice, shortfall
from cluster.perf_model.memory.capacity import capacity_of
from cluster.perf_model.memory.placement import Residency
from cluster.perf_model.memory.shard import KvBlock, MemoryInputError, shard
from cluster.perf_model.memory.stage import (
    MemorySettings,
    StageMemory,
    StoredTensor,
    chiplets_of,
    in_memories,
    stage_contents,
    stage_memory,
    windows_of,
)
from cluster.perf_model.protocols import Figures
from corsair_common.names import STATE
from workloads.model import Model, not_modelled
from workloads.plan import Plan, check_plan


class DoesNotFit(ValueError):  # noqa: N818 - users read this name
    """A stage needs more memory than its chiplets have.

    ``lack`` says how much. As text it also has the advice, which is searched for only then.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, lack: str, advice: Callable[[], str] | None = None) -> None:
        super().__init__(lack)
        self.lack = lack
        self._advice = advice

    def __str__(self) -> str:
        if self._advice is None:
            return super().__str__()
        self.args, self._advice = (f"{self.lack}; {self._advice()}",), None
        return str(self)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self),)


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
    """Memory placement of a replica."""

    mode: str
    block_size: int
    blocks: int
    """KV blocks of the replica: those of its tightest stage. If layers free blocks behind a window,
    those of the first kind of layers when the replica is full of sequences of max_model_len, with
    the blocks of other kinds beside them."""
    sram_blocks: int
    """Of these, the number that fits in SRAM in every stage."""
    capacity: KvCapacity
    """The capacity by kind of layers, for any mix of sequences."""
    residency: Residency
    stages: tuple[StageMemory, ...]
    holdings: tuple[tuple[tuple[Holding, ...], ...], ...]
    """[stage][position]"""

    @property
    def windowed(self) -> bool:
        """Whether layers free blocks behind a window."""
        return bool(self.capacity.windows.any())

    @property
    def pool(self) -> tuple[int, int]:
        """``blocks``, and their number in units of the capacity's first constraint, the unit of
        pool usage; the same number if no layer has a window."""
        return self.blocks, int(self.capacity.room_units[0])

    @property
    def headroom_bytes(self) -> tuple[int, ...]:
        """[stage] usable SRAM of the fullest chiplet beside a full pool."""
        return tuple(
            stage.sram_bytes
            - stage.reserved_bytes
            - math.ceil(min(self.blocks, self.sram_blocks) * stage.block_bytes)
            for stage in self.stages
        )


def fit(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    residency: Residency,
    draft: StageMemory | None = None,
) -> Fit:
    """Place a replica's weights (by ``residency``) and KV on its chiplets.

    A ``draft`` model lies beside the last stage, whose blocks have its KV as well.

    The blocks of a sequence are distributed in turn over the chiplets that share a head, each
    sequence starting at the next one; over the pool they count as evenly distributed.

    Raises
    ------
    PlanError
        The plan cannot cut the model.
    DoesNotFit
        A stage lacks room for its weights and one KV block; the message has alternatives.
    MemoryInputError
        A structure that cannot be priced.
    """
    check_structure(model, plan)
    stages = stage_memory(model, plan, hardware, settings, residency)
    if draft is not None:
        stages = (*stages[:-1], stages[-1].beside(draft))
    if not all(stage.fits for stage in stages):
        lack = shortfall(model, plan, hardware, settings, stages)
        if draft is not None:
            raise DoesNotFit(f"{lack}, with the draft model on the cards of the last stage")
        raise DoesNotFit(lack, partial(advice, model, plan, hardware, settings))
    blocks = min(stage.blocks for stage in stages)
    sram_blocks = min(blocks, *(stage.sram_blocks for stage in stages))
    chiplets, memories = chiplets_of(hardware), module_of(hardware).MEMORIES
    holdings = []
    windows, held = windows_of(model, settings), stages[0].long_blocks
    size = Fraction(settings.block_size, BLOCK_TOKENS)  # a state is no number of tokens
    for kinds, kv in stage_contents(model, plan, chiplets, settings, residency):
        pool = [
            (kv[window], count / (size if window == STATE else 1))
            for window, count in zip(windows, map(Fraction, held), strict=True)
            if window in kv
        ]
        cache = tuple(
            _cache(pool, held[0], settings, (sram_blocks, blocks - sram_blocks), memories)
        )
        holdings.append(
            tuple(
                (*_weights(kinds, plan, position, chiplets, settings, memories), *cache)
                for position in range(plan.tensor_parallel_size)
            )
        )
    if draft is not None:
        own = tuple(_drafted(draft, chiplets, blocks, memories[0]))
        holdings[-1] = tuple((*held, *own) for held in holdings[-1])
    return Fit(
        mode=settings.mode,
        block_size=settings.block_size,
        blocks=blocks,
        sram_blocks=sram_blocks,
        capacity=capacity_of(stages, windows),
        residency=residency,
        stages=stages,
        holdings=tuple(holdings),
    )


def _drafted(draft: StageMemory, chiplets: int, blocks: int, near: str) -> Iterator[Holding]:
    """Weights and KV of a draft model on a card."""
    kv = math.ceil(blocks * sum(draft.kind_bytes)) + draft.tail_bytes
    for name, size in (("draft", draft.weight_bytes), ("draft_kv", kv)):
        yield Holding(tensor_class=name, where=near, size_bytes=chiplets * size)


def check_structure(model: Model, plan: Plan) -> None:
    """Refuse a plan that cannot cut the model, and a structure that cannot be priced."""
    check_plan(plan, model)
    missing = not_modelled(model)
    if missing:
        raise MemoryInputError(
            f"{model.name} cannot be simulated: not modelled: " + "; ".join(missing)
        )


def _weights(
    kinds: Counter[StoredTensor],
    plan: Plan,
    position: int,
    chiplets: int,
    settings: MemorySettings,
    memories: Sequence[str],
) -> Iterator[Holding]:
    """Weights of one card by role and place, copies on several chiplets counted."""
    sizes: Counter[tuple[str, str]] = Counter()
    for tensor, counts in in_memories(kinds, plan).items():
        for count, where in zip(counts, (memories[0], memories[-1]), strict=True):
            whole = shard(tensor, plan, position, chiplets, settings.weights, count)
            sizes[tensor.role, where] += whole.card
    for (role, where), size_bytes in sorted(sizes.items()):
        if size_bytes:
            yield Holding(tensor_class=role, where=where, size_bytes=size_bytes)


def _cache(
    kinds: list[tuple[KvBlock, Fraction]],
    each: int,
    settings: MemorySettings,
    blocks: tuple[int, int],
    memories: Sequence[str],
) -> Iterator[Holding]:
    """The pool and its tails, the same on every card of a group.

    ``blocks`` are those of the first kind in the near memory and in the far one. Of a sequence that
    holds ``each`` of them, other kinds hold as many as stand in ``kinds``.
    """
    block_bytes = sum(kv.card * count for kv, count in kinds)
    for where, count in zip(memories, blocks, strict=False):  # no far memory: no blocks there
        if count:
            pool = int(count * settings.block_size * block_bytes // (BLOCK_TOKENS * each))
            yield Holding(tensor_class="kv", where=where, size_bytes=pool)
    tails = settings.max_num_seqs * sum(kv.tail_card for kv, _ in kinds)
    yield Holding(tensor_class="kv_tail", where=memories[0], size_bytes=tails)
