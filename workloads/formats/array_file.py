"""Arrays of a user's own, from .npy files."""

from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from workloads.formats.format import FormatError


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read a .npy file of numbers; pickled objects are never unpacked.

    Raises
    ------
    FormatError
        No such file, or no array of float32 or float64 in it.
    """
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
    except MemoryError as error:
        raise FormatError(f"{path}: larger than this machine's memory: {error}") from None
    except (OSError, ValueError, EOFError, BadZipFile, TokenError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or "it is not an array as numpy.save writes it"
        raise FormatError(f"{path}: cannot be read: {reason}") from None
    if not isinstance(found, np.ndarray):
        raise FormatError(f"{path}: holds several arrays; save one as .npy")
    if found.dtype not in (np.float32, np.float64):
        raise FormatError(f"{path}: numbers to quantise are float32 or float64, got {found.dtype}")
    return found
