"""The attention half of a layer as rows of a program, in order, under the names of its prices.

Grouped-query attention: norm+quant, QKV, RoPE, QK^T, softmax, PV, V tail, merge, O. MLA has latent
down, latent gather, latent norm+quant, query up and absorb K in place of QKV, and absorb V after
the merge. Sparse attention has index Q, index K, index RoPE and its scores before its products.
Where chiplets share a head's context by blocks they first gather its queries (query
gather) and at last reduce their partial softmaxes (partial reduce). With norms that are sharded by
token, sharded norm+quant and norm gather replace norm+quant.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

from corsair_common.names import STATE
from workloads.model import Attention
from workloads.program.batch import Batch
from workloads.program.recurrent_rows import mixer_rows, state_rows
from workloads.program.rows import ProgramInputs, Row, exchange, input_norm, matmul, vector


@dataclass(frozen=True, slots=True, kw_only=True)
class CardHeads:
    """What a card holds of an attention."""

    kv_heads: int
    """Replicated ones count once; MLA keeps one latent for all heads."""
    heads: int
    key_dim: int
    """Width of the dot product (MLA: latent and rotary part)."""
    value_dim: int
    """Width of what is summed (MLA: the latent)."""


def card_heads(inputs: ProgramInputs, a: Attention) -> CardHeads:
    """Cut an attention over the cards of a stage."""
    latent = a.kind == "mla"
    return CardHeads(
        kv_heads=1 if latent else max(1, a.kv_heads // inputs.cards),
        heads=a.heads // inputs.cards,
        key_dim=a.kv_lora_rank + a.rope_dim if latent else a.head_dim,
        value_dim=a.kv_lora_rank if latent else a.value_dim,
    )


def attention_rows(
    inputs: ProgramInputs, a: Attention, batch: Batch, *, sharded: bool = False
) -> list[Row]:
    """All operations from the first norm to O; none of a layer without attention."""
    if a.kind == "none":
        return []
    if a.held == STATE:
        return mixer_rows(inputs, a, batch, sharded=sharded)
    tokens = batch.tokens
    heads = card_heads(inputs, a)
    projections = _latent if a.kind == "mla" else _grouped
    gather, reduce = _context(inputs, heads, tokens)
    return [
        *input_norm(inputs, tokens, "norm gather" if sharded else ""),
        *projections(inputs, a, heads, tokens),
        *(_indexer(inputs, a, tokens) if a.index_heads else ()),
        *gather,
        *cache_rows(inputs, a, batch),
        *_tail(inputs, heads, tokens),
        *reduce,
        *_output(inputs, a, heads, tokens),
    ]


def _grouped(inputs: ProgramInputs, a: Attention, heads: CardHeads, tokens: int) -> list[Row]:
    cached = heads.kv_heads * (a.head_dim + a.value_dim)
    columns = heads.heads * a.head_dim + cached
    gates = heads.heads * ((a.head_dim if a.output_gate else 0) + a.head_gate)
    gates -= heads.kv_heads * a.value_dim if a.keys_are_values else 0
    written = inputs.formats.kv.bytes_of(tokens * cached)
    hidden = inputs.model.hidden
    return [
        matmul(inputs, "QKV", "attention", tokens, m=tokens, k=hidden, n=columns + gates),
        vector("RoPE", tokens, m=tokens, n=columns, write_bytes=written),
    ]


def _latent(inputs: ProgramInputs, a: Attention, heads: CardHeads, tokens: int) -> list[Row]:
    hidden, latents = inputs.model.hidden, a.q_lora_rank + a.kv_lora_rank
    gathered = inputs.formats.wire.bytes_of(tokens * (latents + a.rope_dim))
    turned = heads.heads * (a.head_dim + heads.key_dim) + a.rope_dim
    written = inputs.formats.kv.bytes_of(tokens * heads.key_dim)

    def product(name: str, k: int, n: int, count: int = 1) -> Row:
        return matmul(inputs, name, "attention", tokens, m=tokens, k=k, n=n, count=count)

    return [
        product("latent down", hidden, latents + a.rope_dim),
        exchange("latent gather", "all_gather", tokens, gathered, "card"),
        vector("latent norm+quant", tokens, m=tokens, n=latents),
        product("query up", a.q_lora_rank or hidden, heads.heads * a.head_dim),
        vector("RoPE", tokens, m=tokens, n=turned, write_bytes=written),
        product("absorb K", a.nope_dim, a.kv_lora_rank, heads.heads),
    ]


def _indexer(inputs: ProgramInputs, a: Attention, tokens: int) -> list[Row]:
    """Queries, key and weights of an indexer, whole on every card; its key is stored."""
    hidden, queries = inputs.model.hidden, a.index_heads * a.index_dim
    written = inputs.formats.kv.bytes_of(tokens * a.index_dim)

    def product(name: str, k: int, n: int) -> Row:
        return matmul(inputs, name, "attention", tokens, m=tokens, k=k, n=n)

    return [
        product("index Q", a.q_lora_rank or hidden, queries),
        product("index K", hidden, a.index_dim + a.index_heads),
        vector("index RoPE", tokens, m=tokens, n=queries + a.index_dim, write_bytes=written),
    ]


def _tail(inputs: ProgramInputs, heads: CardHeads, tokens: int) -> list[Row]:
    """Of devices that keep the last block of V in a wider format."""
    if "PV" not in inputs.products:
        return []
    return [Row(name="V tail", kind="attention", tokens=tokens, count=heads.kv_heads)]


def cache_rows(inputs: ProgramInputs, a: Attention, batch: Batch) -> list[Row]:
    """The products over the cache; they vary as contexts grow.

    QK^T, softmax and PV count whole blocks of every chunk; a fused ``attention`` the pairs of a
    query and a key. The scores of an indexer come before them.
    """
    if a.kind == "none":
        return []
    if a.held == STATE:
        return state_rows(inputs, a, batch)
    heads, fused = card_heads(inputs, a), "attention" in inputs.products
    met = batch.met(a.window)
    if a.index_tokens:
        met = batch.met_picks(a.index_tokens, together=fused)
    both = heads.key_dim + heads.value_dim
    stored = heads.key_dim if a.kind == "mla" else both  # a latent is keys and values
    seen = met[0] + batch.pairs(a.window or a.index_tokens)
    over_cache = _over_cache(inputs, a, batch, heads, met)
    known = {
        "QK^T": over_cache("QK^T", heads.key_dim, 2 * heads.key_dim),
        "softmax": over_cache("softmax", 0, 1, reads=False),
        "PV": over_cache("PV", heads.value_dim, 2 * heads.value_dim),
        "attention": replace(
            over_cache("attention", stored, 0), flop=2 * both * heads.heads * seen
        ),
    }
    index = _index_rows(inputs, a, batch) if a.index_heads else []
    own = [known[name] for name in inputs.products]
    return [*index, *own]


class _OverCache(Protocol):
    def __call__(self, name: str, width: int, flop: int, *, reads: bool = True) -> Row: ...


def _over_cache(
    inputs: ProgramInputs, a: Attention, batch: Batch, heads: CardHeads, met: tuple[int, int]
) -> _OverCache:
    """What makes the rows of these heads, whose decode rows and chunks read ``met`` tokens."""
    decode, chunks = met
    pairs = decode + batch.chunk_tokens * chunks  # of a query and a key, for each head

    def over_cache(name: str, width: int, flop: int, *, reads: bool = True) -> Row:
        elements = (decode + chunks) * heads.kv_heads * width
        return Row(
            name=name,
            kind="attention",
            tokens=batch.tokens,
            m=batch.chunk_tokens,
            k=width,
            n=chunks,
            count=heads.kv_heads,
            context_tokens=decode + chunks,
            weight_class="kv" if reads else "",
            weight_format=inputs.formats.kv.name if reads else "",
            activation_format=inputs.formats.activations.name if reads else "",
            flop=flop * heads.heads * pairs,
            read_bytes=inputs.formats.kv.bytes_of(elements) if reads else 0,
            slot=(a, name),
        )

    return over_cache


def _index_rows(inputs: ProgramInputs, a: Attention, batch: Batch) -> list[Row]:
    """Scores of an indexer against the keys of the whole context, and the picking of its top k."""
    width, count = a.index_dim, a.index_heads
    heads = CardHeads(kv_heads=1, heads=count, key_dim=width, value_dim=0)
    met = batch.met(0)
    over_cache = _over_cache(inputs, a, batch, heads, met)
    scores = over_cache("index QK^T", width, 2 * width)
    compared = 2 * count + max(1, math.ceil(math.log2(a.index_tokens)))
    pairs = met[0] + batch.chunk_tokens * met[1]
    fused = 2 * width * count * (met[0] + batch.pairs(0))
    known = {
        "index QK^T": scores,
        "index top-k": replace(over_cache("index top-k", 0, 0, reads=False), flop=compared * pairs),
        "index scores": replace(scores, name="index scores", flop=fused, slot=(a, "index scores")),
    }
    return [known[name] for name in inputs.index_products]


def _context(inputs: ProgramInputs, heads: CardHeads, tokens: int) -> tuple[list[Row], list[Row]]:
    """Exchanges before and after attention between chiplets that share a KV head's context."""
    if inputs.chiplets // heads.kv_heads <= 1:
        return [], []
    queries = tokens * heads.heads // heads.kv_heads
    gathered = inputs.formats.activations.bytes_of(queries * heads.key_dim)
    partial = inputs.formats.wire.bytes_of(queries * (heads.value_dim + 2))
    gather = exchange("query gather", "all_gather", tokens, gathered, "card")
    reduce = exchange("partial reduce", "reduce_scatter", tokens, partial, "card")
    count = heads.kv_heads
    return [replace(gather, count=count)], [replace(reduce, count=count)]


def _output(inputs: ProgramInputs, a: Attention, heads: CardHeads, tokens: int) -> list[Row]:
    absorb = []
    if a.kind == "mla":
        sizes = {"m": tokens, "k": a.kv_lora_rank, "n": a.value_dim, "count": heads.heads}
        absorb = [matmul(inputs, "absorb V", "attention", tokens, **sizes)]
    wide = heads.heads * a.value_dim
    return [
        vector("merge", tokens, m=tokens, n=heads.heads * heads.value_dim),
        *absorb,
        matmul(inputs, "O", "attention", tokens, m=tokens, k=wide, n=inputs.model.hidden),
    ]
