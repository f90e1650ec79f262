"""Link loads on the drawn topology, and the busiest links as bars."""

from typing import Any

import numpy as np

from corsair_common.units import Floats
from results.api import Run
from results.errors import ResultsError
from results.figures.series import codes, numbers, words
from results.figures.theme import WIDTH, altair, finished, plot, zoomable

WARM = ("#dddddd", "#e6c35c", "#d55e00", "#7a0403")
"""From low to high load: grey to dark red."""
SHOWN = 15
"""Links of the bar chart."""
DOTS = {
    "card": ("card", "#0072b2", "square"),
    "pcie_switch": ("PCIe switch", "#d55e00", "diamond"),
    "host": ("host", "#999999", "triangle-up"),
    "nic": ("NIC", "#56b4e9", "circle"),
    "leaf": ("leaf switch", "#009e73", "triangle-down"),
    "spine": ("spine switch", "#cc79a7", "cross"),
}
"""Drawn nodes with their names, colour and shape; boxes around them are left out."""


def link_use(run: Run) -> tuple[list[str], list[str], Floats, Floats, Floats]:
    """Names, kinds, [link] mean and highest utilisation over the run's bins, and bytes."""
    link = codes(run, "links", "link")
    if not len(link):
        raise ResultsError(f"{run.path}: no link carried traffic in this run")
    ids, first, where = np.unique(link, return_index=True, return_inverse=True)
    length = numbers(run, "links", "end_s") - numbers(run, "links", "start_s")
    busy = np.bincount(where, numbers(run, "links", "busy_s"))
    whole = np.bincount(where, length)
    most = np.zeros(len(ids))
    np.maximum.at(most, where, numbers(run, "links", "utilisation"))
    carried = np.bincount(where, numbers(run, "links", "bytes")).astype(np.float64)
    names = words(run, "links", "link_name")[first].tolist()
    kinds = words(run, "links", "kind")[first].tolist()
    return names, kinds, busy / np.maximum(whole, 1e-30), most, carried


def hot_links(run: Run) -> Any:
    """The busiest links: mean over the run as a bar, the busiest time bin as a tick."""
    names, kinds, mean, most, carried = link_use(run)
    order = np.argsort(-mean, kind="stable")[:SHOWN]
    rows = [
        {
            "link": names[i],
            "kind": kinds[i],
            "mean": float(mean[i]),
            "most": float(most[i]),
            "gigabytes": float(carried[i]) / 1e9,
        }
        for i in order
    ]
    plots = altair()
    y = plots.Y("link:N", sort=[row["link"] for row in rows], title=None)
    axis = plots.Axis(format="%")
    printed = [
        "link:N",
        "kind:N",
        plots.Tooltip("mean:Q", format=".2%"),
        plots.Tooltip("most:Q", format=".2%", title="busiest bin"),
        plots.Tooltip("gigabytes:Q", format=",.4~g", title="GB"),
    ]
    bars = plot(rows).mark_bar(color="#0072b2")
    bars = bars.encode(x=plots.X("mean:Q", title="utilisation", axis=axis), y=y, tooltip=printed)
    ticks = (
        plot(rows).mark_tick(color="#d55e00", thickness=3).encode(x="most:Q", y=y, tooltip=printed)
    )
    chart = plots.layer(bars, ticks).properties(width=WIDTH, height=plots.Step(20))
    return finished(chart, "The busiest links", "bar: mean over the run; tick: busiest time bin")


