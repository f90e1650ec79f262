"""Utilisation and bounds of cards over time, and stages of a pipeline with their bubbles."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Integers
from results.api import Run
from results.devices import Device, described
from results.engine_columns import names_in
from results.errors import ResultsError
from results.figures.series import MOST_BINS, codes, numbers, words
from results.figures.theme import (
    HEAT,
    WIDTH,
    altair,
    bound_colours,
    colour,
    finished,
    plot,
    zoomable,
)

Grid: TypeAlias = tuple[list[str], Floats, Floats]

MOST_ROWS = 64
"""Most rows of a heat map: with more cards, it shows servers."""


def card_utilisation(run: Run) -> Any:
    """Heat map of cards by time: the share of each bin in which the card had work."""
    names, starts, busy = _grid(run)
    share = busy[:, :, :-1].sum(axis=2) / np.maximum(busy.sum(axis=2), 1e-30)
    rows = [
        {"card": name, "s": at, "end": until, "share": float(share[i, j])}
        for i, name in enumerate(names)
        for j, (at, until) in enumerate(_spans(starts))
    ]
    plots = altair()
    shade = plots.Color(
        "share:Q",
        title="busy",
        scale=plots.Scale(scheme=HEAT, domain=[0, 1]),
        legend=plots.Legend(format="%", values=[0, 0.5, 1]),
    )
    chart = _cells(rows, names).encode(
        color=shade, tooltip=["card:N", _seconds(), plots.Tooltip("share:Q", format=".1%")]
    )
    return finished(zoomable(chart, "x"), "Card utilisation", "share of busy time")


def card_bounds(run: Run) -> Any:
    """Heat map of cards by time: the main bound of each bin; fainter means more idle."""
    names, starts, busy = _grid(run)
    colours = bound_colours(_device(run))
    series = [*colours]
    work = busy[:, :, :-1]
    share = work.sum(axis=2) / np.maximum(busy.sum(axis=2), 1e-30)
    most = work.argmax(axis=2)
    rows = [
        {
            "card": name,
            "s": at,
            "end": until,
            "share": float(share[i, j]),
            "series": series[most[i, j]] if share[i, j] > 0 else "idle",
        }
        for i, name in enumerate(names)
        for j, (at, until) in enumerate(_spans(starts))
    ]
    plots = altair()
    chart = _cells(rows, names).encode(
        color=colour("mostly", series, colours),
        opacity=plots.Opacity("share:Q", scale=plots.Scale(range=[0.25, 1.0]), legend=None),
        tooltip=["card:N", _seconds(), "series:N", plots.Tooltip("share:Q", format=".1%")],
    )
    return finished(zoomable(chart, "x"), "Cards' time by bound", "fainter: idler")


def stage_shares(run: Run) -> Any:
    """Each stage's time by bound over the whole run; its idle time is the bubble."""
    stages = _stages(run)
    busy = _busy(run)
    colours = bound_colours(_device(run))
    rows = []
    for label, here in stages.items():
        spent = busy[here].sum(axis=0)
        total = max(float(spent.sum()), 1e-30)
        rows += [
            {"stage": label, "series": name, "share": float(value) / total, "at": order}
            for order, (name, value) in enumerate(zip(colours, spent, strict=True))
        ]
    if not rows:
        raise ResultsError(f"{run.path}: no card serves a stage")
    plots = altair()
    chart = (
        plot(rows)
        .mark_bar()
        .encode(
            y=plots.Y("stage:N", sort=list(stages), title=None),
            x=plots.X("share:Q", title="share of the run", axis=plots.Axis(format="%")),
            color=colour("", colours, colours),
            order="at:O",
            tooltip=["stage:N", "series:N", plots.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=WIDTH, height=plots.Step(22))
    )
    return finished(chart, "Stages' time by bound", "mean over replicas; idle: bubble")


def _stages(run: Run) -> dict[str, npt.NDArray[np.bool_]]:
    """[row of cards] name of the stage: its number, and its pool if there are pools."""
    replica, stage = codes(run, "cards", "replica"), codes(run, "cards", "stage")
    pool = words(run, "cards", "pool")
    found = {}
    for name in dict.fromkeys(pool.tolist()):
        for number in np.unique(stage[stage >= 0]):
            here = (pool == name) & (stage == number) & (replica >= 0)
            if here.any():
                found[f"{name}, stage {number}" if name else f"stage {number}"] = here
    return found


def _device(run: Run) -> Device:
    """With the bounds that the table has columns of, in words."""
    columns = run.table("cards").column_names
    return described(names_in(columns, "busy_", "_s"), names_in(columns, "energy_", "_j"))


def _busy(run: Run) -> Floats:
    """[row, bounds + 1] seconds by bound, and idle."""
    columns = [*(f"busy_{bound}_s" for bound in _device(run).bound_names), "idle_s"]
    return np.stack([numbers(run, "cards", column) for column in columns], axis=1)


def _grid(run: Run) -> Grid:
    """Names of rows, starts of bins and the end, and [row, bin, bounds + 1] seconds."""
    card, place = codes(run, "cards", "card"), codes(run, "cards", "bin")
    if not len(card):
        raise ResultsError(f"{run.path}: the table of cards is empty")
    bins = int(place.max()) + 1
    starts = np.append(
        np.unique(numbers(run, "cards", "start_s")), numbers(run, "cards", "end_s").max()
    )
    labels, row = _rows_of(run, card)
    join = -(-bins // MOST_BINS)
    busy = _busy(run)
    grid = np.zeros((len(labels), -(-bins // join), busy.shape[1]))
    np.add.at(grid, (row, place // join), busy)
    return labels, np.append(starts[:-1][::join], starts[-1]), grid


def _rows_of(run: Run, card: Integers) -> tuple[list[str], Integers]:
    """A row for each card, or for each server where there are too many cards."""
    if int(card.max()) < MOST_ROWS:
        first = np.unique(card, return_index=True)[1]
        names = words(run, "cards", "card_name")[first]
        return names.tolist(), card
    server = codes(run, "cards", "server")
    return [f"server {number}" for number in range(int(server.max()) + 1)], server


def _spans(starts: Floats) -> list[tuple[float, float]]:
    return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))


def _cells(rows: list[dict[str, Any]], names: Sequence[str]) -> Any:
    plots = altair()
    return (
        plot(rows)
        .mark_rect()
        .encode(
            x=plots.X("s:Q", title="time, s", scale=plots.Scale(zero=False, nice=False)),
            x2="end:Q",
            y=plots.Y("card:N", sort=list(names), title=None),
        )
        .properties(width=WIDTH, height=plots.Step(max(8, min(18, 480 // len(names)))))
    )


def _seconds() -> Any:
    return altair().Tooltip("s:Q", title="s", format=",.4~g")
