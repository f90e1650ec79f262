"""A number format: bits, blocks, and the DIMC mode that multiplies it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias, get_args, overload

import numpy as np

from corsair_common.units import Integers

Columns: TypeAlias = Literal["int4", "int8", "int16"]
COLUMN_MODES: tuple[Columns, ...] = get_args(Columns)
Scale: TypeAlias = Literal["", "e8m0", "e4m4", "e4m3"]

GROUP = 8
"""Neighbours of which a sparse format keeps some: the 8 of 4:8."""
_WHOLE = ("element_bits", "mantissa_bits", "block", "scale_bits", "kept")
_SCALE_BITS = 8
_INTEGER_BITS = (2, 16)
"""Least and most of an integer element; with the sign alone every number would be 0."""
_EXPONENT_BITS = (2, 8)
_FRACTION_BITS = (1, 23)
"""Least and most of a float element; the widest is float32."""


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
    """All ``element_bits`` of a signed integer; the stored fraction bits of a float."""
    block: int = 1
    """Neighbours along the contraction that share a scale; 1 where nothing is shared."""
    scale_bits: int = 0
    """Shared by a block."""
    scale: Scale = ""
    """What a block shares: a power of two (e8m0), an unsigned float of 4 exponent and 4 fraction
    bits, or an E4M3 under one float32 for the whole array; "" for nothing."""
    columns: Columns | None = None
    """The DIMC column mode that multiplies it; None where the matrix engine does not run it."""
    arithmetic: str = ""
    """The format that it is expanded to before it is multiplied; "" for itself."""
    kept: int = GROUP
    """Stored of every 8 neighbours, with a bit for each of the 8 that tells which: 8 for all."""

    def __post_init__(self) -> None:
        """Refuse what no array can be stored in.

        Raises
        ------
        FormatError
            All that is wrong with the format.
        """
        breaches = _breaches(self)
        if breaches:
            raise FormatError(f"number format {self.name!r} makes no sense: {'; '.join(breaches)}")

    @property
    def is_block(self) -> bool:
        """Elements under a shared scale; else every element is a float on its own."""
        return self.scale != ""

    @property
    def is_integer(self) -> bool:
        """Whether elements are signed integers; else sign, exponent and fraction."""
        return self.mantissa_bits == self.element_bits

    @property
    def exponent_bits(self) -> int:
        """Of a float element, whose sign takes one bit; none of an integer."""
        return 0 if self.is_integer else self.element_bits - 1 - self.mantissa_bits

    @property
    def element(self) -> str:
        """What one element is: ``int8``, ``e2m1``."""
        if self.is_integer:
            return f"int{self.element_bits}"
        return f"e{self.exponent_bits}m{self.mantissa_bits}"

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


def _breaches(item: Format) -> list[str]:
    """All that is wrong with it; nothing where it makes sense."""
    wrong = [
        f"{field} must be a whole number, got {getattr(item, field)!r}"
        for field in _WHOLE
        if type(getattr(item, field)) is not int
    ]
    if wrong:
        return wrong
    return [*_name(item), *_element(item), *_shared(item), *_use(item)]


def _name(item: Format) -> list[str]:
    if isinstance(item.name, str) and item.name.strip():
        return []
    return ["it needs a name"]


def _element(item: Format) -> list[str]:
    if item.is_integer:
        if not item.is_block:
            return [f"integers of {item.element_bits} bits need a scale that a block shares"]
        return _outside("element_bits of integers", item.element_bits, _INTEGER_BITS)
    return [
        *_outside("mantissa_bits of floats", item.mantissa_bits, _FRACTION_BITS),
        *_outside(
            f"exponent bits ({item.element_bits} - 1 - {item.mantissa_bits})",
            item.exponent_bits,
            _EXPONENT_BITS,
        ),
    ]


def _outside(what: str, value: int, bounds: tuple[int, int]) -> list[str]:
    low, high = bounds
    return [] if low <= value <= high else [f"{what} must be {low} to {high}, got {value}"]


def _shared(item: Format) -> list[str]:
    if item.scale not in get_args(Scale):
        known = ", ".join(repr(scale) for scale in get_args(Scale))
        return [f"scale must be one of {known}, got {item.scale!r}"]
    if not item.is_block:
        shared = {"block": 1, "scale_bits": 0}
        return [
            f"{field} must be {value} without a scale, got {getattr(item, field)}"
            for field, value in shared.items()
            if getattr(item, field) != value
        ]
    breaches = []
    if item.block < 2:
        breaches.append(f"a scale is shared by a block of at least 2, got {item.block}")
    if item.scale_bits != _SCALE_BITS:
        breaches.append(f"scale_bits of {item.scale} must be {_SCALE_BITS}, got {item.scale_bits}")
    if item.scale == "e4m4" and item.element != "int4":
        breaches.append(f"under e4m4 elements are int4, got {item.element}")
    if item.scale == "e4m3" and item.is_integer:
        breaches.append(f"under e4m3 elements are floats, got {item.element}")
    return breaches


def _use(item: Format) -> list[str]:
    breaches = []
    if item.kept < 1 or GROUP % item.kept:
        breaches.append(f"kept must be 1, 2, 4 or 8 of {GROUP}, got {item.kept}")
    if item.columns not in (None, *get_args(Columns)):
        breaches.append(f"columns must be int4, int8, int16 or None, got {item.columns!r}")
    if item.arithmetic and item.columns is None:
        breaches.append(f"it is multiplied as {item.arithmetic}, but in no columns")
    return breaches
