"""Figures of number formats: block sizes, and one pair of formats against another."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.figures.theme import altair, colour, finished, plot

_WIDTH, _HEIGHT = 330, 240
_BATCHES = [2**power for power in range(9)]


def block_sizes(rows: Sequence[Mapping[str, Any]]) -> Any:
    """SQNR by block size; a panel for each width of mantissas.

    ``rows`` hold ``bits``, ``block``, ``series``, ``sqnr_db``, and ``dots``: whether it is a
    measured dot, or on a line.
    """
    plots = altair()
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    panels = []
    for bits in dict.fromkeys(row["bits"] for row in rows):
        own = [row for row in rows if row["bits"] == bits]
        place = {
            "x": plots.X("block:O", title="block, elements", axis=plots.Axis(labelAngle=0)),
            "y": plots.Y("sqnr_db:Q", title="SQNR, dB", scale=plots.Scale(zero=False)),
            "color": _series(names),
        }
        lines = plot(row for row in own if not row["dots"]).mark_line(strokeWidth=1.5)
        dots = plot(row for row in own if row["dots"]).mark_point(size=55, filled=True)
        panels.append(
            plots.layer(
                lines.encode(**place),
                dots.encode(**place, shape=plots.Shape("series:N", sort=names, legend=None)),
            ).properties(width=_WIDTH, height=_HEIGHT, title=f"{bits}-bit mantissas")
        )
    return finished(
        plots.concat(*panels, columns=2),
        "SQNR by block size",
        "lines: closed form (with outliers: between the dots); dots: measured",
    )


def by_batch(rows: Sequence[Mapping[str, Any]], title: str, subtitle: str = "") -> Any:
    """Quantities by batch, both on logarithmic scales; a panel for each quantity.

    ``rows`` hold ``panel`` (the quantity and its unit), ``series``, ``batch`` and ``value``.
    """
    plots = altair()
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    panels = []
    for panel in dict.fromkeys(str(row["panel"]) for row in rows):
        chart = plot(row for row in rows if row["panel"] == panel).encode(
            x=plots.X(
                "batch:Q",
                title="batch",
                scale=plots.Scale(type="log", base=2),
                axis=plots.Axis(values=_BATCHES, format="d"),
            ),
            y=plots.Y(
                "value:Q",
                title=panel,
                scale=plots.Scale(type="log"),
                axis=plots.Axis(tickCount=5, format="~s"),
            ),
            color=_series(names),
        )
        lines = chart.mark_line(strokeWidth=1.5)
        dots = chart.mark_point(size=35, filled=True).encode(
            shape=plots.Shape("series:N", sort=names, legend=None)
        )
        panels.append(plots.layer(lines, dots).properties(width=_WIDTH, height=_HEIGHT))
    return finished(plots.concat(*panels, columns=2), title, subtitle)


def _series(names: list[str]) -> Any:
    legend = altair().Legend(title=None, orient="bottom", columns=3, labelLimit=400)
    return colour("", names).legend(legend)
