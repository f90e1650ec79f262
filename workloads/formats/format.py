"""A number format: bits, blocks, and the DIMC mode that multiplies it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias, get_args, overload

import numpy as np

from corsair_common.units import Integers

Columns: TypeAlias = Literal["int4", "int8", "int16"]
COLUMN_MODES: tuple[Columns, ...] = get_args(Columns)
Scale: TypeAlias = Literal["", "e8m0", "e4m4"]

GROUP = 8
"""Neighbours of which a sparse format keeps some: the 8 of 4:8."""


class FormatError(ValueError):
    """A number format that does not exist, or numbers that it cannot hold."""

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
    scale: Scale = ""
    """What a block shares: a power of two, or an unsigned float of 4 exponent and 4 fraction bits;
    "" for nothing."""
    columns: Columns | None = None
    """The DIMC column mode that multiplies it; None where the matrix engine does not run it."""
    arithmetic: str = ""
    """The format that it is expanded to before it is multiplied; "" for itself."""
    kept: int = GROUP
    """Stored of every 8 neighbours, with a bit for each of the 8 that tells which: 8 for all."""

    @property
    def is_block(self) -> bool:
        """Integer mantissas under a shared scale; else every element is a float."""
        return self.scale != ""

    @property
    def is_sparse(self) -> bool:
        return self.kept < GROUP

    @property
    def bits_per_element(self) -> Fraction:
        """Exact, the shared bits spread over a full block."""
        stored = self.element_bits + Fraction(self.scale_bits, self.block)
        return stored * Fraction(self.kept, GROUP) + (1 if self.is_sparse else 0)

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
        return (self._bits(elements) + 7) // 8

    def matrix_bytes(self, k: int, n: int) -> int:
        """Whole bytes of a k x n matrix whose n columns are each cut into blocks along k."""
        if not (k >= 0 and n >= 0):
            raise FormatError(f"a matrix of {k} x {n} has no size")
        return (n * self._bits(k) + 7) // 8

    @overload
    def stored(self, elements: int) -> int: ...
    @overload
    def stored(self, elements: Integers) -> Integers: ...
    def stored(self, elements: int | Integers) -> int | Integers:
        """Elements that are stored of a run; a begun group of 8 keeps as many as it can."""
        if not self.is_sparse:
            return elements
        rest = elements % GROUP
        most = np.minimum(rest, self.kept) if isinstance(rest, np.ndarray) else min(rest, self.kept)
        return elements // GROUP * self.kept + most

    @overload
    def _bits(self, elements: int) -> int: ...
    @overload
    def _bits(self, elements: Integers) -> Integers: ...
    def _bits(self, elements: int | Integers) -> int | Integers:
        stored = self.stored(elements)
        blocks = -(-stored // self.block)
        bits = stored * self.element_bits + blocks * self.scale_bits
        return bits + elements if self.is_sparse else bits


def _check_counts(elements: Integers) -> None:
    if elements.dtype != np.int64:
        raise FormatError(f"elements must be int64, got {elements.dtype}")
    if elements.size and elements.min() < 0:
        raise FormatError(f"elements must be at least 0, got {elements.min()}")
