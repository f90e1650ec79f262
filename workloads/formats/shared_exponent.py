"""Block floating point: integer mantissas under a power of two.

The exponent is that of the largest magnitude, e = floor(log2 max|x|), kept as e + 127 in 8 bits, so
from -127 to 127; the step is 2^(e - (p - 2)). Elements are rounded to the nearest step, ties to
even, and clipped to +-(2^(p-1) - 1) steps. All zeros have the code 0.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Reals

Mantissas: TypeAlias = npt.NDArray[np.int32]
Codes: TypeAlias = npt.NDArray[np.uint8]

BIAS = 127
_FLOAT32_FRACTION = 23


def exponent_codes(largest: Reals) -> Codes:
    """Codes of the shared exponents of blocks with these largest magnitudes.

    A float32's own exponent field is the code: subnormals, below 2^-126, have field 0, exponent
    -127.
    """
    if largest.dtype == np.float32:
        return (largest.view(np.int32) >> _FLOAT32_FRACTION).astype(np.uint8)
    exponents = np.where(largest > 0, np.frexp(largest)[1] - 1, -BIAS)
    codes: Codes = (np.clip(exponents, -BIAS, BIAS) + BIAS).astype(np.uint8)
    return codes


def exponent_mantissas(blocks: Reals, codes: Codes, bits: int) -> Mantissas:
    """[block, j] of ``blocks[block, j]`` under ``codes[block, 1]``."""
    most = 2 ** (bits - 1) - 1
    field = codes.astype(np.int32) + (_FLOAT32_FRACTION - (bits - 2))
    if blocks.dtype != np.float32 or np.max(field, initial=0) > 2 * BIAS:
        return _by_float64(blocks, codes, bits, most)
    # Adding 1.5 x 2^23 steps makes a float32's unit in the last place one step: the addition
    # rounds to nearest even, and the sum's bits differ from the addend's by the mantissa.
    addend = (field << _FLOAT32_FRACTION) | (1 << (_FLOAT32_FRACTION - 1))
    mantissas: Mantissas = (blocks + addend.view(np.float32)).view(np.int32)
    mantissas -= addend
    np.minimum(mantissas, most, out=mantissas)
    np.maximum(mantissas, -most, out=mantissas)
    return mantissas


def _by_float64(blocks: Reals, codes: Codes, bits: int, most: int) -> Mantissas:
    """The same where a float32 would overflow, or the numbers are float64."""
    exponents = codes.astype(np.int32) - (BIAS + bits - 2)
    limits = np.ldexp(np.float64(most), exponents)
    clipped = np.clip(blocks.astype(np.float64), -limits, limits)
    return np.rint(clipped * np.ldexp(1.0, -exponents)).astype(np.int32)


def exponent_values(
    mantissas: npt.NDArray[Any], codes: Codes, bits: int, dtype: npt.DTypeLike
) -> Reals:
    """[block, j] what mantissas of ``bits`` stand for, exactly, under ``codes[block, 1]``."""
    steps = np.ldexp(np.ones(1, dtype), codes.astype(np.int32) - (BIAS + bits - 2))
    values: Reals = mantissas.astype(dtype)
    values *= steps
    return values
