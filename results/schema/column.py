"""Types of columns and tables, and the columns that tables share."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FACILITY_PARTS = ("cards", "nics", "pcie_switches", "hosts", "leaves", "spines", "cooling")
"""Consumers of power in the whole facility."""

TypeName: TypeAlias = Literal["int32", "int64", "float64", "bool", "string", "category", "strings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of one table."""

    name: str
    type: TypeName
    unit: str
    """SI unit, or the things counted; empty for names and codes."""
    meaning: str
    nullable: bool = False
    categories: tuple[str, ...] = ()
    """If set, an integer array is a column of positions in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One Parquet file of a run."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    rows_per_group: int = 131_072
    """Of a row group. Readers of a few cards want them small, all others large."""
    distinct: tuple[str, ...] = ()
    """Numbers that hardly repeat: they are split or taken as differences before compression."""


def whole(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    """A column of whole numbers."""
    return Column(name=name, type="int64", unit=unit, meaning=meaning, nullable=nullable)


def index(name: str, meaning: str, nullable: bool = False) -> Column:
    """A column of positions and codes."""
    return Column(name=name, type="int32", unit="", meaning=meaning, nullable=nullable)


def real(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    """A column of float64."""
    return Column(name=name, type="float64", unit=unit, meaning=meaning, nullable=nullable)


def word(
    name: str, meaning: str, categories: tuple[str, ...] = (), nullable: bool = False
) -> Column:
    """A column of words with a dictionary."""
    return Column(
        name=name,
        type="category",
        unit="",
        meaning=meaning,
        categories=categories,
        nullable=nullable,
    )


CARD_ROWS = 16_384
"""Rows of a group in tables with many rows of each card."""

BIN = (
    index("bin", "Position of the time bin, from 0."),
    real("start_s", "s", "Start of the bin."),
    real("end_s", "s", "End of the bin."),
)
"""Of tables with a row per time bin."""

CARD = (
    index("card", "Position of the card, from 0."),
    word("card_name", "Name of the card in the topology."),
    index("server", "Server of the card."),
)
"""Of tables with a row per card, or several."""

RUN = (
    Column(name="run_id", type="string", unit="", meaning="Identity of the run's content."),
    whole("model_version", "", "Version of the hardware model."),
)
"""Of summary tables with one row."""
