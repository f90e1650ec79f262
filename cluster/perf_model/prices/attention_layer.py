"""The dispatches of the attention half of a layer, in the order in which they run.

Grouped-query attention: norm+quant, QKV, RoPE, QK^T, softmax, PV, merge, O (then the all-reduce).
MLA has latent down, latent gather, latent norm+quant, query up and absorb K in place of QKV, and
absorb V after the merge: keys and values stay latents, and the products with their up-projections
are made on the queries and on the output. Biases and sinks ride on the products that they follow.

QK^T, softmax and PV are dispatched here and timed by ``cluster.perf_model.attention``; casts to the
next product's format are timed with the vector operation before it.
"""

import numpy as np

from cluster.perf_model.attention import Heads
from cluster.perf_model.chiplet import MAC, STREAM, Mode, Product, picoseconds
from cluster.perf_model.prices.op_counts import tail_counts
from cluster.perf_model.prices.op_prices import (
    UNIT,
    Operation,
    OpPricer,
    StreamedWeights,
    elsewhere,
    matmul,
    vector,
)
from cluster.perf_model.tables import Integers
from workloads.model import Attention


def attention_operations(
    bench: OpPricer, attention: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    """All dispatches from the first norm to O."""
    projections = _latent if attention.kind == "mla" else _grouped
    return [
        vector(
            bench, "norm+quant", (tokens * hidden, bench.simd("norm", "quantize")), normed=tokens
        ),
        *projections(bench, attention, heads, hidden, tokens),
        elsewhere("QK^T", tokens),
        elsewhere("softmax", tokens),
        elsewhere("PV", tokens),
        value_tail(bench, heads, tokens),
        *_output(bench, attention, heads, hidden, tokens),
    ]


def _grouped(
    bench: OpPricer, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    queries = heads.kv_heads * heads.queries_per_kv_head
    keys = (queries + heads.kv_heads) * a.head_dim
    columns = keys + heads.kv_heads * a.value_dim
    gates = queries * a.head_dim if a.output_gate else 0
    normed = a.qk_norm or a.qk_norm_whole
    turned = bench.simd("rope", "norm") if normed else bench.simd("rope")
    return [
        _columns(bench, "QKV", tokens, hidden, columns + gates),
        vector(
            bench,
            "RoPE",
            (tokens * _part(keys, bench), turned),
            (tokens * _part(columns, bench), bench.simd("quantize")),
        ),
    ]


def _latent(
    bench: OpPricer, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    here = -(-heads.queries_per_kv_head // bench.chiplets)
    latents = a.q_lora_rank + a.kv_lora_rank
    queries = heads.queries_per_kv_head * a.head_dim
    return [
        _columns(bench, "latent down", tokens, hidden, latents + a.rope_dim),
        elsewhere("latent gather", tokens),
        vector(
            bench,
            "latent norm+quant",
            (tokens * latents, bench.simd("norm", "quantize")),
            normed=tokens,
        ),
        _columns(bench, "query up", tokens, a.q_lora_rank or hidden, queries),
        vector(
            bench,
            "RoPE",
            (tokens * (here + 1) * a.rope_dim, bench.simd("rope")),
            (tokens * here * (a.head_dim + heads.key_dim), bench.simd("quantize")),
        ),
        _per_head(
            bench, "absorb K", (a.nope_dim, a.kv_lora_rank), heads.queries_per_kv_head, tokens
        ),
    ]


def _output(
    bench: OpPricer, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    """Merge of the partial softmaxes, then O; its reduction adds are the collective's."""
    queries = heads.kv_heads * heads.queries_per_kv_head
    merged = _part(queries * heads.value_dim, bench)
    cast = merged
    absorb = []
    if a.kind == "mla":
        here = -(-queries // bench.chiplets)
        cast += here * a.value_dim
        absorb = [_per_head(bench, "absorb V", (a.kv_lora_rank, a.value_dim), queries, tokens)]
    gate = bench.simd("activation") if a.output_gate else bench.simd()
    rows = queries * a.value_dim
    o = Product(m=tokens, k=bench.of_card(rows), n=hidden)
    return [
        vector(bench, "merge", (tokens * cast, bench.simd("quantize")), (tokens * merged, gate)),
        *absorb,
        matmul(bench, "O", o, StreamedWeights(k=rows, n=hidden, units=-(-rows // UNIT))),
    ]


def _columns(bench: OpPricer, name: str, tokens: Integers, k: int, n: int) -> Operation:
    """A product whose n columns the chiplets of a card share."""
    product = Product(m=tokens, k=k, n=bench.of_card(n))
    return matmul(bench, name, product, StreamedWeights(k=k, n=n, units=-(-n // UNIT)))


def _per_head(
    bench: OpPricer, name: str, shape: tuple[int, int], heads: int, tokens: Integers
) -> Operation:
    """A product for each head of a card, each with its own x; a slice works for few of them."""
    here = -(-heads // bench.chiplets)
    sharing = -(-here // bench.chiplet.slices)
    product = Product(m=tokens, k=shape[0], n=shape[1], copies=here, x_rows=tokens * sharing)
    return matmul(
        bench, name, product, StreamedWeights(k=shape[0], n=shape[1], units=heads, copies=heads)
    )


def value_tail(bench: OpPricer, heads: Heads, tokens: Integers) -> Operation:
    """Extra passes of PV over V's tail block, FP16 until full; part of the dispatch of PV.

    Tokens are taken as decode rows, each with a tail of its own, dealt evenly over the chiplets
    that share a head's context.
    """
    chiplet, queries = bench.chiplet, heads.queries_per_kv_head

    def passes(mode: Mode) -> int:
        tiles = -(-heads.value_dim // mode.columns)
        return tiles * -(-queries * mode.clocks_per_vector // chiplet.load_clocks)

    extra = max(0, passes(bench.tail_mode) - passes(bench.kv_mode))
    rows = -(-tokens // heads.parts(bench.chiplets)) * heads.per_unit(bench.chiplets)
    rounds = -(-rows * extra // chiplet.cores)
    ps = picoseconds(chiplet, np.asarray(rounds * chiplet.load_clocks, np.float64))
    full = queries * bench.tail_mode.clocks_per_vector >= chiplet.load_clocks
    return Operation(
        name="V tail",
        ps=ps,
        bound=np.full(ps.shape, MAC if full else STREAM),
        lpddr_ps=np.zeros_like(ps),
        counts=tail_counts(
            bench.figures, bench.chiplets, bench.tail_mode, heads, rows * extra, tokens
        ),
        dispatches=0,
    )


def _part(size: int, bench: OpPricer) -> int:
    """Elements of vector work on the fullest chiplet of a card."""
    return -(-size // bench.chiplets)
