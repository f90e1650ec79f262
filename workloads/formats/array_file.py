"""Arrays of a user's own, from .npy files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.formats.kinds import FormatError


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read a .npy file of numbers; pickled objects are never unpacked.

    Raises
    ------
    FormatError
        No such file, or no array of float32 or float64 in it.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "it is not an array as numpy.save writes it"
        raise FormatError(f"{path}: cannot be read: {reason}") from None
    if not isinstance(found, np.ndarray):
        raise FormatError(f"{path}: holds several arrays; save one as .npy")
    if found.dtype not in (np.float32, np.float64):
        raise FormatError(f"{path}: numbers to quantise are float32 or float64, got {found.dtype}")
    return found
