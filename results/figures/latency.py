"""Distributions of latencies, and latency over time with the queue."""

from typing import Any

import numpy as np

from corsair_common.units import Floats
from results.api import Run
from results.errors import ResultsError
from results.figures.series import count_at, numbers, percentiles_by_bin, quantiles, time_edges
from results.figures.theme import (
    HEIGHT,
    WIDTH,
    altair,
    colour,
    finished,
    over_time,
    plot,
    stacked,
    zoomable,
)

LATENCIES = (
    ("TTFT", "ttft_s", "ttft_s"),
    ("TPOT", "tpot_s", "tpot_s"),
    ("end to end", "e2e_s", "e2e_s"),
    ("queueing", "queue_s", None),
)
"""Name, column of requests, and key of the SLO that bounds it."""
LEAST_MS = 0.01
"""Lower limit of a logarithmic axis; smaller values are drawn there."""
LEAST_SHARE = 0.01
"""Start of the lines: the fastest few requests would only stretch the axis."""


def latency_cdf(run: Run) -> Any:
    """Cumulative distribution of requests by latency in milliseconds."""
    rows = []
    for name, column, _ in LATENCIES:
        shares, values = quantiles(numbers(run, "requests", column))
        rows += [
            {"series": name, "ms": max(LEAST_MS, 1e3 * value), "share": share}
            for share, value in zip(shares.tolist(), values.tolist(), strict=False)
            if share >= LEAST_SHARE
        ]
    if not rows:
        raise ResultsError(f"{run.path}: no request was completed, so no latency can be drawn")
    plots = altair()
    lines = (
        plot(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=plots.X("ms:Q", title="latency, ms", scale=plots.Scale(type="log")),
            y=plots.Y("share:Q", title="share of requests", axis=plots.Axis(format="%")),
            color=colour("latency", [name for name, _, _ in LATENCIES]),
            order="share:Q",
            tooltip=["series:N", _number("ms:Q", "ms"), plots.Tooltip("share:Q", format=".1%")],
        )
    )
    slo = _objectives(run)
    chart = plots.layer(zoomable(lines, "x"), *slo).properties(width=WIDTH, height=HEIGHT)
    said = ["dashed: the SLO"] if slo else []
    if any(row["ms"] == LEAST_MS for row in rows):
        said.append(f"values below {LEAST_MS} ms are drawn there")
    return finished(chart, "Distribution of latencies", "; ".join(said))


def _objectives(run: Run) -> list[Any]:
    slo = run.manifest["scenario"].get("slo") or {}
    rows = [
        {"series": name, "ms": 1e3 * slo[key]}
        for name, _, key in LATENCIES
        if key is not None and slo.get(key) is not None
    ]
    if not rows:
        return []
    names = [name for name, _, _ in LATENCIES]
    rules = plot(rows).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    return [rules.encode(x="ms:Q", color=colour("latency", names))]


def latency_over_time(run: Run) -> Any:
    """TTFT and TPOT of the requests by arrival, above the queue length."""
    edges = time_edges(run)
    arrival = numbers(run, "requests", "arrival_s")
    middle = (edges[:-1] + edges[1:]) / 2
    panels = []
    for name, column in (("TTFT", "ttft_s"), ("TPOT", "tpot_s")):
        found = 1e3 * percentiles_by_bin(
            numbers(run, "requests", column), arrival, edges, (50.0, 99.0)
        )
        rows = [
            {"s": at, "value": value, "series": series}
            for index, series in enumerate(("median", "99th percentile"))
            for at, value in zip(middle.tolist(), found[:, index].tolist(), strict=True)
            if np.isfinite(value)
        ]
        panels.append(over_time(rows, f"{name}, ms", legend="of arrivals"))
    panels.append(over_time(_queue(run, edges), "requests", legend="that are"))
    return stacked(panels, "Latency and queue over time")


def _queue(run: Run, edges: Floats) -> list[dict[str, Any]]:
    """Requests waiting and in the system at each edge."""
    times = {
        name: count_at(numbers(run, "requests", name), edges)
        for name in ("first_scheduled_s", "finish_s")
    }
    status = run.table("requests")["status"].to_numpy(zero_copy_only=False)
    taken = np.where(status == "completed", numbers(run, "requests", "arrival_s"), np.nan)
    arrived = count_at(taken, edges)
    series = {
        "waiting": arrived - times["first_scheduled_s"],
        "being served": times["first_scheduled_s"] - times["finish_s"],
    }
    return [
        {"s": at, "value": value, "series": name}
        for name, values in series.items()
        for at, value in zip(edges.tolist(), values.tolist(), strict=True)
    ]


def _number(field: str, title: str) -> Any:
    return altair().Tooltip(field, title=title, format=",.4~g")
