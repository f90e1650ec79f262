"""How far off a number format is on numbers of N(0, 1), in closed form.

For blocks of n, M = max|x| over a block, P(M < m) = F(m)^n with F(m) = erf(m / sqrt 2). Rounding to
steps s costs s^2 / 12, so with p mantissa bits

- a shared exponent: E[4^(floor(log2 M) + 1)] / (12 x 4^(p-1));
- a scale M / (2^(p-1) - 1): E[M^2] / (12 (2^(p-1) - 1)^2) x (n - 1)/n, for the largest is exact,
  and what rounding the scale to 5 bits costs;
- a float: each binade's own step;
- floats under a scale: a scale S serves the blocks with a <= M < b, and costs exactly
  W(S, b) F(b)^(n-1) - W(S, a) F(a)^(n-1), with W(S, m) the integral of (x - q(x))^2 over |x| < m,
  weighted by their density, and q(x) the nearest of S times what an element can be;
- sparsity: the square of what is dropped, by the order statistics of 8, and the above on the rest.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.floats import float_codes, float_values, largest_of, smallest_exponent
from workloads.formats.format import GROUP, Format
from workloads.formats.scaled_floats import E4M3
from workloads.formats.sparsity import spread

Grid = npt.NDArray[np.float64]

_FARTHEST = 10.0
"""No number of N(0, 1) is looked for beyond it."""
_POINTS = 8001
_SCALE_STEPS = 16
"""Of a scale's significand between two powers of two."""
_LARGEST_OF_ARRAY = 4.9
"""What a million numbers of N(0, 1) reach; sets the scale that an array shares."""


def gaussian_noise(item: Format) -> float:
    """Mean square of the errors on N(0, 1), in closed form; the signal is 1."""
    dropped = 0.0 if not item.is_sparse else _dropped(item.kept)
    if not item.is_block:
        return dropped + _float_noise(item) * item.kept / GROUP
    together = spread(item).block
    if not item.is_integer:
        return dropped + _scaled_float_noise(item, together) * item.kept / GROUP
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


def rounded_up_noise(mantissa_bits: int, block: int) -> float:
    """The same where these scales are rounded up to powers of two: nothing is clipped."""
    most = 2.0 ** (mantissa_bits - 1) - 1
    edges = 2.0 ** np.arange(-30, 5)
    shares = np.diff(_below(edges * most) ** block)
    return float(np.sum(shares * edges[1:] ** 2)) / 12


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


def _scaled_float_noise(item: Format, together: int) -> float:
    """Mean square of the errors of floats under the scale of their block."""
    elements = _all_numbers(item)
    edges: Grid
    if item.scale == "e8m0":
        edges = np.ldexp(np.ones(1), np.arange(-30, 6))
        scales = edges[:-1] / 2.0 ** math.floor(math.log2(largest_of(item)))
    else:
        top = largest_of(item)
        tensor_scale = _LARGEST_OF_ARRAY / (top * largest_of(E4M3))
        stored = _all_numbers(E4M3)
        scales = stored * tensor_scale
        edges = np.concatenate([[0.0], (scales[1:] + scales[:-1]) / 2 * top, [_FARTHEST]])
    lower, upper = (
        _inside(elements, scales, limits) * _below(limits) ** (together - 1)
        for limits in (edges[:-1], edges[1:])
    )
    return float(np.sum(upper - lower))


def _all_numbers(item: Format) -> Grid:
    """What a float can be, from 0 to its largest."""
    last = int(float_codes(np.array([largest_of(item)]), item)[0])
    return float_values(np.arange(last + 1), item, np.float64).astype(np.float64)


def _inside(elements: Grid, scales: Grid, limits: Grid) -> Grid:
    """[scale] integral of the squared error over |x| below the scale's limit."""
    nearest = elements * scales[:, None]
    middles = (nearest[:, 1:] + nearest[:, :-1]) / 2
    ends = np.full((len(scales), 1), _FARTHEST)
    cuts = np.concatenate([np.zeros_like(ends), middles, ends], axis=1)
    cuts = np.minimum(cuts, limits[:, None])
    shares = _below(cuts.ravel()).reshape(cuts.shape)
    density = math.sqrt(2 / math.pi) * np.exp(-(cuts**2) / 2)
    zeroth = np.diff(shares)
    first, second = -np.diff(density), zeroth - np.diff(cuts * density)
    found: Grid = np.sum(second - 2 * nearest * first + nearest**2 * zeroth, axis=1)
    return found


def _dropped(kept: int) -> float:
    """Mean square of what is lost of 8 where the ``kept`` largest stay."""
    m, below = _grid()
    density = np.sqrt(2 / np.pi) * np.exp(-(m**2) / 2)
    lost = np.zeros_like(m)
    for place in range(GROUP - kept):  # of the order statistics, smallest first
        paths = GROUP * math.comb(GROUP - 1, place)
        lost += paths * below**place * (1 - below) ** (GROUP - 1 - place) * density
    return float(np.trapezoid(m**2 * lost, m)) / GROUP
