"""Bytes of a tensor and of the KV cache on one card and on its fullest chiplet.

Inside a card the chiplets cut n (or k of row-split weights, or heads with separate matrices) in
units of 64; every chiplet has norms and biases of whole rows. Remainders are on the first card and
the first chiplet, so these are the fullest.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

from cluster.perf_model.attention import BLOCK_TOKENS, Heads
from workloads.formats import Format
from workloads.model import Attention, Tensor, tensor_bytes
from workloads.plan import Plan, cut, kv_heads_of
from workloads.shards import tensor_slice


class MemoryInputError(ValueError):
    """A block size, a mode or a kind of attention that is not modelled."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Bytes of one tensor."""

    chiplet: int
    """On the fullest chiplet of the card."""
    card: int
    """On all chiplets of the card together, including copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvBlock:
    """Bytes of 64 tokens of one sequence in one layer."""

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


@lru_cache(maxsize=1 << 12)
def shard(tensor: Tensor, plan: Plan, position: int, chiplets: int, weights: Format) -> Shard:
    """Bytes of ``tensor`` on the card at ``position`` of a tensor group."""
    held = tensor_slice(tensor, plan, position)
    if not held.elements:
        return Shard(chiplet=0, card=0)
    whole = replace(tensor, count=len(held.count), k=len(held.k), n=len(held.n))
    if tensor.split == "replicated" and not tensor.product:
        each = tensor_bytes(whole, weights)
        return Shard(chiplet=each, card=each * chiplets)
    along = {"row": "k", "head": "count"}.get(tensor.split, "n")
    unit = 1 if along == "count" else BLOCK_TOKENS
    parts = [len(part) for part in cut(getattr(whole, along), chiplets, unit)]
    sizes = {size: tensor_bytes(_part(whole, along, size), weights) for size in set(parts)}
    return Shard(chiplet=sizes[parts[0]], card=sum(sizes[size] for size in parts))


def _part(tensor: Tensor, along: str, size: int) -> Tensor:
    """Return ``size`` rows, columns or matrices of it."""
    if along == "k":
        return replace(tensor, k=size)
    return replace(tensor, n=size) if along == "n" else replace(tensor, count=size)


def kv_block(
    attention: Attention, plan: Plan, chiplets: int, kv: Format, tail_bits: int = 16
) -> KvBlock:
    """Bytes of 64 tokens of one layer on the first card of a tensor group.

    Keys are cut into format blocks along the head, values along the tokens. MLA has one latent
    (and an indexer its keys), which is contracted along both and stored once. V's last block has
    ``tail_bits`` an element until its 64 tokens are full; 0: the KV format.

    Raises
    ------
    MemoryInputError
        Layers without a cache entry per token.
    """
    if attention.kind not in ("gqa", "mla"):
        raise MemoryInputError(f"the memory of {attention.irregular} is not modelled")
    heads = len(kv_heads_of(plan, attention, 0))
    keys, values = attention.head_dim, attention.value_dim
    if attention.kind == "mla":
        keys, values = attention.index_dim, attention.kv_lora_rank + attention.rope_dim
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
