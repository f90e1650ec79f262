"""Sensitivity to assumptions: every uncertain figure at its low and at its high.

One figure at a time gives the tornado; all at once, drawn independently and evenly from their
ranges, gives the range of a headline number. The catalogue's ranges state how far a source may be
off, not how likely that is, so the result is only as good as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cluster.scenario.engine_names import EngineName
from cluster.scenario.power import CLOCK
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.studies.sweep import sweep
from cluster.studies.sweep.observer import SweepObserver
from cluster.studies.sweep.sampling import Range, sample
from results.sweep import Sweep
from topology.catalog import Figure, load_hardware

HEADLINES = ("mean_tpot_ms", "output_throughput", "joules_per_output_token")
"""Default metrics."""
PERCENTS = (5.0, 50.0, 95.0)
LEAST_SWING = 1e-6
"""Relative change of a metric below which a figure has no effect."""
_AXIS = "hardware_set."


class SensitivityError(ValueError):
    """No figure can be varied, or the scenario itself cannot be run."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """A metric with one figure at its low and at its high, all else unchanged."""

    figure: str
    confidence: str
    low: float | None
    """None if the scenario cannot run with it."""
    high: float | None
    base: float

    @property
    def size(self) -> float:
        """The widest move from the base, relative to it."""
        ends = [end for end in (self.low, self.high) if end is not None]
        return max((abs(end - self.base) for end in ends), default=0.0) / abs(self.base or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A metric over the joint samples."""

    metric: str
    base: float
    p5: float
    p50: float
    p95: float
    samples: int
    """That could be run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensitivity:
    """The result; ``sweep`` holds every point."""

    sweep: Sweep
    swings: Mapping[str, tuple[Swing, ...]]
    """By metric, the widest first; figures without effect are left out."""
    bands: Mapping[str, Band]
    unrun: int
    """Points that could not be run: the ends of some ranges do not fit."""


def uncertain(scenario: Scenario, patterns: Sequence[str] = ("*",)) -> dict[str, Figure]:
    """Every figure that has a range, by name; ``patterns`` choose among them.

    A clock that ``power`` fixes is certain.

    Raises
    ------
    SensitivityError
        No figure with a range has such a name.
    """
    figures = load_hardware(scenario.hardware, scenario.hardware_set).figures
    fixed = () if scenario.power.clock_hz is None else (CLOCK,)
    found = {
        name: figure
        for name, figure in figures.items()
        if figure.low < figure.high
        and name not in fixed
        and any(fnmatchcase(name, each) for each in patterns)
    }
    if not found:
        raise SensitivityError(
            f"no figure with a range matches {', '.join(patterns)}: corsair-sim hardware show "
            f"{scenario.hardware} lists them"
        )
    return found


def sensitivity(  # noqa: PLR0913 - the question and the execution
    scenario: Scenario,
    *,
    samples: int = 64,
    seed: int = 0,
    metrics: Sequence[str] = HEADLINES,
    figures: Sequence[str] = ("*",),
    out: str | Path | None = None,
    engine: EngineName = "local",
    ray_address: str | None = None,
    drop: bool = False,
    observer: SweepObserver | None = None,
) -> Sensitivity:
    """Vary every uncertain figure of the scenario's hardware, one at a time and jointly.

    ``samples`` is the number of joint draws (0: none), made with ``seed``; ``out`` is the folder of
    the sweep, which can be resumed; ``drop`` deletes points of another study in it.

    Raises
    ------
    SensitivityError
        No such figure, or the scenario cannot be run as it is.
    ValueError
        As ``sweep``.
    """
    moved = uncertain(scenario, figures)
    rows = [*_one_by_one(moved), *_jointly(moved, samples, seed)]
    definition = {
        "name": _folder_name(f"{scenario.name}-sensitivity"),
        "base": _with_one_plan(scenario).model_dump(mode="json", exclude_defaults=True),
        "axes": [{"list": rows}],
    }
    done = sweep(
        definition, out=out, engine=engine, ray_address=ray_address, drop=drop, observer=observer
    )
    return _result(done, moved, metrics)


def _with_one_plan(scenario: Scenario) -> Scenario:
    """The scenario with the plan that ``auto`` is of the hardware as it is, for all draws."""
    parts = (scenario, *dict(scenario.pools or ()).values())
    if scenario.network is not None or not any(isinstance(part.plan, str) for part in parts):
        return scenario
    return resolve(scenario, wanted="either").scenario


def _folder_name(name: str) -> str:
    """A valid sweep name for any scenario name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-")


def _one_by_one(moved: Mapping[str, Figure]) -> list[dict[str, float]]:
    """The base, then each figure at its low and at its high."""
    first, figure = next(iter(moved.items()))
    ends = [
        {f"{_AXIS}{name}": end} for name, each in moved.items() for end in (each.low, each.high)
    ]
    return [{f"{_AXIS}{first}": figure.value}, *ends]


def _jointly(moved: Mapping[str, Figure], samples: int, seed: int) -> list[dict[str, float]]:
    """Latin hypercube over all ranges: each is cut evenly, and each part is drawn from once."""
    ranges = {f"{_AXIS}{name}": _range(figure) for name, figure in moved.items()}
    drawn = sample(ranges, samples, "latin_hypercube", seed)
    return [dict(zip(ranges, row, strict=True)) for row in drawn]


def _range(figure: Figure) -> Range:
    if figure.unit == "count":
        return Range(low=round(figure.low), high=round(figure.high))
    return Range(low=figure.low, high=figure.high)


def _result(done: Sweep, moved: Mapping[str, Figure], metrics: Sequence[str]) -> Sensitivity:
    points = sorted(done.points.to_pylist(), key=lambda row: row["point"])
    base, ends, joint = points[0], points[1 : 1 + 2 * len(moved)], points[1 + 2 * len(moved) :]
    if base["status"] != "completed":
        raise SensitivityError(f"the scenario itself cannot be run: {base['reason']}")
    unrun = sum(row["status"] != "completed" for row in points)
    known = [metric for metric in metrics if isinstance(base.get(metric), int | float)]
    if not known:
        raise SensitivityError(
            f"none of {', '.join(metrics)} is a number of this run; there are, for example, "
            f"{', '.join(HEADLINES)}"
        )
    return Sensitivity(
        sweep=done,
        swings={metric: _swings(metric, base, ends, moved) for metric in known},
        bands={metric: found for metric in known if (found := _band(metric, base, joint))},
        unrun=unrun,
    )


def _swings(
    metric: str,
    base: Mapping[str, Any],
    ends: Sequence[Mapping[str, Any]],
    moved: Mapping[str, Figure],
) -> tuple[Swing, ...]:
    found = [
        Swing(
            figure=name,
            confidence=figure.confidence,
            low=ends[2 * i][metric],
            high=ends[2 * i + 1][metric],
            base=float(base[metric]),
        )
        for i, (name, figure) in enumerate(moved.items())
    ]
    some = [swing for swing in found if swing.size > LEAST_SWING]
    return tuple(sorted(some, key=lambda swing: -swing.size))


def _band(metric: str, base: Mapping[str, Any], joint: Sequence[Mapping[str, Any]]) -> Band | None:
    values = [row[metric] for row in joint if row[metric] is not None]
    if not values:
        return None
    p5, p50, p95 = (float(value) for value in np.percentile(values, PERCENTS))
    return Band(
        metric=metric, base=float(base[metric]), p5=p5, p50=p50, p95=p95, samples=len(values)
    )
