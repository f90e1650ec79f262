"""Floats of fewer bits: sign, exponent, fraction, with subnormals; nearest, ties to even.

What is larger than the largest is clipped to it, as conversions to the 8-bit formats of OCP may do;
no infinity or NaN is ever made. Floats of fewer than 8 bits (E2M1, E2M3, E3M2) have none, all their
codes are numbers; E4M3 has no infinity, and one NaN per sign (0x7F, 0xFF); the others keep their
highest exponent for infinities and NaNs, as IEEE 754 does.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Reals
from workloads.formats.format import Format

Words = npt.NDArray[np.uint32]

_FLOAT32_FRACTION, _FLOAT32_BIAS = 23, 127
_FLOAT32_SIGN = np.uint32(1 << 31)
# dtype: integers of its width, fraction bits, mask of the exponent
_LAYOUTS: dict[np.dtype[Any], tuple[Any, int, int]] = {
    np.dtype(np.float32): (np.int32, 23, 0x7F80_0000),
    np.dtype(np.float64): (np.int64, 52, 0x7FF0_0000_0000_0000),
}
_NARROW_ENOUGH = 15
"""Bias of a format whose arithmetic float32 holds."""


def bias_of(item: Format) -> int:
    """What is added to its exponents."""
    return (1 << (item.exponent_bits - 1)) - 1


def has_infinities(item: Format) -> bool:
    """Whether its highest exponent is kept for infinities and NaNs."""
    return item.element_bits >= 8 and not _is_e4m3(item)


def largest_of(item: Format) -> float:
    """The largest finite number of a float format.

    >>> from workloads.formats import get_format
    >>> [largest_of(get_format(name)) for name in ("mxfp4", "fp8_e4m3", "fp8_e5m2")]
    [6.0, 448.0, 57344.0]
    """
    top = (1 << item.exponent_bits) - 1 - has_infinities(item)
    missing = 2 if _is_e4m3(item) else 1  # the code of all ones is a NaN
    return float(2 - missing * 2.0**-item.mantissa_bits) * 2.0 ** (top - bias_of(item))


def _is_e4m3(item: Format) -> bool:
    return (item.exponent_bits, item.mantissa_bits) == (4, 3)


def smallest_exponent(item: Format) -> int:
    """Of its normal numbers; subnormals share the step of these."""
    return 1 - bias_of(item)


def rounded(numbers: Reals, item: Format) -> Reals:
    """The nearest numbers of the format; a zero keeps its sign."""
    if numbers.dtype == np.float32 and bias_of(item) > _NARROW_ENOUGH:
        return rounded(numbers.astype(np.float64), item).astype(np.float32)
    integers, fraction, mask = _LAYOUTS[numbers.dtype]
    real = numbers.dtype.type
    largest = real(largest_of(item))
    clipped: npt.NDArray[Any] = np.clip(numbers, -largest, largest)
    powers = (clipped.view(integers) & integers(mask)).view(real)
    # Adding 1.5 x 2^fraction steps makes the unit in the last place of the sum one step.
    steps = np.maximum(powers, real(2.0 ** smallest_exponent(item)))
    steps *= real(1.5 * 2.0 ** (fraction - item.mantissa_bits))
    clipped += steps
    clipped -= steps
    found: Reals = np.copysign(clipped, numbers)
    return found


def float_codes(numbers: Reals, item: Format) -> Words:
    """Bits of numbers that the format holds exactly, in the low bits of 32."""
    scaled = numbers.astype(np.float32) * np.float32(2.0 ** (bias_of(item) - _FLOAT32_BIAS))
    words = scaled.view(np.uint32)
    moved = (words & ~_FLOAT32_SIGN) >> np.uint32(_FLOAT32_FRACTION - item.mantissa_bits)
    return moved | (words >> np.uint32(32 - item.element_bits) & _sign(item))


def float_values(codes: npt.NDArray[Any], item: Format, dtype: npt.DTypeLike) -> Reals:
    """The numbers of these bits; infinities and NaNs too."""
    words = codes.astype(np.uint32)
    magnitude = words & (_sign(item) - np.uint32(1))
    bits = magnitude << np.uint32(_FLOAT32_FRACTION - item.mantissa_bits)
    numbers = bits.view(np.float32) * np.float32(2.0 ** (_FLOAT32_BIAS - bias_of(item)))
    last = int(float_codes(np.array([largest_of(item)]), item)[0])
    special = magnitude > last
    if special.any():
        infinite = (magnitude == last + 1) & has_infinities(item)
        numbers = np.where(special, np.where(infinite, np.inf, np.nan), numbers)
    negative = (words & _sign(item)) != 0
    return np.where(negative, -numbers, numbers).astype(dtype)


def _sign(item: Format) -> np.uint32:
    return np.uint32(1 << (item.element_bits - 1))
