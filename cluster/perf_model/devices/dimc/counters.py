"""Energy counters: units of operations, and the mix of vector work.

Counts are integers of one card, so that sums do not depend on their order. They count the timed
work: whole tiles, the fullest chiplet of a group for each of its chiplets, the hottest expert rank
for each rank. Padding of a tile is streamed and multiplied as well.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.perf_model.devices.useful import USEFUL
from corsair_common.units import Integers

COUNTS = (
    "mac_int4_kmac",
    "mac_int8_kmac",
    "mac_int16_kmac",
    "sram_lines",
    "lpddr_bytes",
    "noc_lines",
    "simd_add",
    "simd_multiply",
    "simd_exponential",
    "simd_divide",
    "simd_square_root",
    *USEFUL,
)
"""In the order of every axis of counts. Units are large enough that a card
that is busy for 106 days does not overflow int64 in any time bin."""

KMAC = 1024
"""Multiply-adds of one unit: an INT8 vector times a tile of 64 x 64 is four."""
LINE_BYTES = 64
"""Bytes of a line of SRAM and of the chip's network: the input of a DIMC core per clock."""

MAC_WIDTHS = (4, 8, 16)
"""In the order of the first three counts."""
SRAM, LPDDR, NOC = 3, 4, 5
SIMD = slice(6, 11)

FP16_BYTES = 2

Operations: TypeAlias = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Vector work of one element."""

    clocks: float
    operations: Operations
    """Additions (comparisons, shifts and roundings too), multiplications, exponentials, divisions
    and square roots."""


RECIPES: dict[str, Operations] = {
    "norm": (1, 3, 0, 0, 0),  # square, sum, scale, weight
    "rope": (1, 2, 0, 0, 0),  # two products and a sum; the swap is not counted
    "softmax": (3, 1, 1, 1, 0),  # scale, maximum, subtract, exponential, sum, divide
    "activation": (1, 1, 1, 1, 0),  # SiLU: exponential, add, divide; then the product
    "residual": (1, 0, 0, 0, 0),
    "quantize": (3, 0, 0, 0, 0),  # block maximum, shift, round
    "add": (1, 0, 0, 0, 0),
    "compare": (1, 0, 0, 0, 0),
}
"""The same steps as the catalogue's clocks per element (``simd.*_clocks``)."""

ROOT: Operations = (0, 0, 0, 1, 1)
"""Additional work of a norm per row: one root and one division."""


def lines(moved_bytes: object) -> Integers:
    """Whole lines of bytes, rounded half to even, at least one for any bytes."""
    size = np.asarray(moved_bytes, np.float64) / LINE_BYTES
    return np.where(size > 0, np.maximum(1, np.rint(size)), 0).astype(np.int64)