def link_map(run: Run) -> Any:
    """The topology with each link in the colour of its load; busy links are wide and bright."""
    names, _, mean, most, _ = link_use(run)
    load = {name: (float(mean[i]), float(most[i])) for i, name in enumerate(names)}
    places = _places(run)
    ends = zip(words(run, "edges", "src"), words(run, "edges", "dst"), strict=True)
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for src, dst in ends:
        if src not in places or dst not in places:
            continue
        here = load.get(f"{src}>{dst}", (0.0, 0.0))
        known = lines.get((dst, src))
        if known is None or here[0] > known["mean"]:  # of two directions, the busier is drawn
            lines.pop((dst, src), None)
            (x, y, _), (x2, y2, _) = places[src], places[dst]
            spot = {"x": x, "y": y, "x2": x2, "y2": y2}
            lines[src, dst] = {"link": f"{src}>{dst}", "mean": here[0], "most": here[1], **spot}
    if not lines:
        raise ResultsError(f"{run.path}: the topology has no links between drawable nodes")
    rows = sorted(lines.values(), key=lambda row: float(row["mean"]))  # the busiest on top
    return _drawn(rows, places)


def _places(run: Run) -> dict[str, tuple[float, float, str]]:
    """Position and kind of each node."""
    x, y = numbers(run, "nodes", "x"), numbers(run, "nodes", "y")
    named = zip(words(run, "nodes", "name"), words(run, "nodes", "kind"), strict=True)
    return {
        str(name): (float(x[i]), float(y[i]), DOTS[kind][0])
        for i, (name, kind) in enumerate(named)
        if kind in DOTS and np.isfinite(x[i]) and np.isfinite(y[i])
    }


def _drawn(rows: list[dict[str, Any]], places: dict[str, tuple[float, float, str]]) -> Any:
    plots = altair()
    axes = {
        "x": plots.X("x:Q", axis=None, scale=plots.Scale(zero=False, nice=False, padding=16)),
        "y": plots.Y("y:Q", axis=None, scale=plots.Scale(zero=False, nice=False, padding=16)),
    }
    hottest = max(1e-6, *(row["mean"] for row in rows))
    heat = plots.Scale(range=list(WARM), domain=[0, hottest / 3, 2 * hottest / 3, hottest])
    legend = plots.Legend(format="%", gradientLength=110)
    widest = max(1.5, min(6.0, 300.0 / len(places)))  # cables of a pod stay apart
    lines = plot(rows).mark_rule()
    lines = lines.encode(
        **axes,
        x2="x2",
        y2="y2",
        color=plots.Color("mean:Q", title="utilisation", scale=heat, legend=legend),
        strokeWidth=plots.StrokeWidth(
            "mean:Q", scale=plots.Scale(domain=[0, hottest], range=[1, widest]), legend=None
        ),
        tooltip=[
            "link:N",
            plots.Tooltip("mean:Q", format=".2%", title="utilisation, mean"),
            plots.Tooltip("most:Q", format=".2%", title="in the busiest bin"),
        ],
    )
    dots = [{"name": name, "x": x, "y": y, "kind": kind} for name, (x, y, kind) in places.items()]
    known = [dot for dot in DOTS.values() if any(row["kind"] == dot[0] for row in dots)]
    kinds, shades, shapes = (list(column) for column in zip(*known, strict=True))
    size = max(12.0, min(130.0, 6000.0 / len(dots)))
    points = plot(dots).mark_point(filled=True, size=size, opacity=1.0)
    points = points.encode(
        **axes,
        color=plots.Color("kind:N", title="node", scale=plots.Scale(domain=kinds, range=shades)),
        shape=plots.Shape("kind:N", title="node", scale=plots.Scale(domain=kinds, range=shapes)),
        tooltip=["name:N", "kind:N"],
    )
    chart = plots.layer(zoomable(lines, "x", "y"), points).resolve_scale(
        color="independent", shape="independent"
    )
    wide = max(x for x, _, _ in places.values()) - min(x for x, _, _ in places.values())
    tall = max(y for _, y, _ in places.values()) - min(y for _, y, _ in places.values())
    height = min(420.0, max(200.0, WIDTH * tall / max(wide, 1e-9)))
    chart = chart.properties(width=WIDTH, height=height)
    return finished(chart, "Link utilisation", "busier direction of each link, mean over the run")
