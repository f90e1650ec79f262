"""Errors of inner products of two vectors in a block format: their bounds, and what they are.

x and y are stored as x + d and y + e, so the product is off by sum(d y + x e + d e).

**Any numbers.** Where x is at most half a step s beyond the largest mantissa, |d| <= s / 2; the few
that are farther out are clipped, and |d| <= s. Element by element that bounds the error
(``largest_error``).

**N(0, 1).** x and y are independent, and signs of d are those of neither neighbours nor y: the
mean is 0, and only products of equal elements stay in the mean square. With D = E d^2 and rounding
errors that do not depend on x (E d x = 0, as for steps below the width of the density), each
element adds 2 D + D^2 (``gaussian_dot_noise``). A rounding error spread evenly over a step has
D = E s^2 / 12, with M = max|x| of n:

- an exact scale: s = M / (2^(p-1) - 1);
- a shared exponent: s = 2^(floor(log2 M) - (p - 2)) <= M / 2^(p-2).

Since P(x^2 > u) <= exp(-u / 2), E M^2 <= t + n integral of it from t, which is least at t = 2 ln n:
E M^2 <= 2 (1 + ln n). So D <= (1 + ln n) / (6 q^2) with q = 2^(p-1) - 1 or 2^(p-2), for every n
(``gaussian_dot_bound``).
"""

import math

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats
from workloads.formats.format import Format, FormatError


def gaussian_dot_noise(noise: float) -> float:
    """Mean square of the error of an inner product on N(0, 1), by element, where stored numbers
    have errors of mean square ``noise``; the signal is 1."""
    return 2 * noise + noise**2


def gaussian_dot_bound(mantissa_bits: int, block: int, *, exact_scale: bool = False) -> float:
    """What the mean square of that error is at most, with a shared exponent or an exact scale."""
    most = 2.0 ** (mantissa_bits - 1) - 1 if exact_scale else 2.0 ** (mantissa_bits - 2)
    return gaussian_dot_noise((1 + math.log(block)) / (6 * most**2))


def largest_error(x: npt.ArrayLike, y: npt.ArrayLike, item: Format) -> Floats:
    """[...] how far off the inner products of ``x`` and ``y`` [..., n] can be at most.

    Blocks are along the last axis, n a multiple of theirs.

    Raises
    ------
    FormatError
        A format without shared exponents over integers; an n that is no multiple of its block.
    """
    if item.scale != "e8m0" or not item.is_integer or item.is_sparse:
        raise FormatError(f"this bound is of dense integers under a power of two, got {item.name}")
    one, other = np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(y, np.float64))
    if one.shape[-1] % item.block:
        raise FormatError(f"{one.shape[-1]} elements are no multiple of the block of {item.block}")
    first, second = _radius(one, item), _radius(other, item)
    found: Floats = (first * other + one * second + first * second).sum(axis=-1)
    return found


def _radius(magnitudes: Floats, item: Format) -> Floats:
    """[..., n] how far each stored element can be from its number: half a step, or one."""
    blocks = magnitudes.reshape(*magnitudes.shape[:-1], -1, item.block)
    largest = blocks.max(axis=-1, keepdims=True)
    exponents = np.clip(np.frexp(largest)[1] - 1, -127, 127) - (item.mantissa_bits - 2)
    steps = np.ldexp(np.where(largest > 0, 1.0, 0.0), exponents)
    clipped = blocks > (2.0 ** (item.mantissa_bits - 1) - 0.5) * steps
    found: Floats = np.where(clipped, steps, steps / 2).reshape(magnitudes.shape)
    return found
