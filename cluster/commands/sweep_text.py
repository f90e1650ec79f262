"""Text of a sweep: progress, best points, confidence intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.commands.terminal import table
from results.compare import BETTER
from results.sweep import Sweep

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
