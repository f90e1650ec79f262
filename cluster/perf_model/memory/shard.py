"""Bytes of a tensor and of the KV cache on one card and on its fullest chiplet.

Inside a card the chiplets cut n (or k of row-split weights, or heads with separate matrices) in
units of 64; every chiplet has norms and biases of whole rows.

Units that do not divide are dealt in turn: every expert, and every layer of a stage, starts at the
card, and on it at the chiplet, after the last one that has a unit more of the expert or layer
before it. So shards of one matrix differ by at most a unit, and so do the sums over all equal
matrices of a stage; the first chiplet of the first card has the most of every tensor. What is there
once (embedding, head) starts at the first. Cards of one unit (GPUs) cut every matrix alike.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

from cluster.perf_model.attention import BLOCK_TOKENS, Heads, StateHeads
from corsair_common.names import STATE
from workloads.formats import Format
from workloads.model import Attention, Tensor, tensor_bytes
from workloads.model.tensors import BLOCK
from workloads.plan import Plan, kv_heads_of
from workloads.shards import tensor_slice


class MemoryInputError(ValueError):
    """A block size, a mode or a kind of attention that is not modelled."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Bytes of equal matrices."""

    chiplet: int
    """On the fullest chiplet of the card."""
    card: int
    """On all chiplets of the card together, including copies."""
    uneven: int = 0
    """Of the unit that some chiplets have more than others of a matrix; 0 if units divide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvBlock:
    """Bytes of 64 tokens of one sequence in one layer, or of the state of a recurrent one."""

    chiplet: Fraction
    """On the fullest chiplet; a fraction if chiplets share blocks in turn."""
    card: int
    tail_chiplet: Fraction
    """Additional bytes of the FP16 tail of V over a block in the KV format, per sequence."""
    tail_card: int

    def __add__(self, other: "KvBlock") -> "KvBlock":
        return KvBlock(
            chiplet=self.chiplet + other.chiplet,
            card=self.card + other.card,
            tail_chiplet=self.tail_chiplet + other.tail_chiplet,
            tail_card=self.tail_card + other.tail_card,
        )

    def of_layers(self, count: int) -> "KvBlock":
        """The same of ``count`` equal layers."""
        return KvBlock(
            chiplet=self.chiplet * count,
            card=self.card * count,
            tail_chiplet=self.tail_chiplet * count,
            tail_card=self.tail_card * count,
        )


NOTHING = KvBlock(chiplet=Fraction(0), card=0, tail_chiplet=Fraction(0), tail_card=0)
"""Of a layer without a cache."""


@lru_cache(maxsize=1 << 12)
def shard(
    tensor: Tensor, plan: Plan, position: int, chiplets: int, weights: Format, matrices: int = 1
) -> Shard:
    """Bytes of ``matrices`` like ``tensor`` on the card at ``position`` of a tensor group.

    Experts are counted one by one: ``matrices`` is their number on an expert rank over the layers
    of a stage, for other tensors the number of layers. A short last unit counts as whole where
    cards take it in turn.
    """
    held = tensor_slice(tensor, plan, position)
    count = 1 if tensor.role == "expert" else len(held.count)
    own = replace(tensor, count=count, k=len(held.k), n=len(held.n))
    if tensor.split == "replicated" and not tensor.product:
        each = matrices * tensor_bytes(own, weights)
        return Shard(chiplet=each, card=each * chiplets)
    along = {"row": "k", "head": "count"}.get(tensor.split, "n")
    unit, width = 1 if along == "count" else BLOCK, getattr(own, along)
    units = -(-width // unit)
    least, total = units // chiplets, matrices * units
    last = max(1, least)
    gap = last * unit - (width - (units - last) * unit)
    cards = plan.cards_per_expert if tensor.role == "expert" else plan.tensor_parallel_size
    across = -(-getattr(tensor, along) // BLOCK)
    if chiplets > 1 and across % cards and _cut_anywhere(tensor):
        width, gap, least = getattr(tensor, along), 0, across // (cards * chiplets)
        total = _turn(matrices * across, cards, position % cards)

    def size(length: int) -> int:
        return tensor_bytes(_part(own, along, min(width, length)), weights)

    less, more = size(least * unit), size((least + 1) * unit)
    short = size(last * unit) - size(last * unit - gap) if gap else 0
    return Shard(
        chiplet=matrices * less + (_turn(total, chiplets, 0) - matrices * least) * (more - less),
        card=matrices * (chiplets * less - short)
        + (total - matrices * chiplets * least) * (more - less),
        uneven=more - less if total != matrices * chiplets * least else 0,
    )


def _cut_anywhere(tensor: Tensor) -> bool:
    """Whether cards cut it between any two units, not between heads only."""
    return tensor.split in ("column", "row") and tensor.unit == BLOCK


def _turn(units: int, parts: int, part: int) -> int:
    """Units of one of the parts that take them in turn."""
    return units // parts + (part < units % parts)


def _part(tensor: Tensor, along: str, size: int) -> Tensor:
    """Return ``size`` rows, columns or matrices of it."""
    if along == "k":
        return replace(tensor, k=size)
    return replace(tensor, n=size) if along == "n" else replace(tensor, count=size)


def kv_block(
    attention: Attention,
    plan: Plan,
    chiplets: int,
    kv: Format,
    tail_bits: int = 16,
    latent_copies: int = 1,
) -> KvBlock:
    """Bytes of 64 tokens of one layer on the first card of a tensor group, index keys included.

    Keys are cut into format blocks along the head, values along the tokens. MLA's latent is both:
    of two ``latent_copies`` one is cut along itself, with the rotary part, and one along the
    tokens; a format whose elements share no scale needs one. V's last block has ``tail_bits`` an
    element until its 64 tokens are full; 0: the KV format. Of a recurrent layer: its state, in its
    own format.

    Raises
    ------
    MemoryInputError
        Compressed attention.
    """
    if attention.kind == "none":
        return NOTHING
    if attention.held == STATE:
        return _state(attention, plan, chiplets)
    if attention.kind not in ("gqa", "mla"):
        raise MemoryInputError(f"the memory of {attention.irregular} is not modelled")
    heads = len(kv_heads_of(plan, attention, 0))
    keys, values = attention.head_dim, attention.value_dim
    if attention.kind == "mla":
        latent = attention.kv_lora_rank + attention.rope_dim
        twice = latent_copies > 1 and kv.block > 1
        keys, values = (latent, attention.kv_lora_rank) if twice else (0, latent)
    own = _block(heads, (keys, values), chiplets, kv, tail_bits)
    return own + index_block(attention, chiplets, kv) if attention.index_dim else own


def index_block(attention: Attention, chiplets: int, kv: Format) -> KvBlock:
    """The index keys of 64 tokens, whole on every card."""
    return _block(1, (attention.index_dim, 0), chiplets, kv, 0)


def _state(attention: Attention, plan: Plan, chiplets: int) -> KvBlock:
    """The state of one sequence; chiplets without heads of their own take sequences in turn."""
    heads = attention.heads // plan.tensor_parallel_size
    states = StateHeads(attention=attention, heads=heads, groups=1)
    share = Fraction(states.per_unit(chiplets), states.parts(chiplets) * heads)
    held = states.state_bytes
    return replace(NOTHING, chiplet=share * held, card=held)


def _block(
    heads: int, widths: tuple[int, int], chiplets: int, kv: Format, tail_bits: int
) -> KvBlock:
    """64 tokens of ``heads`` with keys and values of these ``widths``."""
    keys, values = widths
    value_bytes = kv.matrix_bytes(BLOCK_TOKENS, values)
    block_bytes = kv.matrix_bytes(keys, BLOCK_TOKENS) + value_bytes
    tail_bytes = max(0, BLOCK_TOKENS * values * tail_bits // 8 - value_bytes)
    shape = Heads(kv_heads=heads, queries_per_kv_head=1, key_dim=keys, value_dim=values)
    share = Fraction(shape.per_unit(chiplets), shape.parts(chiplets))
    return KvBlock(
        chiplet=share * block_bytes,
        card=heads * block_bytes,
        tail_chiplet=share * tail_bytes,
        tail_card=heads * tail_bytes,
    )
