"""Useful work of a rank: what a model needs, without padding, copies and repeated reads.

Two counts at the end of every device's counts: bytes of weights and KV that a step streams once
each, and the model's flop. Over time and peak they are the memory-bandwidth utilisation MBU
(Databricks, LLM Inference Performance Engineering: Best Practices, 2023) and the model flop
utilisation MFU (PaLM, arXiv 2204.02311, appendix B).

Left out: embeddings looked up, norms, softmax and other vector work. Included, since every rank
does its own: KV heads that a tensor group has copies of. With expert parallelism it is the rank
whose experts have most to do.
"""

from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH, AnyHeads, StateHeads
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PAIRS
from corsair_common.units import Floats, Integers
from workloads.formats import Format
from workloads.model.scan import step_macs

USEFUL = ("useful_lines", "useful_kflop")
"""Last in the order of every axis of counts."""
USEFUL_BYTES, USEFUL_FLOP = 64, 1024
"""Of one count."""
Peaks: TypeAlias = tuple[float, float]
"""Bytes a second of a card's near memory, and flop a second in the formats of a run."""


def product_useful(product: Product, stored: StoredWeights, weights: Format) -> Integers:
    """[row count, USEFUL] of a product: weights that are read, and two flop a multiply-add."""
    m = np.asarray(product.m, np.int64)
    vectors = m if product.vectors is None else np.asarray(product.vectors, np.int64)
    if product.own_x:
        vectors = m * np.asarray(stored.copies, np.int64)
    flop = np.asarray(vectors, np.float64) * (2 * stored.k * stored.n)
    return _counts(np.where(flop > 0, stored.bytes_of(weights), 0.0), flop)


def attention_useful(heads: AnyHeads, kv: Format) -> Integers:
    """[MEASURES, USEFUL] of one of each measure, one layer.

    Keys and values of a block are read once for a decode row and once for a chunk; a latent is
    both. States are read and written.
    """
    moved, flop = np.zeros(WIDTH), np.zeros(WIDTH)
    if isinstance(heads, StateHeads):
        moved[[DECODE_BLOCKS, PREFILL_BLOCKS]] = 2.0 * heads.state_bytes
        flop[[DECODE_BLOCKS, PREFILL_PAIRS]] = 2.0 * step_macs(heads.attention, heads.heads)
        return _counts(moved, flop)
    width = heads.key_dim + (0 if heads.latent else heads.value_dim)
    elements = BLOCK_TOKENS * heads.kv_heads * width
    moved[[DECODE_BLOCKS, PREFILL_BLOCKS]] = elements * float(kv.bits_per_element) / 8
    queries = heads.kv_heads * heads.queries_per_kv_head
    pair = 2.0 * queries * (heads.key_dim + heads.value_dim)
    flop[DECODE_BLOCKS], flop[PREFILL_PAIRS] = BLOCK_TOKENS * pair, pair
    return _counts(moved, flop)


def _counts(moved: Floats, flop: Floats) -> Integers:
    """[..., USEFUL] rounded half to even, at least one of anything."""
    both = np.stack(np.broadcast_arrays(moved / USEFUL_BYTES, flop / USEFUL_FLOP), axis=-1)
    return np.where(both > 0, np.maximum(1, np.rint(both)), 0).astype(np.int64)
