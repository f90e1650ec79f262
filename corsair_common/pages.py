"""Large arrays whose memory goes back to the system piece by piece."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_BYTES = 1 << 24
"""Smaller ones are arrays like any other."""


def zeros(rows: int, dtype: "np.dtype[Any]") -> npt.NDArray[Any]:
    """[rows] zeros; ``release`` can give up their first rows."""
    size_bytes = rows * dtype.itemsize
    if size_bytes < LEAST_BYTES or not hasattr(mmap, "MADV_DONTNEED"):
        return np.zeros(rows, dtype)
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype, rows)


def release(array: npt.NDArray[Any], rows: int) -> None:
    """Give the memory of the first ``rows`` rows of ``zeros`` back; they are zeros from then on.

    Nothing happens to other arrays.
    """
    pages = getattr(array.base, "obj", None)
    whole = rows * array.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(pages, mmap.mmap) and whole:
        pages.madvise(mmap.MADV_DONTNEED, 0, whole)
