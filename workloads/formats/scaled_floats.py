"""Floats of few bits under a shared scale: the MX formats of OCP, and NVIDIA's NVFP4.

MX (OCP Microscaling Formats 1.0, section 6.3): a block's scale is a power of two, 2^(e - emax) with
e = floor(log2 max|x|) and emax the exponent of the element's largest number; its code in E8M0 is
that exponent + 127, from 0 to 254. Elements are x / scale, rounded to the nearest, ties to even,
and clipped to the largest. All zeros have the code 0; the code 255 makes the block NaN when it is
read.

NVFP4: one float32 t = max|x| / (6 x 448) for the whole array; a block's scale is max|x| / (6 t),
rounded to E4M3 (subnormals too) and at most 448; elements are x / (t x scale) in E2M1. A block
whose scale is rounded to zero is flushed. Quotients are compared with ties exactly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import Reals
from workloads.formats.floats import float_codes, float_values, largest_of, rounded
from workloads.formats.format import Format
from workloads.formats.shared_exponent import BIAS, Codes

E4M3 = Format(name="e4m3", element_bits=8, mantissa_bits=3)
"""Of the scales of NVFP4, whose sign is never set."""
NOT_A_NUMBER = 255
"""The code of E8M0 that is no power of two."""
_LEAST, _MOST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


def tensor_scale_of(largest: Reals, item: Format) -> float:
    """The float32 that an array with these largest magnitudes of blocks shares; 1 for zeros."""
    top = float(largest.max(initial=0.0))
    if not top:
        return 1.0
    wanted = top / (largest_of(item) * largest_of(E4M3))
    return float(np.float32(min(max(wanted, _LEAST), _MOST)))


def block_codes(largest: Reals, item: Format, tensor_scale: float) -> Codes:
    """Codes of the scales of blocks with these largest magnitudes; 0 for a block of zeros."""
    tops = largest.astype(np.float64)
    if item.scale == "e8m0":
        exponents = np.frexp(tops)[1] - 1 - _largest_exponent(item) + BIAS
        found: Codes = np.where(tops > 0, np.clip(exponents, 0, 2 * BIAS), 0).astype(np.uint8)
        return found
    wanted = tops / (largest_of(item) * tensor_scale)
    return float_codes(rounded(wanted, E4M3), E4M3).astype(np.uint8)


def block_scales(codes: npt.NDArray[Any], item: Format, tensor_scale: float) -> Reals:
    """What these codes multiply elements by; NaN where they stand for none."""
    if item.scale == "e8m0":
        powers = np.ldexp(np.ones(1), codes.astype(np.int32) - BIAS)
        return np.where(codes == NOT_A_NUMBER, np.nan, powers)
    scales: Reals = float_values(codes, E4M3, np.float64) * tensor_scale
    return scales


def scaled_elements(blocks: Reals, scales: Reals, item: Format) -> Reals:
    """[block, j] elements of ``blocks[block, j]`` under ``scales[block, 1]``, before the scale."""
    divisors = np.where(scales > 0, scales, np.inf)
    if item.scale == "e8m0":  # a power of two: exact in the array's own type
        return rounded(blocks * (1 / divisors).astype(blocks.dtype), item)
    return rounded(blocks / divisors, item)


def scaled_values(elements: Reals, scales: Reals, item: Format, dtype: npt.DTypeLike) -> Reals:
    """[block, j] what elements stand for under ``scales[block, 1]``, rounded to ``dtype`` once."""
    found: Reals
    if item.scale == "e8m0":
        found = elements.astype(dtype)
        found *= scales.astype(dtype)
    else:
        most = float(np.finfo(dtype).max)
        found = np.clip(elements * scales, -most, most).astype(dtype)
    return found


def _largest_exponent(item: Format) -> int:
    """Of the largest number of an element: 2 for the 6 of E2M1."""
    return int(np.frexp(largest_of(item))[1]) - 1
