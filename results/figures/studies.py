"""Figures over many runs: Pareto fronts, axes of a sweep, and sensitivity."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.errors import ResultsError
from results.figures.theme import WIDTH, altair, colour, finished, plot, zoomable
from results.schema import every_metric

UNITS = {column.name: column.unit for column in every_metric()}
SHORT = ("ttft", "tpot", "itl", "e2el", "kv", "slo", "usd")
"""Words in capitals."""
MOST_LABELS = 10
"""Most fields shown on hover."""
LETTERS = 70
"""Most labels side by side under an axis."""
USER, CARD = "output_tokens_per_s_per_user", "output_tokens_per_s_per_card"


def pareto(
    points: Sequence[Mapping[str, Any]],
    *,
    x: str = USER,
    y: str = CARD,
    series: str | None = None,
) -> Any:
    """Points of a sweep or candidates of a plan, with their Pareto front.

    ``x`` and ``y`` are keys of the points, more of either being better; ``series`` is the key
    that colours them. Points that lack a number are left out.
    """
    chosen = [point for point in points if _is_number(point.get(x)) and _is_number(point.get(y))]
    if not chosen:
        raise ResultsError(f"no point has both {x} and {y}")
    printed = _labels(chosen)
    known: list[dict[str, Any]] = [
        {
            **{name.replace(".", " "): point.get(name) for name in printed},
            "x": float(point[x]),
            "y": float(point[y]),
            "series": _word(point, series),
        }
        for point in chosen
    ]
    front = front_of(known)
    plots = altair()
    axes = {
        "x": plots.X("x:Q", title=titled(x)),
        "y": plots.Y("y:Q", title=titled(y)),
    }
    words = [plots.Tooltip(f"{name.replace('.', ' ')}:N", title=name) for name in printed]
    places = [
        plots.Tooltip(f"{at}:Q", title=titled(key), format=",.4~g")
        for at, key in (("x", x), ("y", y))
    ]
    dots = plot(known).mark_circle(size=42, opacity=0.55)
    names = sorted({row["series"] for row in known}, key=_by_size)
    dots = dots.encode(**axes, color=colour(series or "", names), tooltip=[*places, *words])
    line = plot(front).mark_line(color="#333333", strokeWidth=1.5, interpolate="step-before")
    line = line.encode(**axes, order="x:Q")
    chart = plots.layer(line, zoomable(dots, "x", "y")).properties(width=WIDTH, height=360)
    return finished(chart, "Pareto front", f"line: Pareto front; {len(known)} points")


def front_of(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The Pareto front: points that no other point dominates in ``x`` and ``y``.

    Examples
    --------
    >>> [p["x"] for p in front_of([{"x": 1, "y": 3}, {"x": 2, "y": 2}, {"x": 1, "y": 1}])]
    [1, 2]
    """
    best, front = float("-inf"), []
    for point in sorted(points, key=lambda one: (-one["x"], -one["y"])):
        if point["y"] > best:
            best = point["y"]
            front.append(dict(point))
    return front[::-1]


def by_axis(points: Sequence[Mapping[str, Any]], axis: str, metric: str) -> Any:
    """A metric over the values of one axis: a dot per point, and the medians.

    A line goes through these where the values are numbers.
    """
    known = [
        {"at": point[axis], "value": float(point[metric])}
        for point in points
        if point.get(axis) is not None and _is_number(point.get(metric))
    ]
    if not known:
        raise ResultsError(f"no point has both {axis} and {metric}")
    plots = altair()
    numeric = all(_is_number(row["at"]) for row in known)
    order = sorted({row["at"] for row in known}) if numeric else None
    letters = sum(len(str(value)) + 2 for value in {row["at"] for row in known})
    upright = plots.Axis(labelAngle=0 if letters <= LETTERS else -45)
    x = plots.X("at:O", title=axis, sort=order, axis=upright)
    y = plots.Y("value:Q", title=titled(metric), scale=plots.Scale(zero=False))
    printed = [plots.Tooltip("at:N", title=axis), plots.Tooltip("value:Q", format=",.4~g")]
    dots = plot(known).mark_circle(size=36, opacity=0.5, color="#0072b2")
    dots = dots.encode(x=x, y=y, tooltip=printed)
    middle = plot(known)
    if numeric:
        middle = middle.mark_line(color="#d55e00", strokeWidth=2)
    else:  # there is no interval between two words
        middle = middle.mark_tick(color="#d55e00", thickness=3, size=36)
    middle = middle.encode(x=x, y=plots.Y("median(value):Q"))
    chart = plots.layer(dots, middle).properties(width=WIDTH - 160, height=200)
    return finished(
        chart, f"By {axis}", f"a dot per point; {'line' if numeric else 'tick'}: medians"
    )


def tornado(
    rows: Sequence[Mapping[str, Any]], *, metric: str = "mean_tpot_ms", most: int = 20
) -> Any:
    """A metric with each assumption at its low and at its high.

    ``rows`` hold ``figure``, ``low``, ``high`` (the metric there) and ``base`` (at the value); the
    widest come first.
    """
    known = [
        row for row in rows if all(_is_number(row.get(key)) for key in ("low", "high", "base"))
    ]
    if not known:
        raise ResultsError(f"no figure moves {metric}")
    known = sorted(known, key=lambda row: -abs(float(row["high"]) - float(row["low"])))[:most]
    base = float(known[0]["base"])
    bars = [
        {"figure": row["figure"], "from": base, "to": float(row[end]), "series": f"at its {end}"}
        for row in known
        for end in ("low", "high")
    ]
    plots = altair()
    whole = plots.Axis(labelLimit=330)
    y = plots.Y("figure:N", sort=[row["figure"] for row in known], title=None, axis=whole)
    chart = (
        plot(bars)
        .mark_bar(opacity=0.85)
        .encode(
            y=y,
            x=plots.X("from:Q", title=titled(metric), scale=plots.Scale(zero=False)),
            x2="to:Q",
            color=colour("figure", ["at its low", "at its high"]),
            tooltip=["figure:N", "series:N", plots.Tooltip("to:Q", format=",.4~g", title=metric)],
        )
        .properties(width=WIDTH - 100, height=plots.Step(20))
    )
    rule = plot([{"x": base}]).mark_rule(color="#333333").encode(x="x:Q")
    return finished(
        plots.layer(chart, rule), "Which assumption matters", f"line: {base:.4g} at the values"
    )


def titled(key: str) -> str:
    """The axis title of a metric, with its unit.

    Examples
    --------
    >>> titled("mean_tpot_ms"), titled("output_throughput"), titled("slo_attainment")
    ('mean TPOT, ms', 'output throughput, tokens/s', 'SLO attainment')
    """
    unit = UNITS.get(key, "")
    name = key.removesuffix(f"_{unit.lower()}")
    words = [word.upper() if word in SHORT else word for word in name.split("_")]
    return " ".join(words) + (f", {unit}" if unit not in ("", "1") and "per" not in words else "")


def _word(point: Mapping[str, Any], series: str | None) -> str:
    return "all" if series is None else str(point.get(series))


def _by_size(word: str) -> tuple[float, str]:
    """Numbers by value, then words."""
    try:
        return float(word), ""
    except ValueError:
        return float("inf"), word


def _labels(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fields of a point to show on hover: short words and integers, axes first."""
    names = {
        key: None
        for point in points
        for key, value in point.items()
        if isinstance(value, str | int) and "hash" not in key
    }
    return sorted(names, key=lambda name: "." not in name)[:MOST_LABELS]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
