"""Energy counters: what operations are counted in, and the mix of vector work.

Counts are whole numbers of one card, so that sums depend on no order. They are what the hardware
does, as it is timed: whole tiles, the fullest chiplet of a group standing for all of its chiplets,
the hottest expert rank for all of them. What pads a tile is streamed and multiplied like the rest.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

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
)
"""In the order of every axis of counts. Large things are counted in large units, so that a card
that works for 106 days without pause does not run out of int64 in any time bin."""

KMAC = 1024
"""Multiply-adds of one unit: an INT8 vector meets a tile of 64 x 64 in four."""
LINE_BYTES = 64
"""Of SRAM and of the chip's network: what a DIMC core takes in a clock."""

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
    "rope": (1, 2, 0, 0, 0),  # two products and a sum; a swap moves nothing that counts
    "softmax": (3, 1, 1, 1, 0),  # scale, maximum, subtract, exponential, sum, divide
    "activation": (1, 1, 1, 1, 0),  # SiLU: exponential, add, divide; then the product
    "residual": (1, 0, 0, 0, 0),
    "quantize": (3, 0, 0, 0, 0),  # block maximum, shift, round
    "add": (1, 0, 0, 0, 0),
    "compare": (1, 0, 0, 0, 0),
}
"""The same steps as the catalogue's clocks per element (``simd.*_clocks``)."""

ROOT: Operations = (0, 0, 0, 1, 1)
"""What a norm adds for each row: one root and one division."""


def lines(moved_bytes: object) -> Integers:
    """Whole lines of bytes on the way, half to even; what is there counts at least one."""
    size = np.asarray(moved_bytes, np.float64) / LINE_BYTES
    return np.where(size > 0, np.maximum(1, np.rint(size)), 0).astype(np.int64)
