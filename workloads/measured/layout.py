"""What a layout of measurements is: a name, and columns with type, unit and meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

SI: Mapping[str, float] = MappingProxyType(
    {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "GB/s": 1e9, "tokens": 1.0, "B": 1.0}
)
"""Factors of the units that columns may have."""

ColumnType = Literal["word", "count", "number", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a file has it.

    A count is a whole number of at least 0, and 0 where the cell is empty; a number is NaN there,
    a word empty, a flag false.
    """

    name: str
    meaning: str
    unit: str = ""
    type: ColumnType = "number"
    optional: bool = False
    """The file may lack the column; its values are then those of empty cells."""
    sparse: bool = False
    """Cells may be empty."""
    least: float = 0.0
    allowed: tuple[str, ...] = ()
    """The words that may stand here; any, where none are named."""

    @property
    def may_be_empty(self) -> bool:
        return self.sparse or self.optional


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns by which a file is recognised, whatever its name is."""

    name: str
    about: str
    columns: tuple[Column, ...]

    @property
    def needed(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if not column.optional)


word = partial(Column, type="word")
count = partial(Column, type="count")
number = partial(Column, type="number")
flag = partial(Column, type="flag")
