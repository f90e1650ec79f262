"""Energy counts of operations: whole numbers of one card.

A product streams its tiles from SRAM once, reads x and writes y in FP16; vector work reads and
writes FP16. Bytes from LPDDR are written to SRAM before they are streamed. In attention every tile
pass is a load, as in its timing: an upper bound if long chunks pass one tile repeatedly.
"""

import math

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, Heads
from cluster.perf_model.devices.dimc.chiplet import Chiplet, Mode, ProductWork, x_rows_of
from cluster.perf_model.devices.dimc.counters import (
    COUNTS,
    FP16_BYTES,
    KMAC,
    LPDDR,
    MAC_WIDTHS,
    NOC,
    RECIPES,
    ROOT,
    SIMD,
    SRAM,
    Recipe,
    lines,
)
from cluster.perf_model.devices.work import Product
from cluster.perf_model.protocols import Figures
from corsair_common.units import Floats, Integers


def recipe(figures: Figures, *names: str, times: int = 1) -> Recipe:
    """These kinds of vector work on one element in sequence, ``times`` times."""
    made = [RECIPES[name] for name in names]
    add, multiply, exponential, divide, root = (
        times * sum(operations[kind] for operations in made) for kind in range(len(ROOT))
    )
    return Recipe(
        clocks=times * math.fsum(figures[f"simd.{name}_clocks"] for name in names),
        operations=(add, multiply, exponential, divide, root),
    )


def kmacs_of_vector(figures: Figures, mode: Mode) -> tuple[int, float]:
    """The MAC count of a mode, and its amount for one vector and one tile.

    Activations are bit-serial: a vector with twice the clocks of the stationary operand's own mode
    counts twice.
    """
    widths = [w for w in MAC_WIDTHS if int(figures[f"dimc.columns_int{w}"]) == mode.columns]
    width = widths[0] if widths else MAC_WIDTHS[1]
    turns = mode.clocks_per_vector / figures[f"dimc.clocks_per_vector_int{width}"]
    return MAC_WIDTHS.index(width), figures["dimc.rows"] * mode.columns * turns / KMAC


def product_counts(
    figures: Figures,
    chiplet: Chiplet,
    chiplets: int,
    mode: Mode,
    product: Product,
    done: ProductWork,
    fetched: Floats,
) -> Integers:
    """[..., COUNTS] of a card with this work on each chiplet; ``fetched`` LPDDR bytes of each."""
    counts = np.zeros((*done.tiles.shape, len(COUNTS)), np.int64)
    copies = np.maximum(1, np.asarray(product.copies, np.int64))
    vectors = product.m * copies if product.vectors is None else product.vectors
    x_rows = x_rows_of(chiplet, product)
    kind, kmacs = kmacs_of_vector(figures, mode)
    works = done.tiles > 0
    activations = x_rows * product.k * mode.activation_bytes + vectors * product.n * FP16_BYTES
    tile_bytes = figures["dimc.rows"] * figures["dimc.columns_int8"]
    moved_bytes = done.tiles * tile_bytes + np.where(works, activations, 0.0) + fetched
    counts[..., kind] = np.rint(np.where(works, vectors * (done.tiles / copies) * kmacs, 0.0))
    counts[..., SRAM] = lines(moved_bytes)
    counts[..., LPDDR] = np.rint(fetched)
    counts[..., NOC] = lines(done.network_bytes)
    return counts * chiplets


def vector_counts(
    chiplets: int, work: tuple[tuple[Integers, Recipe], ...], rows: Integers
) -> Integers:
    """[..., COUNTS] of element-wise work; each of ``rows`` normed rows has a root and a
    division."""
    counts = np.zeros((*np.shape(work[0][0]), len(COUNTS)), np.int64)
    for elements, made in work:
        counts[..., SIMD] += np.multiply.outer(np.asarray(elements, np.int64), made.operations)
        if made.clocks:
            counts[..., SRAM] += lines(np.asarray(elements) * 2.0 * FP16_BYTES)
    counts[..., SIMD] += np.multiply.outer(rows, ROOT)
    return counts * chiplets


def tail_counts(
    figures: Figures, chiplets: int, mode: Mode, heads: Heads, passes: Integers, tokens: Integers
) -> Integers:
    """[..., COUNTS] of V's FP16 tail blocks: extra ``passes`` of the fullest chiplet."""
    counts = np.zeros((*np.shape(tokens), len(COUNTS)), np.int64)
    tile_bytes = figures["dimc.rows"] * figures["dimc.columns_int8"]
    kind, kmacs = kmacs_of_vector(figures, mode)
    vectors = tokens * heads.kv_heads * heads.queries_per_kv_head
    tiles = -(-heads.value_dim // mode.columns)
    counts[..., SRAM] = lines(passes * tile_bytes) * chiplets
    counts[..., kind] = np.rint(np.where(passes > 0, vectors * tiles * kmacs, 0.0))
    return counts


def attention_counts(
    figures: Figures,
    chiplet: Chiplet,
    mode: Mode,
    heads: Heads,
    softmax: Recipe,
    moved: float = 0.0,
) -> Integers:
    """[2, COUNTS] QK^T, softmax and PV of one layer of a card.

    For one 64-token KV block of a decode row, and for one block and one tile pass of a chunk.
    ``softmax`` is the work on a score, ``moved`` the elements gathered for a query and a block.
    """
    queries = heads.queries_per_kv_head
    passes = -(-queries * mode.clocks_per_vector // chiplet.load_clocks)
    filled = chiplet.load_clocks / mode.clocks_per_vector
    tiles = -(-heads.key_dim // chiplet.rows) * BLOCK_TOKENS / mode.columns
    tiles += -(-heads.value_dim // mode.columns)
    tile_bytes = figures["dimc.rows"] * figures["dimc.columns_int8"]
    kind, kmacs = kmacs_of_vector(figures, mode)
    counts = np.zeros((2, len(COUNTS)), np.int64)
    for row, (loads, vectors) in enumerate(((passes, float(queries)), (1, filled))):
        scores = vectors * BLOCK_TOKENS
        stream = loads * tiles * tile_bytes
        counts[row, kind] = round(heads.kv_heads * vectors * tiles * kmacs)
        elements = scores + moved * vectors / queries
        counts[row, SRAM] = lines(heads.kv_heads * (stream + elements * 2.0 * FP16_BYTES))
        into = vectors * tiles * chiplet.rows * mode.activation_bytes
        counts[row, NOC] = lines(heads.kv_heads * into)
        counts[row, SIMD] = np.rint(heads.kv_heads * scores * np.array(softmax.operations))
    return counts
