"""Attention on DIMC cores: time of a batch's KV blocks on the fullest chiplet.

K and V are the stationary operands. A tile pass loads one tile in ``load_clocks`` (64 for 4,096
bytes), which hides as many clocks of vectors; passes of one tile may be spread over idle cores, so
an operation lasts ``ceil(passes on the fullest chiplet / cores)`` rounds. Queries reach a slice at
least as fast as tiles: a pass moves load_clocks / clocks_per_vector of them, 512 bytes.

The sums of a batch are distributed evenly over the chiplets that share a head's context;
``exact_ps`` distributes each sequence separately, and tests compare both.

Sparse attention: the tokens that a query picks are gathered into whole blocks by the vector units,
element by element, and then multiplied as others. An indexer's scores are
weighed and added over its heads, and compared in a heap of the tokens that it picks.

Left out as negligible: learned sinks (one logit per head) and the causal half of a chunk's own
blocks. The dispatches, the merge over chiplets and the FP16 tail of V are priced by token count,
in ``cluster.perf_model.prices``.
"""

import math

import numpy as np

from cluster.perf_model.attention import ATTENTION, BLOCK_TOKENS, WIDTH, Heads, layer_products
from cluster.perf_model.devices.dimc.chiplet import MAC, SIMD, STREAM, Chiplet, Mode
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_PASSES, Records
from corsair_common.units import PS_PER_S, Integers

PRODUCTS = ("QK^T", "softmax", "PV")
"""In the order of the records."""
INDEX_PRODUCTS = ("index QK^T", "index top-k")
"""The same of an indexer, which has no values."""


def attention_records(
    chiplet: Chiplet,
    mode: Mode,
    heads: Heads,
    *,
    chiplets: int,
    layers: int,
    clocks: tuple[float, float],
    kind: int = 0,
) -> Records:
    """[3] records of ``layers`` layers of these heads on a card of ``chiplets``.

    ``clocks`` are those of the softmax of a score, and of an element that is moved or compared.
    """
    softmax_clocks, move_clocks = clocks
    here = heads.per_unit(chiplets)
    queries = heads.queries_per_kv_head
    passes = -(-queries * mode.clocks_per_vector // chiplet.load_clocks)
    qk_tiles = -(-heads.key_dim // chiplet.rows) * BLOCK_TOKENS / mode.columns
    pv_tiles = float(-(-heads.value_dim // mode.columns))
    vectors = chiplet.load_clocks / mode.clocks_per_vector
    busy = queries * mode.clocks_per_vector >= chiplet.load_clocks
    rows = np.zeros(len(PRODUCTS), ATTENTION)
    rows["layers"], rows["kind"], rows["parts"] = layers, kind, heads.parts(chiplets)
    rows["ps_per_tick"] = PS_PER_S / chiplet.clock_hz
    rows["decode_bound"] = MAC if busy else STREAM
    rows["prefill_bound"] = rows["b_bound"] = MAC
    for row, tiles in ((0, qk_tiles), (2, pv_tiles)):
        rows[row]["quantum"], rows[row]["tick"] = chiplet.cores, chiplet.load_clocks
        rows[row]["fixed"] = chiplet.load_clocks + chiplet.fill_clocks
        rows[row]["a_decode_blocks"] = here * passes * tiles
        rows[row]["a_prefill_passes"] = here * tiles
    softmax = rows[1]
    softmax["quantum"], softmax["tick"] = chiplet.lanes, softmax_clocks
    softmax["decode_bound"] = softmax["prefill_bound"] = softmax["b_bound"] = SIMD
    softmax["a_decode_blocks"] = here * queries * BLOCK_TOKENS
    softmax["a_prefill_passes"] = here * vectors * BLOCK_TOKENS
    if heads.picks:
        softmax["tick"] = move_clocks
        of_query = queries * SCORE_STEPS + depth_of(heads.picks)
        softmax["a_decode_blocks"] = here * BLOCK_TOKENS * of_query
        softmax["a_prefill_passes"] = here * BLOCK_TOKENS * of_query * vectors / queries
    elif heads.picked:
        gathered = here * gathered_elements(heads) * move_clocks / softmax_clocks
        softmax["a_decode_blocks"] += gathered
        softmax["a_prefill_passes"] += gathered * vectors / queries
    return rows


SCORE_STEPS = 2
"""Of a head's score in an indexer: cut at zero, and weighed and added to the other heads'."""


def depth_of(picks: int) -> int:
    """Comparisons of a score in a heap of the picked tokens."""
    return max(1, math.ceil(math.log2(picks)))


def gathered_elements(heads: Heads) -> int:
    """Of 64 picked tokens, one KV head."""
    return BLOCK_TOKENS * (heads.key_dim + (0 if heads.latent else heads.value_dim))


def exact_ps(products: Records, blocks: Integers, passes: Integers, first: Integers) -> int:
    """The time of the same records with each sequence distributed separately.

    ``blocks[i]`` KV blocks of sequence i lie on the chiplets ``first[i]``, ``first[i] + 1``, ... in
    turn; it has ``passes[i]`` tile passes over each of them, or is a decode row if that is 0.
    """
    parts = int(products["parts"][0])
    if not products["layers"][0] or not blocks.any():
        return 0
    turn = (np.arange(parts) - first[:, None]) % parts
    held = np.maximum(0, -(-(blocks[:, None] - turn) // parts))
    decoding = (passes == 0)[:, None]
    measures = np.zeros((parts, WIDTH), np.int64)
    measures[:, DECODE_BLOCKS] = np.where(decoding, held, 0).sum(axis=0)
    measures[:, PREFILL_PASSES] = np.where(decoding, 0, held * passes[:, None]).sum(axis=0)
    one_chiplet = products.copy()
    one_chiplet["kind"], one_chiplet["parts"] = 0, 1.0
    ps, _ = layer_products(one_chiplet, measures)
    return int(products["layers"][0]) * int(ps.max(axis=0).sum())
