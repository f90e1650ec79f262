"""The table ``points`` of a sweep: identity, status, axes and metrics of each point."""

from collections.abc import Mapping, Sequence

from results.schema.column import Column, Table, TypeName, real, whole

POINT_STATUSES = ("completed", "infeasible", "failed", "skipped")
"""Statuses of a point: it ran; it cannot run (does not fit); invalid input or a crash; skipped."""


def _word(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name=name, type="string", unit="", meaning=meaning, nullable=nullable)


IDENTITY = (
    whole("point", "", "Number of the point in its sweep, from 0."),
    _word("run_id", "Identity of the run's content; null if the input is invalid.", True),
    _word("reason", "Why it is not completed; null if it is.", True),
    real("seconds", "s", "Wall time of the point; null if it was not run.", True),
    _word("host", "Host that ran it; null if it was not run.", True),
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
