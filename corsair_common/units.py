"""Picoseconds, and the types of arrays."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Indices: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

PS_PER_S = 1e12
PS_PER_MS = 1e9

PS_PER_DAY = 86_400 * 10**12
"""A whole number: int64 holds 106 days of picoseconds."""

NEVER = -1
"""In a column of picoseconds: it did not happen."""

BYTE_BITS = 8
HOURS_PER_MONTH = 730.0
"""A twelfth of 8,760."""
