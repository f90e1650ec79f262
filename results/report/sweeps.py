"""The report of a sweep: best points, Pareto front, failed points with reasons, all points."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from results.default_dirs import SWEEPS
from results.errors import ResultsError, replacing
from results.figures.studies import CARD, USER, by_axis, pareto
from results.report.html import bullets, figure, number, page, table
from results.sweep import Sweep, open_sweep
from results.sweep_store import SWEEP

FAVOURITES = ("goodput", "output_throughput", "makespan_s")
"""Metrics for the ranking: the first with a value at any point is used."""
BESIDE = ("output_throughput", "mean_tpot_ms", "p99_ttft_ms", "slo_attainment", USER, CARD)
MOST_ROWS = 500
MOST_AXES, MOST_VALUES = 6, 30
MOST_REASONS = 8
NUMBERS = re.compile(r"\d[\d,.]*")
MOST_SERIES, MOST_COLUMNS = 8, 12
"""Most colours of a figure, and most axes that are named or have a column."""


def find_sweep(names: Sequence[str]) -> Sweep | None:
    """The sweep of a single name: a folder with a sweep, or a name in the default folder."""
    if len(names) != 1:
        return None
    for folder in (Path(names[0]), SWEEPS / names[0]):
        if (folder / SWEEP).is_file():
            return open_sweep(folder)
    return None


def write_sweep_report(sweep: Sweep, path: str | Path) -> Path:
    """Write the report of a sweep, atomically; the sweep may still be running."""
    target = Path(path)
    content = sweep_html(sweep).encode()
    with replacing(target) as file:
        file.write(content)
    return target


def verdict(sweep: Sweep) -> str:
    """The best point in a sentence."""
    metric = _favourite(sweep)
    best = sweep.best(metric) if metric else []
    if not best:
        return f"{sweep.name}: no point is completed"
    return (
        f"{sweep.name}: the best {metric} is {number(best[0][metric])}, at "
        f"{_setting(sweep, best[0])}"
    )


def sweep_html(sweep: Sweep) -> str:
    """The page."""
    rows = [row for row in sweep.points.to_pylist() if row["status"] == "completed"]
    parts = [
        f"<h1>{escape(sweep.name)}</h1>",
        f'<p class="soft">{sweep.total:,} points over {escape(_axes(sweep))}</p>',
        f'<div class="verdict"><p class="headline">{escape(verdict(sweep))}.</p>'
        f"<p>{escape(_counts(sweep))}.</p></div>",
        *_not_run(sweep),
        "<h2>Figures</h2>",
        *_figures(sweep, rows),
        "<h2>Points</h2>",
        *_points(sweep, rows),
        "<h2>Reproduce</h2>",
        f"<pre>corsair-sim sweep resume {escape(str(sweep.path))}</pre>",
    ]
    return page(sweep.name, parts, plots=True)


def _favourite(sweep: Sweep) -> str:
    known = [name for name in FAVOURITES if name in sweep.metrics]
    return next((name for name in known if sweep.best(name)), "")


def _axes(sweep: Sweep) -> str:
    more = len(sweep.axes) - MOST_COLUMNS
    named = ", ".join(sweep.axes[:MOST_COLUMNS])
    return f"{named} and {more} more" if more > 0 else named


def _setting(sweep: Sweep, row: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {row[axis]}" for axis in sweep.axes if row[axis] is not None)


def _counts(sweep: Sweep) -> str:
    counts = sweep.status_counts
    return ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)


def _not_run(sweep: Sweep) -> Iterator[str]:
    """The commonest reasons; reasons that differ only in numbers are merged, with one example."""
    rows = sweep.points.select(["status", "reason"]).to_pylist()
    reasons: Counter[str] = Counter()
    example: dict[str, str] = {}
    for row in rows:
        if row["status"] != "completed" and row["reason"]:
            said = f"{row['status']}: {row['reason'].splitlines()[0]}"
            alike = NUMBERS.sub("0", said)
            reasons[alike] += 1
            example.setdefault(alike, said)
    if reasons:
        listed = [
            f"{count:,} {example[alike]}" + (" (the first of them)" if count > 1 else "")
            for alike, count in reasons.most_common(MOST_REASONS)
        ]
        yield f'<div class="warnings"><strong>Not run</strong>{bullets(listed)}</div>'


def _figures(sweep: Sweep, rows: list[dict[str, Any]]) -> Iterator[str]:
    few = [axis for axis in sweep.axes if len({row[axis] for row in rows}) <= MOST_SERIES]
    series = next(iter(few), None)
    try:
        yield figure(f"{sweep.name}-pareto", pareto(rows, series=series).to_dict())
    except ResultsError:
        yield "<p>No point has both tokens/s/user and tokens/s/card.</p>"
    metric = _favourite(sweep)
    for axis in sweep.axes[:MOST_AXES]:
        values = {row[axis] for row in rows if row[axis] is not None}
        if 1 < len(values) <= MOST_VALUES:
            yield figure(f"{sweep.name}-{axis}", by_axis(rows, axis, metric).to_dict())


def _points(sweep: Sweep, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The best points; the dataset has all of them."""
    metric = _favourite(sweep)
    shown = sweep.best(metric, MOST_ROWS) if metric else rows[:MOST_ROWS]
    if len(rows) > len(shown):
        yield f"<p>The best {len(shown):,} of {len(rows):,} by {escape(metric)}.</p>"
    beside = [name for name in (metric, *BESIDE) if name in sweep.metrics]
    columns = ["point", *sweep.axes[:MOST_COLUMNS], *dict.fromkeys(beside)]
    yield table(columns, [[row[name] for name in columns] for row in shown])
