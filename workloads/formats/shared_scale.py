"""Scaled block floating point: 4-bit integers under an unsigned float of 8 bits (SBFP12_16).

A block's true scale is s = max|x| / 7. Elements become x / s = 7 x / max, rounded to the nearest
integer, ties to even: the largest is always +-7. What is stored of s has 4 exponent and 4 fraction
bits: s rounded to 5 significant bits, ties to even, as 1.ffff x 2^(field - bias) with fields from 1
to 15. A smaller s is flushed to zero, and its block with it; a larger one is clipped to
1.9375 x 2^(15 - bias). The bias is one for the whole array.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Integers
from workloads.formats.chunks import Reals
from workloads.formats.shared_exponent import Codes, Mantissas

MOST = 7
"""The largest mantissa of 4 bits, symmetric."""
USUAL_BIAS = 7
LEAST_BIAS, MOST_BIAS = -112, 127
_FRACTION = 16
_LARGEST_FIELD = 15
_LARGEST_CODE = _LARGEST_FIELD * _FRACTION + _FRACTION - 1


def usual_bias(largest: Reals) -> int:
    """The bias nearest to 7 that holds the largest scale and, if it can, the smallest.

    With the usual 7 scales lie in 2^-6..496, and blocks whose numbers are all below 0.11 would be
    flushed; so the vendor's tools too choose a bias for each tensor.
    """
    highest = float(largest.max(initial=0.0))
    if not highest:
        return USUAL_BIAS
    lowest = float(largest.min(initial=np.inf, where=largest > 0))
    smallest = int(np.frexp(lowest / MOST)[1]) - 1
    top = int(_rounded(np.array([highest / MOST]))[1][0])
    bias = min(_LARGEST_FIELD - top, max(USUAL_BIAS, 1 - smallest))
    return int(np.clip(bias, LEAST_BIAS, MOST_BIAS))


def scale_codes(largest: Reals, bias: int) -> Codes:
    """Codes of the scales of blocks with these largest magnitudes; 0 for a block of zeros."""
    scales = largest.astype(np.float64) / MOST
    significands, exponents = _rounded(scales)
    codes = (exponents + bias) * _FRACTION + significands - _FRACTION
    held = (scales > 0) & (np.frexp(scales)[1] - 1 + bias >= 1)
    found: Codes = np.where(held, np.minimum(codes, _LARGEST_CODE), 0).astype(np.uint8)
    return found


def _rounded(scales: Floats) -> tuple[Integers, Any]:
    """Significands 16..31 of 5 bits, and exponents of their leading bit."""
    fractions, exponents = np.frexp(scales)
    significands = np.rint(fractions * (2 * _FRACTION)).astype(np.int64)
    carried = significands == 2 * _FRACTION
    return np.where(carried, _FRACTION, significands), exponents - 1 + carried


def scale_mantissas(blocks: Reals, codes: Codes, largest: Reals) -> Mantissas:
    """[block, j] of ``blocks[block, j]`` with ``largest[block, 1]`` magnitudes.

    Seven times a float32 is exact in float64, and its quotient is never so near a tie as to be
    rounded onto it.
    """
    tops, numbers = np.where(largest > 0, largest, 1).astype(np.float64), blocks
    if blocks.dtype == np.float64:  # seven times the largest of these would overflow
        exponents = -np.frexp(tops)[1]
        tops, numbers = np.ldexp(tops, exponents), np.ldexp(blocks, exponents)
    quotients = numbers.astype(np.float64)
    quotients *= MOST
    quotients /= np.where(codes > 0, tops, np.inf)
    return np.rint(quotients, out=quotients).astype(np.int32)


def scale_values(
    mantissas: npt.NDArray[Any], codes: Codes, bias: int, dtype: npt.DTypeLike
) -> Reals:
    """[block, j] what mantissas stand for, exactly, under ``codes[block, 1]``."""
    wide = codes.astype(np.int32)
    significands = np.where(wide > 0, wide % _FRACTION + _FRACTION, 0).astype(dtype)
    values: Reals = mantissas.astype(dtype)
    values *= np.ldexp(significands, wide // _FRACTION - bias - 4)
    return values
