"""Figures of a replay: stages by batch over time, and causes on the critical path."""

from typing import Any

import numpy as np
import numpy.typing as npt

from results.api import Run
from results.errors import ResultsError
from results.figures.series import codes, numbers, words
from results.figures.theme import WIDTH, altair, bound_colours, colour, finished, plot, zoomable

MOST_ROWS = 32
"""Cards of the Gantt: one of each stage, the first ones where there are more."""
MOST_BARS = 4000
MOST_PLACES, LEAST_SHARE = 12, 0.003
"""Number of named links and switches, and their least share of the path."""
OTHERS = "all others"
MOST_NAMED = 7
"""Number of distinct colours of batches."""
STEPS = 3
"""Steps that are shown, from the middle of the run, where the pipeline is full."""
OTHER_COLOURS = {
    "latency": "#5d3a9b",
    "contention": "#a50026",
    "recorded": "#777777",
}


def critical_path(run: Run) -> Any:
    """Time of the critical path by cause, and by link or switch."""
    if "critical" not in run.tables:
        raise ResultsError(f"{run.path}: no replay, so it has no critical path")
    rows, order = _waits(run)
    plots = altair()
    known = {row["series"] for row in rows}
    colours = bound_colours(run.device) | OTHER_COLOURS
    causes = [name for name in colours if name in known]
    axis = plots.Axis(format="%", tickCount=6)
    chart = (
        plot(rows)
        .mark_bar()
        .encode(
            y=plots.Y("place:N", sort=order, title=None),
            x=plots.X("sum(share):Q", title="share of the makespan", axis=axis),
            color=colour("cause", causes, colours),
            tooltip=[
                "place:N",
                "series:N",
                plots.Tooltip("share:Q", format=".1%"),
                plots.Tooltip("ms:Q", format=",.4~g"),
            ],
        )
        .properties(width=WIDTH, height=plots.Step(20))
    )
    return finished(chart, "Critical path by cause", "cards' own work, and links by name")


def _waits(run: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Time of the critical path by place and cause, and the places, the longest first."""
    cause, link = words(run, "critical", "cause"), words(run, "critical", "link_name")
    time_s = numbers(run, "critical", "time_s")
    total = max(float(time_s.sum()), 1e-30)
    sums: dict[tuple[str, str], float] = {}
    for name, place, amount in zip(cause, link, time_s, strict=True):
        key = (str(place) or "the cards", str(name))
        sums[key] = sums.get(key, 0.0) + float(amount)
    by_place: dict[str, float] = {}
    for (place, _), amount in sums.items():
        by_place[place] = by_place.get(place, 0.0) + amount
    order = sorted(by_place, key=lambda place: -by_place[place])[:MOST_PLACES]
    order = [place for place in order if by_place[place] >= LEAST_SHARE * total]
    joined: dict[tuple[str, str], float] = {}
    for (place, name), amount in sums.items():
        key = (place if place in order else OTHERS, name)
        joined[key] = joined.get(key, 0.0) + amount
    order += [OTHERS] if any(place == OTHERS for place, _ in joined) else []
    rows: list[dict[str, Any]] = [
        {"place": place, "series": name, "share": amount / total, "ms": 1e3 * amount}
        for (place, name), amount in joined.items()
    ]
    return rows, order


def stage_gantt(run: Run) -> Any:
    """One card of each stage over some steps: work by batch, and bubbles between."""
    if "ops" not in run.tables:
        raise ResultsError(f"{run.path}: no replay, so there are no operations to draw")
    first = _one_of_each_stage(run)
    last = int(codes(run, "step_times", "step").max(initial=0))
    middle = (last + 1 - STEPS) // 2 if last >= STEPS else 0
    rank, batch, start, end = _operations(run, list(first), middle)
    rows: list[dict[str, Any]] = []
    origin = float(start.min()) if len(start) else 0.0
    for number, name in first.items():
        here = rank == number
        order = np.lexsort((end[here], start[here]))
        parts = zip(start[here][order], end[here][order], batch[here][order], strict=True)
        rows += _joined(name, origin, parts)
    if not rows:
        raise ResultsError(f"{run.path}: the replay has no operations on its cards")
    plots = altair()
    names = [name for name in first.values() if any(row["card"] == name for row in rows)]
    batches = [f"batch {n}" for n in sorted({row["batch"] for row in rows})]
    shade = colour("slot", batches)
    if len(batches) > MOST_NAMED:
        shade = shade.legend(None)
    chart = (
        plot(rows[:MOST_BARS])
        .mark_bar(height={"band": 0.82})
        .encode(
            y=plots.Y("card:N", sort=names, title=None),
            x=plots.X("us:Q", title="time, us (from the first step shown)"),
            x2="until:Q",
            color=shade,
            tooltip=[
                "card:N",
                "series:N",
                plots.Tooltip("us:Q", format=",.4~f"),
                plots.Tooltip("until:Q", format=",.4~f"),
            ],
        )
        .properties(width=WIDTH, height=plots.Step(20))
    )
    shown = f"steps {middle} to {min(middle + STEPS - 1, last)}; gaps are bubbles"
    if len(batches) > MOST_NAMED:
        shown += f"; {len(batches)} batches, their colours repeat"
    return finished(zoomable(chart, "x"), "Batches by stage over time", shown)


def _operations(run: Run, ranks: list[int], first: int) -> list[npt.NDArray[Any]]:
    """Rank, batch, start and end of the operations of some cards in the steps shown."""
    shown = ("step", ">=", first), ("step", "<", first + STEPS), ("stream", "<=", 1)
    names = ("rank", "microbatch", "start_s", "end_s")
    found = run.part("ops", names, [("rank", "in", ranks), *shown])
    return [found[name].to_numpy() for name in names]


def _one_of_each_stage(run: Run) -> dict[int, str]:
    """Rank and name of the first card of each stage of the first replica, else of all cards."""
    rank = codes(run, "card_times", "rank")
    stage, replica = codes(run, "card_times", "stage"), codes(run, "card_times", "replica")
    names = words(run, "card_times", "card_name")
    found: dict[int, tuple[int, str]] = {}
    for i in range(len(rank)):
        key = int(stage[i]) if stage[i] >= 0 else -1 - int(rank[i])
        if replica[i] <= 0 and key not in found:
            label = f"stage {key}, {names[i]}" if key >= 0 else str(names[i])
            found[key] = (int(rank[i]), label)
    return dict(list(found.values())[:MOST_ROWS])


def _joined(card: str, origin: float, parts: Any) -> list[dict[str, Any]]:
    """Merge contiguous operations of one batch into one bar."""
    rows: list[dict[str, Any]] = []
    for start, end, batch in parts:
        at, until = 1e6 * (float(start) - origin), 1e6 * (float(end) - origin)
        last = rows[-1] if rows else None
        if last and last["batch"] == batch and at <= last["until"] + 1e-3:
            last["until"] = max(last["until"], until)
        else:
            rows.append(
                {"card": card, "us": at, "until": until, "batch": int(batch)}
                | {"series": f"batch {int(batch)}"}
            )
    return rows
