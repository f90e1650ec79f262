"""Text of a sweep: progress, best points, confidence intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal
from cluster.commands.terminal import table
from results.compare import BETTER
from results.sweep import Sweep

if TYPE_CHECKING:
    from cluster.studies.sensitivity import Band, Sensitivity, Swing

FAVOURITES = ("output_throughput", "makespan_s")
MOST_REASONS = 3
LONGEST = 100


def default_metric(metrics: Sequence[str]) -> str:
    """The default metric of the ranking."""
    ranked = [name for name in (*FAVOURITES, *metrics) if BETTER.get(name) and name in metrics]
    return next(iter(ranked or metrics), "")


def status_text(sweep: Sweep) -> str:
    """Counts by status, the commonest reasons, and the best point."""
    counts = sweep.status_counts
    printed = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    lines = [f"{sweep.name}: {sweep.total:,} points: {printed or 'none'}", *_reasons(sweep)]
    metric = default_metric(sweep.metrics)
    best = sweep.best(metric) if BETTER.get(metric) else []
    if best:
        lines.append(f"best {metric}: {_number(best[0][metric])} at {_setting(sweep, best[0])}")
    if counts["pending"]:
        lines.append(f"continue with: corsair-sim sweep resume {sweep.path}")
    lines.append(f"in {sweep.path}")
    return "\n".join(lines)


def ranking_text(sweep: Sweep, metric: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The best points as a table: their axes, and the main metrics."""
    beside = [
        name
        for name in ("output_throughput", "mean_tpot_ms", "p99_ttft_ms", "slo_attainment")
        if name in sweep.metrics and name != metric
    ]
    columns = ["point", *sweep.axes, metric, *beside]
    return table(columns, [[row[name] for name in columns] for row in rows])


def intervals_text(metric: str, intervals: Sequence[Mapping[str, Any]], count: int) -> str:
    """Means over seeds with their 95 % intervals, the best first if the direction is known."""
    ranked = sorted(intervals, key=lambda row: -row["mean"] * (BETTER.get(metric) or 1))[:count]
    if not ranked:
        return "no setting is completed"
    columns = list(ranked[0])
    heads = [f"{metric} {name}" if name == "mean" else name for name in columns]
    return table(heads, [[row[name] for name in columns] for row in ranked])


def _reasons(sweep: Sweep) -> list[str]:
    """The commonest reasons of points that did not run."""
    counts: dict[tuple[str, str], int] = {}
    statuses, reasons = (sweep.points.column(name).to_pylist() for name in ("status", "reason"))
    for status, reason in zip(statuses, reasons, strict=True):
        if status in ("infeasible", "failed"):
            first = str(reason).splitlines()[0]
            counts[status, first] = counts.get((status, first), 0) + 1
    common = sorted(counts.items(), key=lambda each: -each[1])
    lines = [
        f"  {count:,} {status}: {reason[:LONGEST]}{'...' * (len(reason) > LONGEST)}"
        for (status, reason), count in common[:MOST_REASONS]
    ]
    more = len(common) - MOST_REASONS
    return [*lines, f"  and {more} further reasons"] if more > 0 else lines


def _setting(sweep: Sweep, row: Mapping[str, Any]) -> str:
    axes = ", ".join(f"{axis}={row[axis]}" for axis in sweep.axes if row[axis] is not None)
    return f"point {row['point']}" + (f" ({axes})" if axes else "")


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


SHOWN = 10
"""Figures of each metric."""


def print_sensitivity(
    found: "Sensitivity", *, draw: Path | None, as_json: bool, quiet: bool
) -> None:
    """Print the study, and draw its first tornado where that is asked for."""
    text = "\n\n".join(
        [
            *(_swings(metric, swings) for metric, swings in found.swings.items()),
            *([_bands(list(found.bands.values()))] if found.bands else []),
            _foot(found),
        ]
    )
    if draw is not None:
        _draw(found, draw)
    terminal.show(_payload(found), text, as_json=as_json, quiet=quiet)


def _swings(metric: str, swings: "Sequence[Swing]") -> str:
    if not swings:
        return f"{metric}: no figure moves it"
    rows = [
        [swing.figure, swing.confidence, swing.low, swing.high, f"{100 * swing.size:.1f} %"]
        for swing in swings[:SHOWN]
    ]
    more = f"\n({len(swings) - SHOWN} further figures move it less)" if len(swings) > SHOWN else ""
    head = f"{metric}: {swings[0].base:.4g} as it is"
    return (
        head
        + "\n"
        + terminal.table(("figure", "", "at its low", "at its high", "moves"), rows)
        + more
    )


def _bands(bands: "Sequence[Band]") -> str:
    rows = [[band.metric, band.base, band.p5, band.p50, band.p95] for band in bands]
    count = bands[0].samples
    return f"All figures at once, {count:,} draws over their ranges:\n" + terminal.table(
        ("metric", "as it is", "5 %", "median", "95 %"), rows
    )


def _foot(found: "Sensitivity") -> str:
    said = f"every point is in {found.sweep.path}"
    if found.unrun:
        return f"{found.unrun} points could not be run (status and reason say why); {said}"
    return said


def _payload(found: "Sensitivity") -> dict[str, object]:
    return {
        "sweep_dir": str(found.sweep.path),
        "unrun": found.unrun,
        "swings": {
            metric: [_row(one) for one in swings] for metric, swings in found.swings.items()
        },
        "bands": {metric: _row(band) for metric, band in found.bands.items()},
    }


def _row(record: Any) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(record)


def _draw(found: "Sensitivity", path: Path) -> None:
    from results.figures import save, tornado

    metric = next(iter(found.swings))
    rows = [
        {"figure": swing.figure, "low": swing.low, "high": swing.high, "base": swing.base}
        for swing in found.swings[metric]
    ]
    save(tornado(rows, metric=metric), path)
