"""Energy by part."""

from typing import Any

from results.api import Run
from results.errors import ResultsError
from results.figures.theme import WIDTH, altair, finished, plot
from results.summary import flatten


def energy_by_part(run: Run) -> Any:
    """Share of the energy by part of the hardware."""
    summary = flatten(run.summary)
    shares = {
        key.partition(".")[2]: value
        for key, value in summary.items()
        if key.startswith("energy_share.") and isinstance(value, int | float) and value > 0
    }
    if not shares:
        raise ResultsError(f"{run.path}: this run has no energy")
    total = _number(summary.get("energy_j"))
    per_token = _number(summary.get("joules_per_output_token"))
    rows = [
        {"part": part, "share": share, "joules": None if total is None else share * total}
        for part, share in sorted(shares.items(), key=lambda one: -float(one[1]))
    ]
    plots = altair()
    chart = (
        plot(rows)
        .mark_bar(color="#009e73")
        .encode(
            y=plots.Y("part:N", sort=[row["part"] for row in rows], title=None),
            x=plots.X(
                "share:Q", title="share of the energy", axis=plots.Axis(format="%", tickCount=6)
            ),
            tooltip=[
                "part:N",
                plots.Tooltip("share:Q", format=".1%"),
                plots.Tooltip("joules:Q", format=",.4~g", title="J"),
            ],
        )
        .properties(width=WIDTH, height=plots.Step(22))
    )
    said = f"{per_token:.3g} J per output token" if per_token is not None else ""
    return finished(chart, "Energy by part", said)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
