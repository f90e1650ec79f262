"""Number formats: how many bits an element costs, exactly, and which DIMC mode multiplies it.

Block formats share one exponent or scale among ``block`` neighbours along the contraction. Their
bits follow the vendor's published compressor (BFP16_64 is 8-bit mantissas under an 8-bit exponent
per 64, so 8.125 bits; "MXINT8" is the same arithmetic at block 64, and MXINT4 and MXINT16 are the
vendor's words, not OCP's). The matrix engine runs 4-, 8- and 16-bit integers and no floats.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import ClassVar, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

Columns: TypeAlias = Literal["int4", "int8", "int16"]
Integers: TypeAlias = npt.NDArray[np.int64]


class FormatError(ValueError):
    """A number format that does not exist, or an amount that it cannot hold."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a number down."""

    name: str
    element_bits: int
    """Stored for each element, shared parts left out."""
    mantissa_bits: int
    """Signed integer mantissa of a block format; stored fraction bits of a float."""
    block: int = 1
    """Neighbours along the contraction that share a scale; 1 where nothing is shared."""
    scale_bits: int = 0
    """Shared by a block."""
    columns: Columns | None = None
    """The DIMC column mode that multiplies it; None where the matrix engine does not run it."""
    arithmetic: str = ""
    """The format that it is expanded to before it is multiplied; "" for itself."""

    @property
    def bits_per_element(self) -> Fraction:
        """Exact, the shared bits spread over a full block."""
        return self.element_bits + Fraction(self.scale_bits, self.block)

    @overload
    def bytes_of(self, elements: int) -> int: ...
    @overload
    def bytes_of(self, elements: Integers) -> Integers: ...
    def bytes_of(self, elements: int | Integers) -> int | Integers:
        """Whole bytes of a run of elements; a begun block pays its whole scale.

        Takes a whole number or an int64 array of any shape, none negative; an array's answers
        must stay below 2^63 bits.
        """
        if isinstance(elements, np.ndarray):
            _check_counts(elements)
        elif not (isinstance(elements, int) and elements >= 0):
            raise FormatError(f"elements must be a whole number of at least 0, got {elements!r}")
        blocks = -(-elements // self.block)
        return (elements * self.element_bits + blocks * self.scale_bits + 7) // 8

    def matrix_bytes(self, k: int, n: int) -> int:
        """Whole bytes of a k x n matrix whose n columns are each cut into blocks along k."""
        if not (k >= 0 and n >= 0):
            raise FormatError(f"a matrix of {k} x {n} has no size")
        column_bits = k * self.element_bits + -(-k // self.block) * self.scale_bits
        return (n * column_bits + 7) // 8


def _check_counts(elements: Integers) -> None:
    if elements.dtype != np.int64:
        raise FormatError(f"elements must be int64, got {elements.dtype}")
    if elements.size and elements.min() < 0:
        raise FormatError(f"elements must be at least 0, got {elements.min()}")


def _block(name: str, bits: int, columns: Columns) -> Format:
    return Format(
        name=name, element_bits=bits, mantissa_bits=bits, block=64, scale_bits=8, columns=columns
    )


def _float(name: str, bits: int, fraction: int) -> Format:
    return Format(name=name, element_bits=bits, mantissa_bits=fraction)


_ALL = (
    _block("mxint4", 4, "int4"),
    _block("mxint8", 8, "int8"),
    _block("mxint16", 16, "int16"),
    _block("bfp12_64", 4, "int4"),
    _block("bfp16_64", 8, "int8"),
    _block("bfp24_64", 16, "int16"),
    # 4-bit mantissas under an unsigned 8-bit float per 16: compressed storage, expanded to 8 bits.
    Format(
        name="sbfp12_16",
        element_bits=4,
        mantissa_bits=4,
        block=16,
        scale_bits=8,
        columns="int8",
        arithmetic="bfp16_64",
    ),
    _float("fp8_e4m3", 8, 3),
    _float("fp8_e5m2", 8, 2),
    _float("fp16", 16, 10),
    _float("bf16", 16, 7),
    _float("fp32", 32, 23),
)

FORMATS: Mapping[str, Format] = MappingProxyType({item.name: item for item in _ALL})
"""Every format by its name."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "fp8": "fp8_e4m3",
        "float16": "fp16",
        "half": "fp16",
        "bfloat16": "bf16",
        "float32": "fp32",
        "mxint4_k64": "mxint4",
        "mxint8_k64": "mxint8",
        "mxint16_k64": "mxint16",
    }
)
"""Other words for them."""


def get_format(name: str) -> Format:
    """Return the format of that name (any case); refuse an unknown one with the nearest.

    >>> str(get_format("MXINT8").bits_per_element)
    '65/8'
    """
    word = name.strip().lower()
    word = ALIASES.get(word, word)
    if word in FORMATS:
        return FORMATS[word]
    near = difflib.get_close_matches(word, [*FORMATS, *ALIASES], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise FormatError(f"unknown number format {name!r}{hint} (there are {', '.join(FORMATS)})")
