"""Arguments as machine code takes them: a row of 8-byte words, and what tells their types."""

import struct
from typing import Any

import numpy as np

_C, _F, _ALIGNED_WRITEABLE = 0x1, 0x2, 0x500
"""NumPy's flags of an array; numba takes one that is contiguous both ways as C."""
_LEAST = -(1 << 63)
_FLOAT, _WORD = struct.Struct("<d"), struct.Struct("<q")


def words_of(args: tuple[Any, ...], kinds: list[Any]) -> list[int]:
    """Flatten ``args`` into the words of numba's calling convention.

    ``kinds`` receives whatever decides the types that numba would give them. An array is seven
    words or more: owner and parent (none: reference counting is off), number of items, bytes of an
    item, address, shape, strides. Tuples are their items.

    Raises TypeError for arguments that compiled code cannot take.
    """
    words: list[int] = []
    for value in args:
        _add(value, kinds, words)
    return words


def _add(value: Any, kinds: list[Any], words: list[int]) -> None:
    kind = type(value)
    if kind is np.ndarray:
        _add_array(value, kinds, words)
    elif kind is bool or kind is np.bool_:
        kinds.append("bool")
        words.append(int(value))
    elif kind is int or kind is np.int64:
        if not _LEAST <= value <= ~_LEAST:  # ctypes would cut it off
            raise OverflowError(f"{value} has more than 64 bits")
        kinds.append("int")
        words.append(int(value))
    elif kind is float or kind is np.float64:
        kinds.append("float")
        words.extend(_WORD.unpack(_FLOAT.pack(value)))
    elif isinstance(value, tuple):
        kinds += (kind, len(value))
        for each in value:
            _add(each, kinds, words)
    elif isinstance(value, np.void):
        kinds += ("record", value.dtype)
        words.append(value.__array_interface__["data"][0])
    elif isinstance(value, int):
        _add(int(value), kinds, words)
    else:
        raise TypeError(f"compiled code takes no {kind.__name__}")


def _add_array(value: Any, kinds: list[Any], words: list[int]) -> None:
    flags = value.flags.num & (_C | _F | _ALIGNED_WRITEABLE)
    kinds += (value.dtype, value.ndim, flags & ~_F if flags & _C else flags)
    words += (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)


def key_text(kinds: tuple[Any, ...]) -> str:
    """The same for other processes: types by name, with their fields."""
    return repr([_named(each) for each in kinds])


def _named(kind: Any) -> Any:
    if isinstance(kind, type):
        return kind.__module__, kind.__qualname__, getattr(kind, "_fields", ())
    return repr(kind) if isinstance(kind, np.dtype) else kind
