"""Splits arrays along the contracted axis into chunks that stay in cache."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.formats.format import FormatError

Reals: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]

PIECE = 1 << 15
"""Elements at once: with its copies a piece of float64 fits a core's second-level cache."""
TILE = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows and columns of a matrix, all of them in blocks of one width."""

    rows: slice
    columns: slice
    width: int
    """Of its blocks: a format's, or that of the short block which ends every row."""
    blocks: slice
    """Which blocks of a row they are."""

    def of(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[block, width] its elements; a view where they lie together."""
        return matrix[self.rows, self.columns].reshape(-1, self.width)

    def shared(self, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[block, 1] its entries of ``table[row, block]``."""
        return table[self.rows, self.blocks].reshape(-1, 1)

    def share(self, table: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        """Write what its blocks share into ``table[row, block]``."""
        target = table[self.rows, self.blocks]
        target[...] = found.reshape(target.shape)

    def put(self, matrix: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        """Write what was found for its elements."""
        target = matrix[self.rows, self.columns]
        target[...] = found.reshape(target.shape)


def pieces(shape: tuple[int, ...], block: int) -> Iterator[Piece]:
    """Cut a matrix [rows, k] whose rows begin with blocks of ``block``."""
    rows, k = shape
    tail = k % block
    whole = k - tail
    if whole:
        wide = min(whole, max(block, PIECE // block * block))
        for first in range(0, whole, wide):
            yield from _tall(rows, slice(first, min(first + wide, whole)), block, block)
    if tail:
        yield from _tall(rows, slice(whole, k), tail, block)


def _tall(rows: int, columns: slice, width: int, block: int) -> Iterator[Piece]:
    tall = max(1, PIECE // (columns.stop - columns.start))
    blocks = slice(columns.start // block, -(-columns.stop // block))
    for first in range(0, rows, tall):
        yield Piece(slice(first, min(first + tall, rows)), columns, width, blocks)


def as_rows(x: npt.ArrayLike, axis: int) -> tuple[Reals, Reals]:
    """The array, and its [rows, k] view or copy with ``axis`` last.

    Raises
    ------
    FormatError
        No float32 or float64, no axis, or not that one.
    """
    array = np.asarray(x)
    if array.dtype not in (np.float32, np.float64):
        raise FormatError(f"numbers to quantise are float32 or float64, got {array.dtype}")
    if not -array.ndim <= axis < array.ndim:
        raise FormatError(f"axis {axis} is not one of the {array.ndim} of the array")
    return array, rows_of(array, axis)


def rows_of(array: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """[row, j] with ``axis`` along j."""
    before, k, after = _around(array.shape, axis)
    return swapped(array.reshape(before, k, after)).reshape(before * after, k)


def from_rows(matrix: npt.NDArray[Any], shape: tuple[int, ...], axis: int) -> npt.NDArray[Any]:
    """Give ``matrix[row, j]`` the shape of an array whose ``axis`` lay along j."""
    before, _, after = _around(shape, axis)
    length = matrix.shape[1]
    found = swapped(matrix.reshape(before, after, length))
    whole = list(shape)
    whole[axis] = length
    return found.reshape(whole)


def _around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Elements before the axis, along it and after it."""
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def swapped(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[a, c, b] of ``array[a, b, c]``, copied tile by tile so that cache lines are used whole."""
    many, rows, columns = array.shape
    if rows == 1 or columns == 1:
        return array.reshape(many, columns, rows)
    found = np.empty((many, columns, rows), array.dtype)
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            tile = array[:, top : top + TILE, left : left + TILE]
            found[:, left : left + TILE, top : top + TILE] = tile.swapaxes(1, 2)
    return found


def refuse_not_finite(array: Reals) -> None:
    """Name the first infinity or NaN and where it is."""
    where = np.argwhere(~np.isfinite(array))
    if len(where):
        index = tuple(int(i) for i in where[0])
        raise FormatError(
            f"there is {array[index]} at index {list(index)} ({len(where):,} such in all):"
            " only finite numbers can be quantised"
        )
