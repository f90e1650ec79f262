"""Memory of the fullest chiplet of every stage: capacity, weights and KV."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.devices import module_of
from cluster.perf_model.kv_capacity import held_blocks
from cluster.perf_model.memory.placement import (
    NO_PINS,
    Pins,
    Residency,
    class_of,
    layer_hot,
    outer_hot,
    uniform,
)
from cluster.perf_model.memory.shard import KvBlock, MemoryInputError, kv_block, shard
from cluster.perf_model.protocols import Figures
from cluster.scenario.memory_modes import KV_PLACES, MODES, Mode
from corsair_common.names import STATE
from workloads.formats import Format
from workloads.model import Attention, Model, Tensor, distinct_layers
from workloads.plan import Plan, stage_layers
from workloads.shards import outer_tensors, tensor_slice

NO_LIMIT = 2**62
"""KV blocks of a stage whose layers keep none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """Formats, sizes and placement of weights and KV."""

    weights: Format
    kv: Format
    mode: Mode = "performance"
    """One of MODES."""
    block_size: int = BLOCK_TOKENS
    """Tokens of a KV block of the scheduler; a multiple or a divisor of 64."""
    max_num_seqs: int = 1
    """Sequences of a replica, each with its own tail."""
    max_model_len: int = 1 << 17
    """Tokens of the longest sequence; longer windows count as none."""
    prefix_caching: bool = False
    """Layers with a window then store all blocks, for hits of later requests."""
    tail_bits: int = 16
    """Bits of an element of V's last block until its 64 tokens are full; 0: the KV format."""
    latent_copies: int = 1
    """Of MLA's latents, if their format has block exponents (``kv_block``)."""
    pins: Pins = NO_PINS
    lpddr_taken_bytes: int = 0
    """On every card, by other models."""

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

    def uniform(self, model: Model, plan: Plan) -> Residency:
        """Weights placed by mode and pins; for ``auto`` the least in SRAM."""
        return uniform(self.mode, model, plan, self.pins)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """The fullest chiplet of a stage, in bytes."""

    sram_weight_bytes: int
    """Weights in its SRAM."""
    lpddr_weight_bytes: int
    """Its share of the card's LPDDR weights: matrices are striped over all its chiplets."""
    sram_bytes: int
    """Usable for weights, KV and streaming."""
    buffer_bytes: int
    """SRAM buffer of streamed weights; 0 if nothing streams."""
    tail_bytes: int
    """The FP16 tails of V."""
    lpddr_bytes: int
    """Available for weights and KV, without other models."""
    kind_bytes: tuple[Fraction, ...]
    """[k] of one scheduler block of KV in the layers of each kind (``windows_of``), or of one
    state."""
    long_blocks: tuple[int, ...]
    """[k] blocks of the longest sequence in layers of each kind while it decodes."""
    kv: str = "sram"
    """Memory of KV blocks: sram, lpddr, or spill (either)."""

    def beside(self, draft: "StageMemory") -> "StageMemory":
        """The same with a draft's weights, and its KV in blocks of the first kind."""
        first, *others = self.kind_bytes
        return replace(
            self,
            sram_weight_bytes=self.sram_weight_bytes + draft.weight_bytes,
            tail_bytes=self.tail_bytes + draft.tail_bytes,
            kind_bytes=(first + sum(draft.kind_bytes), *others),
        )

    @property
    def weight_bytes(self) -> int:
        return self.sram_weight_bytes + self.lpddr_weight_bytes

    @property
    def reserved_bytes(self) -> int:
        """SRAM of everything except KV blocks."""
        return self.sram_weight_bytes + self.buffer_bytes + self.tail_bytes

    @property
    def kv_sram_bytes(self) -> int:
        """SRAM for KV blocks."""
        return 0 if self.kv == "lpddr" else max(0, self.sram_bytes - self.reserved_bytes)

    @property
    def kv_lpddr_bytes(self) -> int:
        """LPDDR for KV blocks beside weights."""
        return 0 if self.kv == "sram" else max(0, self.lpddr_bytes - self.lpddr_weight_bytes)

    @property
    def block_bytes(self) -> Fraction:
        """Of one scheduler block of layers of the first kind, with the blocks of other kinds per
        such block of the longest sequence."""
        return self.held_bytes(self.long_blocks) / self.long_blocks[0]

    @property
    def stores_kv(self) -> bool:
        """Whether a layer of the stage keeps anything of a sequence."""
        return any(self.kind_bytes)

    @property
    def sram_blocks(self) -> int:
        """Blocks of the first kind that fit in SRAM, with those of other kinds."""
        return int(self.kv_sram_bytes // self.block_bytes) if self.stores_kv else NO_LIMIT

    @property
    def lpddr_blocks(self) -> int:
        """The same in LPDDR."""
        return int(self.kv_lpddr_bytes // self.block_bytes) if self.stores_kv else 0

    @property
    def blocks(self) -> int:
        return self.sram_blocks + self.lpddr_blocks

    def held_bytes(self, held: Sequence[int]) -> Fraction:
        """Of ``held[k]`` scheduler blocks of each kind."""
        return sum(
            (each * count for each, count in zip(self.kind_bytes, held, strict=True)), Fraction(0)
        )

    @property
    def first_block_bytes(self) -> int:
        """Of one scheduler block in every layer: the least of a sequence."""
        return math.ceil(sum(self.kind_bytes))

    @property
    def sram_needed_bytes(self) -> int:
        """With room for one block, if KV is in SRAM."""
        return self.reserved_bytes + (self.first_block_bytes if self.kv == "sram" else 0)

    @property
    def lpddr_needed_bytes(self) -> int:
        return self.lpddr_weight_bytes + (0 if self.kv == "sram" else self.first_block_bytes)

    @property
    def fits(self) -> bool:
        return (
            self.sram_needed_bytes <= self.sram_bytes
            and self.lpddr_needed_bytes <= self.lpddr_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Equal tensors of a stage with equal placement."""

    tensor: Tensor
    """With layer 0 instead of its own."""
    hot: int
    """Number of its equal matrices on a card in SRAM; may be larger if all are."""

    @property
    def tensor_class(self) -> str:
        return class_of(self.tensor)


def stage_memory(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    residency: Residency,
) -> tuple[StageMemory, ...]:
    """Return the capacity and the needs of each stage's fullest chiplet, whether it fits or not.

    Equal stages share one object.
    """
    chiplets = chiplets_of(hardware)
    room = module_of(hardware).room(hardware)
    lpddr = room.far_bytes - -(-settings.lpddr_taken_bytes // chiplets)
    stages = []
    windows = windows_of(model, settings)
    long_blocks = steady_blocks(model, settings, settings.max_model_len)
    size = Fraction(settings.block_size, BLOCK_TOKENS)
    made: dict[int, StageMemory] = {}
    for kinds, each in stage_contents(model, plan, chiplets, settings, residency):
        if id(kinds) not in made:  # equal stages have one and the same
            in_sram, in_lpddr = _split(kinds, plan, chiplets, settings.weights)
            streams = in_lpddr > 0 or residency.kv != "sram"
            made[id(kinds)] = StageMemory(
                sram_weight_bytes=in_sram,
                lpddr_weight_bytes=in_lpddr,
                sram_bytes=int(room.near_bytes),
                buffer_bytes=room.buffer_bytes if streams else 0,
                tail_bytes=math.ceil(
                    settings.max_num_seqs * sum(kv.tail_chiplet for kv in each.values())
                ),
                lpddr_bytes=lpddr,
                kind_bytes=tuple(
                    each[window].chiplet * (1 if window == STATE else size)
                    if window in each
                    else Fraction(0)
                    for window in windows
                ),
                long_blocks=long_blocks,
                kv=residency.kv,
            )
        stages.append(made[id(kinds)])
    return tuple(stages)


def _split(
    kinds: Counter[StoredTensor], plan: Plan, chiplets: int, weights: Format
) -> tuple[int, int]:
    """Bytes in SRAM on the fullest chiplet, and its share of those in the card's LPDDR."""
    in_sram = in_lpddr = 0
    for tensor, (hot, cold) in in_memories(kinds, plan).items():
        in_sram += shard(tensor, plan, 0, chiplets, weights, hot).chiplet
        in_lpddr += shard(tensor, plan, 0, chiplets, weights, cold).card
    return in_sram, -(-in_lpddr // chiplets)


def in_memories(kinds: Counter[StoredTensor], plan: Plan) -> dict[Tensor, tuple[int, int]]:
    """Matrices of each tensor of a stage in SRAM and in LPDDR, as ``shard`` counts them."""
    found: dict[Tensor, tuple[int, int]] = {}
    for stored, times in kinds.items():
        each = matrices(stored.tensor, plan) if stored.tensor.role == "expert" else 1
        own, (hot, cold) = min(stored.hot, each), found.get(stored.tensor, (0, 0))
        found[stored.tensor] = hot + times * own, cold + times * (each - own)
    return found


def matrices(tensor: Tensor, plan: Plan) -> int:
    """Equal matrices of ``tensor`` on a card, at least 1."""
    return max(1, len(tensor_slice(tensor, plan, 0).count))


def chiplets_of(hardware: Figures) -> int:
    """Units of one card: its chiplets; 1 on a GPU."""
    return module_of(hardware).interior(hardware).units


def windows_of(model: Model, settings: MemorySettings) -> tuple[int, ...]:
    """Windows of the kinds of layers, whose blocks are counted separately; the widest first.

    0 is that of layers with full context, STATE (last) that of states of fixed size.
    """
    layers = (layer.attention for layer in distinct_layers(model)[0])
    windows = {_window(each, settings) for each in layers if each.kind != "none"}
    return tuple(sorted(windows or {0}, key=lambda window: (window != 0, -window)))


def _window(attention: Attention, settings: MemorySettings) -> int:
    """Window behind which its blocks are freed; 0: never freed; STATE: a state of fixed size."""
    if attention.held == STATE:
        return STATE
    freed = not settings.prefix_caching and attention.window < settings.max_model_len
    return attention.window if freed else 0


def steady_blocks(model: Model, settings: MemorySettings, tokens: int) -> tuple[int, ...]:
    """[k] blocks of each kind of a sequence of ``tokens`` while it decodes."""
    windows = np.array(windows_of(model, settings), np.int64)
    return tuple(held_blocks(windows, np.array([tokens]), 1, settings.block_size)[0].tolist())


def stage_kv(
    model: Model, plan: Plan, chiplets: int, settings: MemorySettings
) -> Iterator[dict[int, KvBlock]]:
    """For each stage: KV of 64 tokens by window behind which blocks are freed.

    Stages with equal layers share one.
    """
    each = {
        attention: kv_block(
            attention, plan, chiplets, settings.kv, settings.tail_bits, settings.latent_copies
        )
        for attention in {layer.attention for layer in distinct_layers(model)[0]}
    }
    distinct, numbers = distinct_layers(model)
    made: dict[tuple[tuple[int, int], ...], dict[int, KvBlock]] = {}
    for layers in stage_layers(plan, model):
        held = tuple(Counter(numbers[layers.start : layers.stop]).items())
        if held not in made:
            kinds = made[held] = {}
            for number, count in held:
                attention = distinct[number].attention
                if attention.kind == "none":
                    continue
                window, own = _window(attention, settings), each[attention].of_layers(count)
                kinds[window] = kinds[window] + own if window in kinds else own
        yield made[held]


def stage_contents(
    model: Model, plan: Plan, chiplets: int, settings: MemorySettings, residency: Residency
) -> Iterator[tuple[Counter[StoredTensor], dict[int, KvBlock]]]:
    """For each stage: count of each kind of tensor, and its KV (``stage_kv``).

    Equal stages share one count, which is not to be changed.
    """
    numbers = distinct_layers(model)[1]
    inside = [
        [replace(tensor, layer=0) for tensor in model.layer_tensors(numbers.index(number))]
        for number in range(max(numbers) + 1)
    ]
    outside, stages = outer_tensors(model, plan), stage_layers(plan, model)
    kv_of_stage = stage_kv(model, plan, chiplets, settings)
    made: dict[tuple[object, ...], Counter[StoredTensor]] = {}
    for outer, layers, places, kv in zip(
        outside, stages, residency.stages, kv_of_stage, strict=True
    ):
        kinds = Counter(zip(numbers[layers.start : layers.stop], places.layers, strict=True))
        key = (outer, tuple(kinds.items()), places.embedding, places.head)
        if key not in made:
            held = made[key] = Counter(
                StoredTensor(tensor=replace(tensor, layer=0), hot=outer_hot(tensor, places))
                for tensor in outer
            )
            for (number, where), times in kinds.items():
                for tensor in inside[number]:
                    held[StoredTensor(tensor=tensor, hot=layer_hot(tensor, where))] += times
        yield made[key], kv
