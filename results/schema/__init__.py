"""Every column of every output table: name, type, unit, meaning. Declared here and nowhere else.

No pyarrow here: a column's type is Arrow's own name for it (``category`` is dictionary<string>,
``strings`` a list of them), and ``results.arrow`` turns the declarations into Arrow schemas.
"""

from collections.abc import Mapping
from types import MappingProxyType

from results.schema.column import BOUNDS, FACILITY_PARTS, Column, Table, TypeName
from results.schema.map import EDGES, LINKS, NODES
from results.schema.replay import CARD_TIMES, CAUSES, CRITICAL, OPS, REPLAY, STEP_TIMES
from results.schema.serving import (
    CARDS,
    METRICS,
    PERCENTILES,
    PLACEMENT,
    REQUESTS,
    STATUSES,
    STEPS,
    SUMMARY,
    summary_statistics,
)
from results.schema.sweep import (
    CANDIDATES,
    POINT_STATUSES,
    SPECIAL,
    Ended,
    NotRun,
    PointStatus,
    sweep_table,
)

SCHEMA_VERSION = 1
"""Raised when a column changes its name, type, unit or meaning."""

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            *(REQUESTS, SUMMARY, STEPS, CARDS, LINKS, NODES, EDGES, PLACEMENT),
            *(OPS, REPLAY, CRITICAL, STEP_TIMES, CARD_TIMES),
        )
    }
)

__all__ = [
    "BOUNDS",
    "CANDIDATES",
    "CAUSES",
    "FACILITY_PARTS",
    "METRICS",
    "PERCENTILES",
    "POINT_STATUSES",
    "SCHEMA_VERSION",
    "SPECIAL",
    "STATUSES",
    "STEPS",
    "SUMMARY",
    "TABLES",
    "Column",
    "Ended",
    "NotRun",
    "PointStatus",
    "Table",
    "TypeName",
    "summary_statistics",
    "sweep_table",
]
