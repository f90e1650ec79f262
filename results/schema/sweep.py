"""The table ``points`` of a sweep: who a point is, what became of it, its axes, its metrics."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from results.schema.column import Column, Table, TypeName, real, whole

NotRun: TypeAlias = Literal["infeasible", "failed"]
Ended: TypeAlias = Literal["completed"] | NotRun
PointStatus: TypeAlias = Ended | Literal["skipped"]

POINT_STATUSES: tuple[PointStatus, ...] = ("completed", *get_args(NotRun), "skipped")
"""Of a point: it ran; it cannot run (does not fit); its input is wrong or it died; left out."""


def _word(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="string", unit="", meaning=meaning, nullable=nullable)


IDENTITY = (
    whole("point", "", "Number of the point in its sweep, from 0."),
    _word("run_id", "Identity of the run's content; null where the input is wrong.", True),
    _word("reason", "Why it is not completed; null where it is.", True),
    real("seconds", "s", "Wall time that the point took; null where nothing was run.", True),
    _word("host", "Machine that ran it; null where nothing was run.", True),
)
"""Columns before the axes. ``status`` is in the folder's name: ``status=completed``."""

SPECIAL = ("run_id", "model_version")
"""Columns of a run's summary that points do not repeat as metrics."""


def sweep_table(axes: Mapping[str, TypeName], metrics: Sequence[Column]) -> Table:
    """The table of one sweep: ``axes`` are dotted paths of the scenario with their types."""
    return Table(
        name="points",
        meaning="One row per point of a sweep: its axes as dotted paths of the scenario, then the"
        " summary of its run.",
        columns=(
            *IDENTITY,
            *(
                Column(name=path, type=type_, unit="", meaning="Axis of the sweep.", nullable=True)
                for path, type_ in axes.items()
            ),
            *(
                Column(
                    name=metric.name,
                    type="string" if metric.type == "category" else metric.type,
                    unit=metric.unit,
                    meaning=metric.meaning,
                    nullable=True,
                )
                for metric in metrics
            ),
        ),
    )
