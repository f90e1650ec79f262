"""Every column of every output table: name, type, unit, meaning. The only declaration of columns.

No pyarrow here: a column's type is Arrow's own name for it (``category`` is dictionary<string>,
``strings`` a list of them), and ``results.arrow`` turns the declarations into Arrow schemas.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from results.devices import DEVICES, DIMC, Device
from results.schema.column import FACILITY_PARTS, Column, Table, TypeName
from results.schema.map import EDGES, LINKS, NODES
from results.schema.replay import (
    OPS,
    OTHER_CAUSES,
    STEP_TIMES,
    card_times_table,
    critical_table,
    replay_table,
)
from results.schema.serving import (
    LATENCY_SHARES,
    METRICS,
    PERCENTILES,
    REQUESTS,
    STATUSES,
    cards_table,
    latency_breakdown_table,
    placement_table,
    steps_table,
    summary_statistics,
    summary_table,
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


@cache
def run_tables(device: Device) -> Mapping[str, Table]:
    """By name, the tables of a run on this device: columns follow its bounds, parts and memories.

    Of ``results.devices.described``, where bounds and parts are at hand by their names.
    """
    serving = (
        *(REQUESTS, latency_breakdown_table(device), summary_table(device), steps_table(device)),
        cards_table(device),
        *(LINKS, NODES, EDGES, placement_table(device)),
    )
    replayed = (
        OPS,
        replay_table(device),
        critical_table(device),
        STEP_TIMES,
        card_times_table(device),
    )
    return MappingProxyType({table.name: table for table in (*serving, *replayed)})


TABLES: Mapping[str, Table] = run_tables(DIMC)
"""Of a run on DIMC cards, and of a replay on a plain network."""


def every_metric() -> Iterator[Column]:
    """The columns of a run's numbers on any kind of device, each name once."""
    found: dict[str, Column] = {}
    for name in ("summary", "replay"):
        for device in DEVICES:
            for column in run_tables(device)[name].columns:
                found.setdefault(column.name, column)
    yield from found.values()


__all__ = [
    "CANDIDATES",
    "FACILITY_PARTS",
    "LATENCY_SHARES",
    "METRICS",
    "OPS",
    "OTHER_CAUSES",
    "PERCENTILES",
    "POINT_STATUSES",
    "SCHEMA_VERSION",
    "SPECIAL",
    "STATUSES",
    "TABLES",
    "Column",
    "Ended",
    "NotRun",
    "PointStatus",
    "Table",
    "TypeName",
    "every_metric",
    "run_tables",
    "summary_statistics",
    "sweep_table",
]
