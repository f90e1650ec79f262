"""Attention: what a batch's KV blocks cost on the fullest chiplet, and the exact model beside it.

K and V are the stationary operands. A tile pass loads one 4,096-byte tile in ``tile_clocks`` (64)
and takes the 64 clocks' worth of vectors that this hides; passes of one tile may be spread over
idle cores, so an operation lasts ``ceil(passes on the fullest chiplet / cores)`` rounds. Queries
reach a slice no slower than tiles do: a pass moves 64 / clocks_per_vector of them, 512 bytes.

The serving engines know a batch by two sums only: ``decode_blocks`` (64-token KV blocks seen by the
decoding rows) and ``prefill_passes`` (blocks x tile passes of each chunk). ``attention_ps`` deals
them evenly over the chiplets that share a head's context; ``exact_ps`` keeps every sequence apart.

Left out as negligible: learned sinks (one logit per head) and the causal half of a chunk's own
blocks. The dispatches, the merge over chiplets and the FP16 tail of V are priced by token count,
in ``cluster.perf_model.prices``.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.compiled import compiled
from cluster.perf_model.chiplet import MAC, SIMD, STREAM, Chiplet, Mode
from cluster.perf_model.tables import BOUNDS, Integers, Records

BLOCK_TOKENS = 64

_FIELDS = [
    ("layers", np.int64),  # 0: the class is absent
    ("parts", np.float64),  # chiplets that share a head's context
    ("qk_decode", np.float64),  # tile passes of one decode block on a chiplet, its heads summed
    ("qk_prefill", np.float64),  # the same for one block and one pass of a chunk
    ("pv_decode", np.float64),
    ("pv_prefill", np.float64),
    ("softmax_decode", np.float64),  # elements of one decode block, a chiplet's heads summed
    ("softmax_prefill", np.float64),  # elements of one block and one pass of a chunk
    ("decode_bound", np.int64),  # MAC where a decode row fills its passes, else STREAM
    ("cores", np.float64),
    ("lanes", np.float64),
    ("fixed_clocks", np.float64),  # first tile and fill
    ("tile_clocks", np.float64),  # one pass
    ("softmax_clocks", np.float64),  # per element
    ("ps_per_clock", np.float64),
    ("lpddr_block_ps", np.float64),  # one block of all these layers, to or from LPDDR
    ("ahead", np.int64),  # 1 where blocks are fetched ahead of use; the same in both classes
]
SHAPE = np.dtype((np.record, _FIELDS))  # fields are attributes, compiled or not
"""One class of layers. Halves of tiles (4-bit KV: 128 tokens a tile) are exact in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The attention of one kind of layer, as one card holds it."""

    kv_heads: int
    """On a card; replicated ones count once."""
    queries_per_kv_head: int
    key_dim: int
    """Width of the dot product (MLA: latent and rotary part)."""
    value_dim: int
    """Width of what is summed (MLA: the latent)."""

    def parts(self, chiplets: int) -> int:
        """Chiplets that share one head's context by blocks; 1 where each has heads of its own."""
        return max(1, chiplets // self.kv_heads)

    def per_chiplet(self, chiplets: int) -> int:
        """Heads of the fullest chiplet."""
        return -(-self.kv_heads // chiplets)


def shape_of(
    chiplet: Chiplet, mode: Mode, heads: Heads, *, chiplets: int, layers: int, softmax_clocks: float
) -> Records:
    """Return one row of SHAPE: ``layers`` layers of these heads on a card of ``chiplets``."""
    here = heads.per_chiplet(chiplets)
    queries = heads.queries_per_kv_head
    passes = -(-queries * mode.clocks_per_vector // chiplet.load_clocks)
    qk_tiles = -(-heads.key_dim // chiplet.rows) * BLOCK_TOKENS / mode.columns
    pv_tiles = float(-(-heads.value_dim // mode.columns))
    row = np.zeros((), SHAPE)
    row["layers"], row["parts"] = layers, heads.parts(chiplets)
    row["qk_decode"], row["qk_prefill"] = here * passes * qk_tiles, here * qk_tiles
    row["pv_decode"], row["pv_prefill"] = here * passes * pv_tiles, here * pv_tiles
    row["softmax_decode"] = here * queries * BLOCK_TOKENS
    vectors = chiplet.load_clocks / mode.clocks_per_vector
    row["softmax_prefill"] = here * vectors * BLOCK_TOKENS
    busy = queries * mode.clocks_per_vector >= chiplet.load_clocks
    row["decode_bound"] = MAC if busy else STREAM
    row["cores"], row["lanes"] = chiplet.cores, chiplet.lanes
    row["fixed_clocks"] = chiplet.load_clocks + chiplet.fill_clocks
    row["tile_clocks"], row["softmax_clocks"] = chiplet.load_clocks, softmax_clocks
    row["ps_per_clock"] = 1e12 / chiplet.clock_hz
    return row


@compiled
def _layer_ps(shape: Any, blocks: float, passes: float) -> tuple[int, int, int]:
    """QK^T, softmax and PV of one layer with these blocks and passes on its fullest chiplet."""
    qk = math.ceil((blocks * shape.qk_decode + passes * shape.qk_prefill) / shape.cores)
    pv = math.ceil((blocks * shape.pv_decode + passes * shape.pv_prefill) / shape.cores)
    elements = blocks * shape.softmax_decode + passes * shape.softmax_prefill
    waves = math.ceil(elements / shape.lanes)
    qk_ps = (shape.fixed_clocks + qk * shape.tile_clocks) * shape.ps_per_clock
    pv_ps = (shape.fixed_clocks + pv * shape.tile_clocks) * shape.ps_per_clock
    softmax_ps = waves * shape.softmax_clocks * shape.ps_per_clock
    return int(np.rint(qk_ps)), max(1, int(np.rint(softmax_ps))), int(np.rint(pv_ps))


@compiled
def _class_ps(shape: Any, decode_blocks: int, prefill_passes: int) -> int:
    """All layers of one class, blocks and passes of the batch dealt evenly."""
    if shape.layers == 0 or decode_blocks + prefill_passes == 0:
        return 0
    blocks = math.ceil(decode_blocks / shape.parts)
    passes = math.ceil(prefill_passes / shape.parts)
    qk_ps, softmax_ps, pv_ps = _layer_ps(shape, float(blocks), float(passes))
    return int(shape.layers * (qk_ps + softmax_ps + pv_ps))


@compiled
def attention_ps(
    shapes: Any,
    decode_blocks: int,
    prefill_passes: int,
    decode_blocks_windowed: int,
    prefill_passes_windowed: int,
) -> int:
    """Attention of one step at a stage: ``shapes`` is its row of two classes (dtype SHAPE).

    Every quotient is of whole numbers below 2^53, so its ceiling is exact in float64.
    """
    return _class_ps(shapes[0], decode_blocks, prefill_passes) + _class_ps(
        shapes[1], decode_blocks_windowed, prefill_passes_windowed
    )


@compiled
def kv_ps(shapes: Any, blocks: int, blocks_windowed: int) -> int:
    """LPDDR's time for so many blocks of the full layers, and of the windowed ones."""
    return int(
        np.rint(blocks * shapes[0].lpddr_block_ps)
        + np.rint(blocks_windowed * shapes[1].lpddr_block_ps)
    )


@compiled
def worked_ps(shapes: Any, busy_ps: int, floor_ps: int, fetch_ps: int) -> int:
    """How long a stage works on its layers: on what it computes, streams, and fetches of KV."""
    if shapes[0].ahead == 0:
        return int(max(floor_ps, busy_ps + fetch_ps))
    return int(max(floor_ps + fetch_ps, busy_ps))


@compiled
def _split(shape: Any, decode_blocks: int, prefill_passes: int, out: Any) -> None:
    """Add one class to ``out[6]``: products to the bound of whichever rows make more passes."""
    if shape.layers == 0 or decode_blocks + prefill_passes == 0:
        return
    blocks = float(math.ceil(decode_blocks / shape.parts))
    passes = float(math.ceil(prefill_passes / shape.parts))
    qk_ps, softmax_ps, pv_ps = _layer_ps(shape, blocks, passes)
    bound = shape.decode_bound
    if passes * shape.qk_prefill > blocks * shape.qk_decode:
        bound = MAC
    out[bound] += shape.layers * (qk_ps + pv_ps)
    out[SIMD] += shape.layers * softmax_ps


@compiled
def add_by_bound(shapes: Any, measures: Any, out: Any) -> None:
    """Add ``attention_ps`` of one step to ``out[6]``, split by bound."""
    _split(shapes[0], measures[0], measures[1], out)
    _split(shapes[1], measures[2], measures[3], out)


@compiled
def _by_bound(shapes: Any, measures: Any, out: Any) -> None:
    for step in range(len(measures)):
        add_by_bound(shapes, measures[step], out[step])


def attention_by_bound(shapes: Records, measures: Integers) -> Integers:
    """[n, 6] ``attention_ps`` split; its arguments are the first four of ``measures[n, ...]``."""
    out = np.zeros((len(measures), len(BOUNDS)), np.int64)
    _by_bound(shapes, np.ascontiguousarray(measures, np.int64), out)
    return out


@compiled
def _parts(shapes: Any, measures: Any, out: Any) -> None:
    shape = shapes[0]
    for row in range(len(measures)):
        blocks = math.ceil(measures[row, 0] / shape.parts)
        passes = math.ceil(measures[row, 1] / shape.parts)
        if blocks + passes > 0:
            out[row, 0], out[row, 1], out[row, 2] = _layer_ps(shape, float(blocks), float(passes))


def attention_parts(shape: Records, measures: Integers) -> Integers:
    """[n, 3] QK^T, softmax and PV of one layer with ``measures[n, 2]`` (blocks and passes)."""
    out = np.zeros((len(measures), 3), np.int64)
    _parts(np.atleast_1d(shape), np.ascontiguousarray(measures, np.int64), out)
    return out


def exact_ps(shape: Records, blocks: Integers, passes: Integers, first: Integers) -> int:
    """The same class with every sequence kept apart.

    ``blocks[i]`` KV blocks of sequence i lie on the chiplets ``first[i]``, ``first[i] + 1``, ... in
    turn; it makes ``passes[i]`` tile passes over each of them, or is a decode row where that is 0.
    """
    parts = int(shape["parts"])
    if not shape["layers"] or not blocks.any():
        return 0
    turn = (np.arange(parts) - first[:, None]) % parts
    held = np.maximum(0, -(-(blocks[:, None] - turn) // parts))
    decoding = (passes == 0)[:, None]
    decode = np.where(decoding, held, 0).sum(axis=0)
    prefill = np.where(decoding, 0, held * passes[:, None]).sum(axis=0)
    each = [_layer_ps(shape, float(b), float(p)) for b, p in zip(decode, prefill, strict=True)]
    return int(shape["layers"]) * int(np.max(np.array(each), axis=0).sum())
