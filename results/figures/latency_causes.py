"""Latency by cause."""

from typing import Any

import numpy as np

from results.api import Run
from results.causes import causes_of
from results.errors import ResultsError
from results.figures.series import numbers
from results.figures.theme import WIDTH, altair, finished, plot

SLOWEST = 99.0
"""Percentile from which on requests are the slowest."""
LABEL = 320
"""Longest label of the legend, in pixels."""
LEAST = 0.001
"""Share below which a cause is not drawn."""


def latency_by_cause(run: Run) -> Any:
    """Mean latency, mean TTFT and TTFT of the slowest hundredth by cause, in milliseconds."""
    if "latency_breakdown" not in run.tables:
        raise ResultsError(f"{run.path}: the latencies of this run are not split by cause")
    e2e_s, ttft_s = (numbers(run, "requests", name) for name in ("e2e_s", "ttft_s"))
    done = np.isfinite(e2e_s) & np.isfinite(ttft_s)
    if not done.any():
        raise ResultsError(f"{run.path}: no request was completed, so no latency can be drawn")
    slowest = done & (ttft_s >= np.percentile(ttft_s[done], SLOWEST))
    bars = (
        ("mean latency", "", done, e2e_s),
        ("mean TTFT", "ttft_", done, ttft_s),
        ("TTFT, slowest 1 %", "ttft_", slowest, ttft_s),
    )
    causes, rows = list(causes_of(run.device)), []
    for name, before, which, whole_s in bars:
        whole_ms = 1e3 * float(whole_s[which].mean())
        for place, cause in enumerate(causes):
            own = numbers(run, "latency_breakdown", f"{before}{cause.name}_s")[which]
            ms = 1e3 * float(np.nan_to_num(own).mean())
            if ms >= LEAST * whole_ms:
                rows.append({"bar": name, "cause": cause.label, "ms": ms, "place": place})
    return _stacked(rows, [bar[0] for bar in bars], causes)


def _stacked(rows: list[dict[str, Any]], bars: list[str], causes: list[Any]) -> Any:
    plots, drawn = altair(), {row["cause"] for row in rows}
    shown = [cause for cause in causes if cause.label in drawn]
    scale = plots.Scale(
        domain=[cause.label for cause in shown], range=[cause.colour for cause in shown]
    )
    panels = [
        plot([row for row in rows if row["bar"] == bar])
        .mark_bar()
        .encode(
            y=plots.Y("bar:N", title=None, axis=plots.Axis(minExtent=110)),
            x=plots.X("ms:Q", title="ms" if bar == bars[-1] else None, stack=True),
            color=plots.Color(
                "cause:N", title="cause", scale=scale, legend=plots.Legend(labelLimit=LABEL)
            ),
            order="place:Q",
            tooltip=["cause:N", plots.Tooltip("ms:Q", format=",.4~g")],
        )
        .properties(width=WIDTH, height=plots.Step(34))
        for bar in bars
    ]
    return finished(plots.vconcat(*panels, spacing=6), "Latency by cause")
