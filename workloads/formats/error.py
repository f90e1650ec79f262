"""How far off a number format is, measured on numbers."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Reals, as_rows, pieces
from workloads.formats.format import Format
from workloads.formats.quantise import quantize
from workloads.formats.sparsity import spread

Grid = npt.NDArray[np.float64]

_USUAL = (1e-140, 1e140)
"""Magnitudes whose squares a float64 holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """What quantising did to some numbers."""

    signal: float
    """Mean square of the numbers; infinite or 0 where a float64 does not hold it."""
    noise: float
    """Mean square of the errors; as ``signal``."""
    sqnr_db: float
    """Signal over noise; infinite where nothing was lost, NaN where there was nothing."""
    largest_relative: float
    """The largest error over the number that it befell; zeros have none."""
    largest_of_block: float
    """The largest error over the largest magnitude of its block (of the number itself, where a
    format has no blocks)."""


def sqnr_db(signal: float, noise: float) -> float:
    """Ten times the decimal logarithm of their ratio; infinite without noise."""
    if noise == 0:
        return math.inf if signal else math.nan
    return 10 * math.log10(signal / noise) if signal else -math.inf


def distortion(x: npt.ArrayLike, item: Format, axis: int = -1) -> Distortion:
    """Quantise and compare; errors as for ``quantize``. Sums are of float64."""
    array, matrix = as_rows(x, axis)
    left = as_rows(quantize(array, item, axis), axis)[1]
    unit = _unit(matrix)
    signal = noise = relative = of_block = 0.0
    for piece in pieces(matrix.shape, spread(item).block):
        numbers = np.abs(piece.of(matrix).astype(np.float64)) / unit
        errors = np.abs(piece.of(left).astype(np.float64) - piece.of(matrix)) / unit
        signal += float(np.square(numbers).sum())
        noise += float(np.square(errors).sum())
        relative = max(relative, _largest_ratio(errors, numbers))
        of_block = max(of_block, _largest_ratio(errors.max(axis=1), numbers.max(axis=1)))
    size = max(1, matrix.size)
    return Distortion(
        signal=signal / size * unit * unit,
        noise=noise / size * unit * unit,
        sqnr_db=sqnr_db(signal, noise),
        largest_relative=relative,
        largest_of_block=of_block,
    )


def _unit(matrix: Reals) -> float:
    """A power of two in which the squares of these numbers can be counted; 1 for usual ones."""
    largest = float(
        max((np.abs(piece.of(matrix)).max() for piece in pieces(matrix.shape, 1)), default=0.0)
    )
    if not largest or _USUAL[0] < largest < _USUAL[1]:
        return 1.0
    return 2.0 ** max(-1000, math.frexp(largest)[1] - 1)


def _largest_ratio(errors: Grid, numbers: Grid) -> float:
    ratios = np.divide(errors, numbers, out=np.zeros_like(errors), where=numbers > 0)
    return float(ratios.max(initial=0.0))
