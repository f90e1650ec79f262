"""Figures of runs and studies: functions from tables to charts.

``FIGURES`` lists those of one run by name; ``draw`` makes one; ``save`` writes a chart as SVG, PNG,
JSON (Vega-Lite) or HTML. The plot stack is imported when the first chart is made.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from results.api import Run
from results.errors import ResultsError
from results.figures.cards import card_bounds, card_utilisation, stage_shares
from results.figures.energy import energy_by_part
from results.figures.formats import block_sizes, by_batch
from results.figures.gantt import critical_path, stage_gantt
from results.figures.latency import latency_cdf, latency_over_time
from results.figures.latency_causes import latency_by_cause
from results.figures.links import hot_links, link_map
from results.figures.picture import check_ending, save
from results.figures.studies import by_axis, front_of, pareto, tornado
from results.figures.traffic import load_over_time

FIGURES: Mapping[str, Callable[[Run], Any]] = MappingProxyType(
    {
        figure.__name__: figure
        for figure in (
            latency_cdf,
            latency_over_time,
            latency_by_cause,
            load_over_time,
            stage_shares,
            card_utilisation,
            card_bounds,
            link_map,
            hot_links,
            energy_by_part,
            critical_path,
            stage_gantt,
        )
    }
)
"""Every figure of a run, by name, in the order of a report."""


def draw(run: Run, name: str) -> Any:
    """One figure of a run.

    Raises
    ------
    ResultsError
        There is no such figure, or the run lacks its data.
    """
    if name not in FIGURES:
        near = get_close_matches(name, FIGURES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FIGURES)}"
        raise ResultsError(f"there is no figure {name!r}; {hint}")
    return FIGURES[name](run)


__all__ = [
    "FIGURES",
    "block_sizes",
    "by_axis",
    "by_batch",
    "check_ending",
    "draw",
    "front_of",
    "pareto",
    "save",
    "tornado",
]
