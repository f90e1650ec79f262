"""Attention of a step, from sums over its rows: one formula for kernels, reference and studies.

The serving engines describe a batch by a few sums for each kind of layer (``MEASURES`` of
``cluster.perf_model.tables``): KV blocks read by decode rows, blocks read by chunks, blocks x tile
passes, and query-key pairs of chunks. A device describes its attention by records of two
linear forms over these sums, one record for each product (QK^T, softmax, PV on a DIMC card; one
fused product on a GPU)::

    u = ceil(measure / parts)                        on the fullest unit
    n = max(ceil(a . u / quantum), ceil(b . u / quantum))
    ps = layers x max(1, rint((fixed + n x tick) x ps_per_tick))       0 if n is 0

Every quotient is of numbers below 2^53, so its ceiling is exact in float64.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from cluster.compiled import compiled
from cluster.perf_model.tables import DECODE_BLOCKS, FAR_BLOCKS, MEASURES, Records
from corsair_common.names import STATE
from corsair_common.units import Integers
from workloads.model import Attention

BLOCK_TOKENS = 64
"""Tokens of a KV block in attention, independent of ``block_size``."""

UNBOUNDED = int(np.iinfo(np.int64).max)
"""Blocks of layers without a window."""

WIDTH = len(MEASURES)
_SUMS = MEASURES[:FAR_BLOCKS]

ATTENTION = np.dtype(
    (
        np.record,
        [
            ("layers", np.int64),  # 0: the record is absent
            ("kind", np.int64),  # whose measures it reads
            ("two_forms", np.int64),  # whether ``b`` is used
            ("parts", np.float64),  # units that share a head's context
            ("quantum", np.float64),  # work of one tick
            ("fixed", np.float64),  # fixed cost in ticks
            ("tick", np.float64),
            ("ps_per_tick", np.float64),
            *((f"a_{name}", np.float64) for name in _SUMS),
            *((f"b_{name}", np.float64) for name in _SUMS),
            ("decode_bound", np.int64),  # position in the device's bounds if decode rows dominate
            ("prefill_bound", np.int64),  # if chunks dominate ``a``;
            ("b_bound", np.int64),  # and if ``b`` is the longer
        ],
    )
)
"""One product of one kind of layer; fields are attributes, compiled or not. Halves of tiles (4-bit
KV: 128 tokens a tile) are exact in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The attention of one kind of layer on one rank, or the scores of its indexer."""

    kv_heads: int
    """Of a rank; replicated ones count once."""
    queries_per_kv_head: int
    key_dim: int
    """Width of the dot product (MLA: latent and rotary part)."""
    value_dim: int
    """Width of the weighted sum (MLA: the latent)."""
    latent: bool = False
    """Whether keys and values are the same stored latent (MLA)."""
    picked: int = 0
    """Sparse attention: most tokens that a query reads, gathered from anywhere before it."""
    picks: int = 0
    """An indexer: tokens that it picks for a query. Its scores are weighed and added over the
    heads; it has keys only."""

    def parts(self, units: int) -> int:
        """Units of a rank that share one head's context by blocks; 1 if each has its own head."""
        return max(1, units // self.kv_heads)

    def per_unit(self, units: int) -> int:
        """Heads of the fullest unit."""
        return -(-self.kv_heads // units)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHeads:
    """The states of one kind of recurrent layer on one rank."""

    attention: Attention
    heads: int
    """Of a rank, each with a state."""
    groups: int
    """Of a rank: key heads, or groups of B and C, that heads share."""

    queries_per_kv_head: ClassVar[int] = 1

    def parts(self, units: int) -> int:
        """Units of a rank that take sequences in turn; 1 if each has heads of its own."""
        return max(1, units // self.heads)

    def per_unit(self, units: int) -> int:
        """Heads of the fullest unit."""
        return -(-self.heads // units)

    @property
    def state_bytes(self) -> int:
        """Of one sequence: the states, and the last inputs of the convolution."""
        return self.attention.state_bytes * self.heads // self.attention.heads


AnyHeads: TypeAlias = Heads | StateHeads


@compiled
def _product(product: Any, decodes: int, blocks: int, passes: int, pairs: int) -> tuple[int, int]:
    """Picoseconds of one layer of a record, and the bound that sets them, for sums of a unit."""
    decode = decodes * product.a_decode_blocks
    prefill = 0.0
    if passes > 0:  # every chunk has some
        prefill = (
            blocks * product.a_prefill_blocks
            + passes * product.a_prefill_passes
            + pairs * product.a_prefill_pairs
        )
    ticks = math.ceil((decode + prefill) / product.quantum)
    bound = product.prefill_bound if prefill > decode else product.decode_bound
    if product.two_forms != 0:
        other = (
            decodes * product.b_decode_blocks
            + blocks * product.b_prefill_blocks
            + passes * product.b_prefill_passes
            + pairs * product.b_prefill_pairs
        )
        ticks = max(ticks, math.ceil(other / product.quantum))
        if other > decode + prefill:
            bound = product.b_bound
    if ticks == 0:
        return 0, 0
    ps = (product.fixed + ticks * product.tick) * product.ps_per_tick
    return max(1, int(np.rint(ps))), bound


@compiled
def attention_ps(products: Any, measures: Any) -> int:
    """Attention of one step at a stage: ``products[op]`` of its class (dtype ATTENTION).

    ``measures[kind x MEASURES]`` are the sums of the step.
    """
    total = decodes = blocks = passes = pairs = 0
    kind = -1
    for op in range(len(products)):
        product = products[op]
        if product.layers == 0:
            continue
        if product.kind != kind:  # products of a kind are contiguous and have equal parts
            kind = product.kind
            first, parts = kind * WIDTH, product.parts
            decodes = math.ceil(measures[first] / parts)
            blocks = passes = pairs = 0
            if measures[first + 2] > 0:
                blocks = math.ceil(measures[first + 1] / parts)
                passes = math.ceil(measures[first + 2] / parts)
                pairs = math.ceil(measures[first + 3] / parts)
        ps, _ = _product(product, decodes, blocks, passes, pairs)
        total += product.layers * ps
    return total


@compiled
def _one_product(product: Any, measures: Any) -> tuple[int, int]:
    """Picoseconds of one layer of a record, and the bound that sets them, for sums of a step."""
    first, parts = product.kind * WIDTH, product.parts
    return _product(
        product,
        math.ceil(measures[first] / parts),
        math.ceil(measures[first + 1] / parts),
        math.ceil(measures[first + 2] / parts),
        math.ceil(measures[first + 3] / parts),
    )


@compiled
def add_by_bound(products: Any, measures: Any, out: Any) -> None:
    """Add ``attention_ps`` of one step to ``out[bound]``."""
    for op in range(len(products)):
        product = products[op]
        if product.layers > 0:
            ps, bound = _one_product(product, measures)
            out[bound] += product.layers * ps


@compiled
def fetch_ps(far_block_ps: Any, measures: Any) -> int:
    """Time of the far memory for the KV blocks of a step; ``far_block_ps[kind]`` of one block."""
    total = 0.0
    for kind in range(len(far_block_ps)):
        total += np.rint(measures[kind * WIDTH + FAR_BLOCKS] * far_block_ps[kind])
    return int(total)


@compiled
def worked_ps(ahead: int, busy_ps: int, floor_ps: int, fetched_ps: int) -> int:
    """Time of a stage for its layers: computation, weight stream and KV fetch.

    ``ahead``: KV is prefetched in parallel to the work; else before it.
    """
    if ahead == 0:
        return int(max(floor_ps, busy_ps + fetched_ps))
    return int(max(floor_ps + fetched_ps, busy_ps))


@compiled
def _by_bound(products: Any, measures: Any, out: Any) -> None:
    for step in range(len(measures)):
        add_by_bound(products, measures[step], out[step])


def attention_by_bound(products: Records, measures: Integers, bounds: int) -> Integers:
    """[n, bounds] ``attention_ps`` of ``measures[n, kind x MEASURES]``, split by bound."""
    out = np.zeros((len(measures), bounds), np.int64)
    _by_bound(products, np.ascontiguousarray(measures, np.int64), out)
    return out


@compiled
def _products(products: Any, measures: Any, ps: Any, bounds: Any) -> None:
    for row in range(len(measures)):
        for op in range(len(products)):
            ps[row, op], bounds[row, op] = _one_product(products[op], measures[row])


def layer_products(products: Records, measures: Integers) -> tuple[Integers, Integers]:
    """[n, op] picoseconds of one layer of each product, and the positions of its bounds."""
    ps = np.zeros((len(measures), len(products)), np.int64)
    bounds = np.zeros_like(ps)
    _products(products, np.ascontiguousarray(measures, np.int64), ps, bounds)
    return ps, bounds


def decode_measures(kinds: Records, rows: int, context: int) -> Integers:
    """[kinds x MEASURES] of ``rows`` decode rows, each with ``context`` tokens (dtype KIND)."""
    found = np.zeros((len(kinds), WIDTH), np.int64)
    found[:, DECODE_BLOCKS] = rows * np.minimum(-(-context // BLOCK_TOKENS), row_blocks(kinds))
    return found.ravel()


def row_blocks(kinds: Records) -> Integers:
    """[kind] most 64-token blocks that a decode row reads (dtype KIND)."""
    each = zip(kinds["window"].tolist(), kinds["picked"].tolist(), strict=True)
    return np.array([reach(window, picked) for window, picked in each], np.int64)


def reach(window: int, picked: int) -> int:
    """Most 64-token blocks that a decode row reads; UNBOUNDED: all; a state is one."""
    if picked:
        return -(-picked // BLOCK_TOKENS)
    if window <= 0:
        return 1 if window == STATE else UNBOUNDED
    return -(-window // BLOCK_TOKENS) + 1  # the first block may be partial


def row_reach(attention: Attention) -> int:
    """The same of one layer."""
    return reach(attention.held, attention.index_tokens)


def measures_of(kinds: int, **sums: int) -> Integers:
    """[kinds x MEASURES] with these sums; a suffix ``_1`` names those of kind 1.

    Examples
    --------
    >>> measures_of(2, decode_blocks=8, decode_blocks_1=3).tolist()
    [8, 0, 0, 0, 0, 3, 0, 0, 0, 0]
    """
    found = np.zeros(kinds * WIDTH, np.int64)
    for name, value in sums.items():
        measure, _, kind = name.rpartition("_")
        if not kind.isdigit():
            measure, kind = name, "0"
        found[int(kind) * WIDTH + MEASURES.index(measure)] = value
    return found
