"""Times of a GPU's kernels, in closed form from a few constants each.

A product takes its latency and a smooth maximum of its bytes and its flop, ``(a^3 + b^3)^(1/3)``:
near the ridge both matter, far from it the larger alone. Fused elementwise kernels take their bytes
at a share of the memory's bandwidth, without a latency of their own: it is within that of the
products beside them. Attention takes a fixed time a layer, its KV at a share of the bandwidth, the
query-key pairs of prompts at a share of the 16-bit peak, and queries, new keys and values and the
context at a share of the bandwidth of their own, one after the other.
"""

import math
from collections.abc import Sequence

import numpy as np

from cluster.perf_model.attention import ATTENTION, BLOCK_TOKENS, WIDTH, Heads
from cluster.perf_model.devices.gpu.constants import Kernel
from cluster.perf_model.devices.gpu.facts import (
    COUNTS,
    LAUNCH,
    LINES,
    MEMORY,
    TENSOR,
    TENSOR_COUNTS,
    UNITS,
)
from cluster.perf_model.devices.work import Product, whole
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PAIRS, Records
from corsair_common.units import PS_PER_S, Floats, Integers
from workloads.formats import Format

SMOOTH = 3
"""Power of the smooth maximum."""

OUTPUT_BYTES = 2
"""Of an element that a product writes, or that stays between kernels."""

ELEMENT_BYTES = {
    "norm": 4.0,  # read and written, 16 bits each
    "residual": 4.0,
    "rope": 4.0,
    "activation": 6.0,  # gate and up read, their product written
    "softmax": 4.0,
    "add": 4.0,
    "compare": 1.0,  # a pass of a selection: registers hold most of it
}
"""Bytes of memory by the kind of vector work on an element; ``quantize`` depends on formats."""

SCORE_BYTES = 8.0
"""Of an indexer's score in 32 bits, written and read."""


def vector_bytes(kinds: Sequence[str], activations: Format) -> float:
    """Bytes of memory of these kinds of work on one element.

    A quantizing kernel reads 16 bits and writes the activation's; 16-bit activations need none.
    """
    wide = activations.element_bits >= 16
    quantize = 0.0 if wide else OUTPUT_BYTES + float(activations.bits_per_element) / 8
    return math.fsum(quantize if kind == "quantize" else ELEMENT_BYTES[kind] for kind in kinds)


def vectors_of(product: Product) -> tuple[Integers, Integers]:
    """Vectors that are multiplied, and different ones that are read, over all copies."""
    m = np.asarray(product.m, np.int64)
    each = m * np.asarray(product.copies, np.int64)
    multiplied = each if product.vectors is None else np.asarray(product.vectors, np.int64)
    read = m if product.x_rows is None else np.asarray(product.x_rows, np.int64)
    return multiplied, multiplied if product.own_x else read


def product_work(product: Product, weights: Format, activations: Format) -> tuple[Floats, Floats]:
    """Bytes of memory and flop of the fullest GPU; none where there are no vectors."""
    multiplied, read = vectors_of(product)
    k, n = int(product.k), int(product.n)
    held = np.asarray(product.copies, np.float64) * weights.matrix_bytes(k, n)
    moved = held + read * k * (float(activations.bits_per_element) / 8)
    moved = moved + multiplied * n * float(OUTPUT_BYTES)
    works = multiplied > 0
    return np.where(works, moved, 0.0), np.where(works, 2.0 * k * n * multiplied, 0.0)


def product_ps(kernel: Kernel, moved: Floats, flop: Floats) -> tuple[Integers, Integers]:
    """Picoseconds, and the position of the bound: the largest of latency, bytes and flop."""
    bytes_s, flop_s = moved / kernel.bytes_per_s, flop / kernel.flop_per_s
    smooth_s = (bytes_s**SMOOTH + flop_s**SMOOTH) ** (1 / SMOOTH)
    seconds = np.where(flop > 0, kernel.latency_s + smooth_s, 0.0)
    longer = np.where(flop_s >= bytes_s, TENSOR, MEMORY)
    bound = np.where(smooth_s < kernel.latency_s, LAUNCH, longer)
    return whole(seconds * PS_PER_S), bound


