"""What the blocks of an array share, and what their elements are under it, for every scale.

A scale is a power of two over integers (``shared_exponent``), a float of 5 bits over integers
(``shared_scale``), or either a power of two or an E4M3 over floats (``scaled_floats``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Piece, Reals, pieces, refuse_not_finite
from workloads.formats.floats import float_codes, float_values
from workloads.formats.format import Format
from workloads.formats.scaled_floats import (
    block_codes,
    block_scales,
    scaled_elements,
    scaled_values,
    tensor_scale_of,
)
from workloads.formats.shared_exponent import (
    Codes,
    exponent_codes,
    exponent_mantissas,
    exponent_values,
)
from workloads.formats.shared_scale import scale_codes, scale_mantissas, scale_values, usual_bias


@dataclass(frozen=True, slots=True)
class Shared:
    """What all blocks of an array share beside their own scales."""

    bias: int = 0
    """Of all scales of 4 exponent and 4 fraction bits."""
    tensor_scale: float = 1.0
    """A float32 over all scales in E4M3."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a matrix."""

    item: Format
    largest: Reals
    """[row, block] magnitudes."""
    shared: Shared

    def codes(self, piece: Piece) -> Codes:
        """[block, 1] of their scales."""
        largest = piece.shared(self.largest)
        if not self.item.is_integer:
            return block_codes(largest, self.item, self.shared.tensor_scale)
        if self.item.scale == "e4m4":
            return scale_codes(largest, self.shared.bias)
        return exponent_codes(largest)

    def elements(self, piece: Piece, numbers: Reals, codes: Codes) -> npt.NDArray[Any]:
        """[block, j] as they are stored: mantissas, or bits of floats."""
        if not self.item.is_integer:
            scales = block_scales(codes, self.item, self.shared.tensor_scale)
            return float_codes(scaled_elements(numbers, scales, self.item), self.item)
        if self.item.scale == "e4m4":
            return scale_mantissas(numbers, codes, piece.shared(self.largest))
        return exponent_mantissas(numbers, codes, self.item.mantissa_bits)

    def quantized(self, piece: Piece, numbers: Reals) -> Reals:
        """[block, j] what is left of the numbers."""
        codes = self.codes(piece)
        if self.item.is_integer:
            elements = self.elements(piece, numbers, codes)
            return values_of(elements, codes, self.item, self.shared, numbers.dtype)
        scales = block_scales(codes, self.item, self.shared.tensor_scale)
        left = scaled_elements(numbers, scales, self.item)
        return scaled_values(left, scales, self.item, numbers.dtype)


def blocks_of(array: Reals, matrix: Reals, item: Format, bias: int | None) -> Blocks:
    """Find the largest of each block of ``matrix``, the rows of ``array``, and what all share.

    ``bias`` fixes that of scales, where they have one.

    Raises
    ------
    FormatError
        An infinity or a NaN, and where in ``array`` it is.
    """
    rows, k = matrix.shape
    largest = np.zeros((rows, -(-k // item.block)), matrix.dtype)
    for piece in pieces(matrix.shape, item.block):
        magnitudes = np.abs(piece.of(matrix)).ravel()
        tops = np.maximum.reduceat(magnitudes, np.arange(0, magnitudes.size, piece.width))
        piece.share(largest, tops)
    if not np.isfinite(largest).all():
        refuse_not_finite(array)
    shared = Shared()
    if item.scale == "e4m4":
        shared = Shared(bias=usual_bias(largest) if bias is None else bias)
    elif item.scale == "e4m3":
        shared = Shared(tensor_scale=tensor_scale_of(largest, item))
    return Blocks(item, largest, shared)


def values_of(
    elements: npt.NDArray[Any], codes: Codes, item: Format, shared: Shared, dtype: npt.DTypeLike
) -> Reals:
    """[block, j] what stored elements stand for under ``codes[block, 1]``."""
    if not item.is_integer:
        scales = block_scales(codes, item, shared.tensor_scale)
        return scaled_values(float_values(elements, item, dtype), scales, item, dtype)
    if item.scale == "e4m4":
        return scale_values(elements, codes, shared.bias, dtype)
    return exponent_values(elements, codes, item.mantissa_bits, dtype)
