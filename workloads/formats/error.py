"""Errors of number formats: measured on arrays, and in closed form on Gaussian numbers.

In closed form, for numbers of N(0, 1), blocks of n and p mantissa bits, M = max|x| over a block:
rounding to steps s costs s^2 / 12, so

- a shared exponent: E[4^(floor(log2 M) + 1)] / (12 x 4^(p-1)), with P(M < m) = erf(m / sqrt 2)^n;
- a scale M / (2^(p-1) - 1): E[M^2] / (12 (2^(p-1) - 1)^2) x (n - 1)/n, for the largest is exact,
  and what rounding the scale to 5 bits costs;
- a float: each binade's own step;
- sparsity: the square of what is dropped, by the order statistics of 8, and the above on the rest.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Reals, as_rows, pieces
from workloads.formats.floats import smallest_exponent
from workloads.formats.format import GROUP, Format
from workloads.formats.quantise import quantize
from workloads.formats.sparsity import spread

Grid = npt.NDArray[np.float64]

_FARTHEST = 10.0
"""No number of N(0, 1) is looked for beyond it."""
_POINTS = 8001
_USUAL = (1e-140, 1e140)
"""Magnitudes whose squares a float64 holds."""
_SCALE_STEPS = 16
"""Of a scale's significand between two powers of two."""


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


def gaussian_noise(item: Format) -> float:
    """Mean square of the errors on N(0, 1), in closed form; the signal is 1."""
    dropped = 0.0 if not item.is_sparse else _dropped(item.kept)
    if not item.is_block:
        return dropped + _float_noise(item) * item.kept / GROUP
    together = spread(item).block
    if item.scale == "e8m0":
        rounding = _binade_square(together) / (12 * 4.0 ** (item.mantissa_bits - 1))
        return dropped + rounding * item.kept / GROUP
    return (
        dropped
        + scaled_noise(item, together) * item.kept / GROUP
        + _scale_noise(together) * (1 - dropped)
    )


def scaled_noise(item: Format, together: int) -> float:
    """The same of mantissas under exact scales, each the largest of ``together`` over the most."""
    most = 2.0 ** (item.mantissa_bits - 1) - 1
    others = 1 - 1 / item.block
    return _square_of_largest(together) / (12 * most**2) * others


def _below(m: npt.NDArray[Any]) -> Grid:
    """Probability that a magnitude lies below."""
    return np.array([math.erf(each / math.sqrt(2)) for each in m.tolist()])


def _grid() -> tuple[Grid, Grid]:
    m = np.linspace(0.0, _FARTHEST, _POINTS)
    return m, _below(m)


def _binade_square(together: int) -> float:
    """E[4^(floor(log2 M) + 1)]."""
    edges = 2.0 ** np.arange(-30, 5)
    shares = np.diff(_below(edges) ** together)
    return float(np.sum(shares * edges[1:] ** 2))


def _square_of_largest(together: int) -> float:
    m, below = _grid()
    return float(np.trapezoid(2 * m * (1 - below**together), m))


def _scale_noise(together: int) -> float:
    """Mean square of the relative error of scales rounded to 5 bits."""
    m, below = _grid()
    middle = (m[1:] + m[:-1]) / 2
    steps = 2.0 ** np.floor(np.log2(middle / 7)) / _SCALE_STEPS
    return float(np.sum(np.diff(below**together) * steps**2 / (12 * (middle / 7) ** 2)))


def _float_noise(item: Format) -> float:
    least = smallest_exponent(item)
    binades = np.arange(max(least, -60), 5)
    edges = np.concatenate([[0.0], 2.0 ** (binades[1:]), [math.inf]])
    shares = np.diff(_below(edges))
    return float(np.sum(shares * 4.0 ** (binades - item.mantissa_bits)) / 12)


def _dropped(kept: int) -> float:
    """Mean square of what is lost of 8 where the ``kept`` largest stay."""
    m, below = _grid()
    density = np.sqrt(2 / np.pi) * np.exp(-(m**2) / 2)
    lost = np.zeros_like(m)
    for place in range(GROUP - kept):  # of the order statistics, smallest first
        paths = GROUP * math.comb(GROUP - 1, place)
        lost += paths * below**place * (1 - below) ** (GROUP - 1 - place) * density
    return float(np.trapezoid(m**2 * lost, m)) / GROUP