def attention_records(
    kernel: Kernel, heads: Heads, kv: Format, *, layers: int, kind: int
) -> Records:
    """[3] records: the fused kernel, and two of nothing, as other kinds of devices have three."""
    block_ps, decode_ps, pair_ps = _attention_ps(kernel, heads, kv)
    rows = fused_records(kernel, layers=layers, kind=kind)
    fused = rows[0]
    fused["a_decode_blocks"] = decode_ps
    fused["a_prefill_blocks"] = block_ps
    fused["a_prefill_pairs"] = pair_ps
    fused["decode_bound"] = MEMORY if decode_ps == block_ps else TENSOR
    return rows


def fused_records(kernel: Kernel, *, layers: int, kind: int) -> Records:
    """[3] records: a fused kernel whose work is still to be set, and two of nothing."""
    rows = np.zeros(3, ATTENTION)
    rows["layers"][0], rows["kind"] = layers, kind
    rows["parts"] = rows["quantum"] = rows["tick"] = rows["ps_per_tick"] = 1.0
    fused = rows[0]
    fused["fixed"] = kernel.latency_s * PS_PER_S
    fused["prefill_bound"] = fused["b_bound"] = TENSOR
    return rows


def _attention_ps(kernel: Kernel, heads: Heads, kv: Format) -> tuple[float, float, float]:
    """Of a 64-token block read, of one that a decode row sees, and of a query-key pair."""
    block_s = block_bytes(heads, kv) / kernel.bytes_per_s
    pair_s = pair_flop(heads) / kernel.flop_per_s
    if heads.picks:  # a score is written, and read where the top k are picked
        score_s = SCORE_BYTES / kernel.bytes_per_s
        block_s, pair_s = block_s + BLOCK_TOKENS * score_s, pair_s + score_s
    return block_s * PS_PER_S, max(block_s, BLOCK_TOKENS * pair_s) * PS_PER_S, pair_s * PS_PER_S


def block_bytes(heads: Heads, kv: Format) -> float:
    """Of 64 tokens of a layer on a GPU; a latent is read once, as keys and as values."""
    width = heads.key_dim if heads.latent else heads.key_dim + heads.value_dim
    return BLOCK_TOKENS * heads.kv_heads * width * float(kv.bits_per_element) / 8


def pair_flop(heads: Heads) -> float:
    """Of one query token and one key, all heads of a GPU."""
    return 2.0 * heads.kv_heads * heads.queries_per_kv_head * (heads.key_dim + heads.value_dim)


def work_counts(moved: Floats, flop: Floats, operand: Format) -> Integers:
    """[..., COUNTS] of bytes of memory and flop of operands of this format."""
    moved, flop = np.broadcast_arrays(moved, flop)
    counts = np.zeros((*moved.shape, len(COUNTS)), np.int64)
    which = TENSOR_COUNTS[min(bits for bits in TENSOR_COUNTS if bits >= operand.element_bits)]
    counts[..., which] = np.rint(flop / UNITS[which])
    counts[..., LINES] = np.rint(moved / UNITS[LINES])
    return counts


def attention_counts(heads: Heads, kv: Format) -> Integers:
    """[MEASURES, COUNTS] of one of each measure, one layer; always multiplied in 16 bits."""
    counts = np.zeros((WIDTH, len(COUNTS)), np.int64)
    wide, flop = TENSOR_COUNTS[16], pair_flop(heads)
    counts[[DECODE_BLOCKS, PREFILL_BLOCKS], LINES] = round(block_bytes(heads, kv) / UNITS[LINES])
    counts[DECODE_BLOCKS, wide] = round(BLOCK_TOKENS * flop / UNITS[wide])
    counts[PREFILL_PAIRS, wide] = round(flop / UNITS[wide])
    return counts
