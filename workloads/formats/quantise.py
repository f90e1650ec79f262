"""Arrays into number formats and back, bit for bit as each format is defined."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.blocks import Blocks, Shared, blocks_of, values_of
from workloads.formats.chunks import Reals, as_rows, from_rows, pieces, refuse_not_finite, rows_of
from workloads.formats.floats import float_codes, float_values, rounded
from workloads.formats.format import Format, FormatError
from workloads.formats.registry import get_format
from workloads.formats.shared_exponent import Codes
from workloads.formats.shared_scale import LEAST_BIAS, MOST_BIAS
from workloads.formats.sparsity import Mask, pruned, spread


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """An array as a format stores it."""

    format: Format
    shape: tuple[int, ...]
    axis: int
    """Along which blocks and groups were cut."""
    dtype: np.dtype[Any]
    """Of the array: float32 or float64."""
    elements: npt.NDArray[Any]
    """Signed mantissas (int8 or int16), or bits of floats (uint8, 16 or 32), in the array's shape;
    along ``axis`` only the kept ones of a sparse format."""
    scales: Codes | None = None
    """One code for each block along ``axis``: exponent + 127, or field and fraction of a scale."""
    scale_bias: int = 0
    """Of all scales of 4 exponent and 4 fraction bits."""
    tensor_scale: float = 1.0
    """A float32 by which all scales in E4M3 are multiplied."""
    mask: Mask | None = None
    """Which elements a sparse format keeps, in the array's shape."""


def quantize(
    x: npt.ArrayLike, fmt: str | Format, axis: int = -1, scale_bias: int | None = None
) -> Reals:
    """Return the numbers that are left of ``x`` (float32 or float64) once stored in ``fmt``.

    Blocks and groups are cut along ``axis``, the contracted one. ``scale_bias`` fixes the exponent
    bias of the scales of SBFP, which is else chosen for the array (``usual_bias``).

    Raises
    ------
    FormatError
        An unknown format, a number that is not finite (says where), a wrong axis, dtype or bias.

    >>> quantize([1.0, 0.3, -0.0078125], "bfp16_64").tolist()
    [1.0, 0.296875, 0.0]
    """
    item = _format(fmt, scale_bias)
    array, matrix = as_rows(x, axis)
    dense, matrix, _ = _pruned(array, matrix, item, masked=False)
    found = np.empty_like(matrix) if np.may_share_memory(matrix, array) else matrix
    blocks = _shared(array, matrix, dense, scale_bias)
    for piece in pieces(matrix.shape, dense.block):
        numbers = piece.of(matrix)
        if blocks is None:
            piece.put(found, rounded(numbers, dense))
        else:
            piece.put(found, blocks.quantized(piece, numbers))
    return from_rows(found, array.shape, axis)


def encode(
    x: npt.ArrayLike, fmt: str | Format, axis: int = -1, scale_bias: int | None = None
) -> Encoded:
    """What is stored of ``x`` in ``fmt``; arguments and errors as for ``quantize``."""
    item = _format(fmt, scale_bias)
    array, matrix = as_rows(x, axis)
    dense, matrix, mask = _pruned(array, matrix, item, masked=True)
    elements: npt.NDArray[Any] = np.empty(matrix.shape, _element_type(dense))
    blocks = _shared(array, matrix, dense, scale_bias)
    scales = None if blocks is None else np.empty(blocks.largest.shape, np.uint8)
    shared = Shared() if blocks is None else blocks.shared
    for piece in pieces(matrix.shape, dense.block):
        numbers = piece.of(matrix)
        if blocks is None or scales is None:
            piece.put(elements, float_codes(rounded(numbers, dense), dense))
        else:
            codes = blocks.codes(piece)
            piece.share(scales, codes)
            piece.put(elements, blocks.elements(piece, numbers, codes))
    if mask is not None:
        elements = elements[mask].reshape(len(matrix), item.stored(matrix.shape[1]))
    return Encoded(
        format=item,
        shape=array.shape,
        axis=axis,
        dtype=array.dtype,
        elements=from_rows(elements, array.shape, axis),
        scales=None if scales is None else from_rows(scales, array.shape, axis),
        scale_bias=shared.bias,
        tensor_scale=shared.tensor_scale,
        mask=None if mask is None else from_rows(mask, array.shape, axis),
    )


def decode(encoded: Encoded) -> Reals:
    """Return the numbers that are stored: what ``quantize`` gave, to the bit."""
    item, axis = spread(encoded.format), encoded.axis
    elements = _unpacked(encoded)
    found = np.empty(elements.shape, encoded.dtype)
    scales = None if encoded.scales is None else rows_of(encoded.scales, axis)
    shared = Shared(encoded.scale_bias, encoded.tensor_scale)
    for piece in pieces(elements.shape, item.block):
        part = piece.of(elements)
        if scales is None:
            piece.put(found, float_values(part, item, encoded.dtype))
        else:
            codes = piece.shared(scales)
            piece.put(found, values_of(part, codes, item, shared, encoded.dtype))
    return from_rows(found, encoded.shape, axis)


def _format(fmt: str | Format, scale_bias: int | None) -> Format:
    item = get_format(fmt) if isinstance(fmt, str) else fmt
    if scale_bias is not None and not LEAST_BIAS <= scale_bias <= MOST_BIAS:
        raise FormatError(
            f"scale_bias lies between {LEAST_BIAS} and {MOST_BIAS}, got {scale_bias!r}"
        )
    return item


def _element_type(item: Format) -> npt.DTypeLike:
    if item.is_integer:
        return np.int16 if item.mantissa_bits > 8 else np.int8
    if item.element_bits > 16:
        return np.uint32
    return np.uint16 if item.element_bits > 8 else np.uint8


def _unpacked(encoded: Encoded) -> npt.NDArray[Any]:
    """[row, j] stored elements, with zeros where a sparse format keeps none."""
    packed = rows_of(encoded.elements, encoded.axis)
    if encoded.mask is None:
        return packed
    mask = rows_of(encoded.mask, encoded.axis)
    whole: npt.NDArray[Any] = np.zeros(mask.shape, packed.dtype)
    whole[mask] = packed.ravel()
    return whole


def _pruned(
    array: Reals, matrix: Reals, item: Format, *, masked: bool
) -> tuple[Format, Reals, Mask | None]:
    """A sparse format's zeros put in, and the dense format of what is left."""
    if not item.is_sparse:
        return item, matrix, None
    _check_finite(array, matrix)
    mask = np.empty(matrix.shape, np.bool_) if masked else None
    return spread(item), pruned(matrix, item.kept, mask), mask


def _shared(array: Reals, matrix: Reals, item: Format, scale_bias: int | None) -> Blocks | None:
    """Exponents or scales of all blocks; None for floats. Refuses what is not finite."""
    if item.is_block:
        return blocks_of(array, matrix, item, scale_bias)
    _check_finite(array, matrix)
    return None


def _check_finite(array: Reals, matrix: Reals) -> None:
    if not all(np.isfinite(piece.of(matrix)).all() for piece in pieces(matrix.shape, 1)):
        refuse_not_finite(array)
