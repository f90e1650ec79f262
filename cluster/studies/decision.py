"""Which of two scenarios is better, in how many of the possible machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.scenario.engine_names import EngineName
from cluster.scenario.schema import Scenario
from cluster.studies.bands import Row
from cluster.studies.draws import SensitivityError
from cluster.studies.machine_set import MachineSet
from cluster.studies.sensitivity import (
    CAPACITY,
    HEADLINES,
    Sensitivity,
    folder_name,
    meets_slo,
    sensitivity,
)
from cluster.studies.sweep.observer import SweepObserver
from results import compare, display
from results.default_dirs import SWEEPS

COST = "cost_per_million_output_tokens_usd"
BETTER = {**compare.BETTER, CAPACITY: 1}
"""1 where more is better, -1 where less is; 0 or absent: neither."""
SHARED = ("workload", "slo", "seed", "warmup_s", "hardware")
"""Settings that two plans for the same traffic have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wins:
    """Of one metric, over the draws that could be compared."""

    metric: str
    first: int
    """Draws in which the first scenario is better."""
    second: int
    draws: int

    @property
    def share(self) -> float:
        """Of the draws in which the first is better; equal ones count for neither."""
        return self.first / self.draws


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """Two scenarios over the same draws."""

    first: Sensitivity
    second: Sensitivity
    by: str
    """The metric that decides between two that both meet the SLO, or both miss it."""
    overall: Wins
    """SLO first, then ``by``; a scenario that cannot run loses."""
    metrics: Mapping[str, Wins]
    """By metric alone, where both run."""
    unlike: tuple[str, ...]
    """Settings other than the plan in which the scenarios differ."""

    def __repr__(self) -> str:
        return display.line("Decision", self._facts())

    def _repr_html_(self) -> str:
        shares = {f"better {name}": f"{wins.share:.0%}" for name, wins in self.metrics.items()}
        return display.table("Decision", self._facts(), shares)

    def _facts(self) -> dict[str, Any]:
        names = {"first": self.first.scenario.name, "second": self.second.scenario.name}
        return names | {"by": self.by, "first_better": self.overall.share}


def decide(  # noqa: PLR0913 - the question and the execution
    first: Scenario,
    second: Scenario,
    *,
    by: str = COST,
    samples: int = 64,
    seed: int = 0,
    figures: Sequence[str] = ("*",),
    machines: MachineSet | None = None,
    out: str | Path | None = None,
    engine: EngineName = "local",
    ray_address: str | None = None,
    drop: bool = False,
    observer: SweepObserver | None = None,
) -> Decision:
    """Simulate both scenarios on the same possible machines, and count which is better.

    A machine that meets the SLO (the 99th percentiles within each bound) beats one that does not;
    if both do, or neither, the metric ``by`` decides.

    Parameters
    ----------
    first, second
        The scenarios, as ``load`` returns them.
    by
        A key of the summary with a better end, or ``capacity_request_rate_per_s``.
    samples, seed, figures, machines
        The draws, as for ``sensitivity``.
    out
        Folder of both sweeps; ``results/sweeps/<name of the first>-against`` by default.
    engine, ray_address, drop, observer
        As for ``sensitivity``.

    Returns
    -------
    The decision: ``overall.share`` is the share of draws in which the first is better.

    Raises
    ------
    SensitivityError
        No draws, or a metric without a better end.
    ValueError
        As ``sensitivity``.

    Examples
    --------
    >>> from corsair_sim import decide, load
    >>> small = {"workload": {"synthetic": {"requests": 20}}}
    >>> one, two = load(**small), load(**small, cluster={"servers_per_rack": 2})
    >>> decide(one, two, samples=2, figures=("cost.*",)).overall.share
    1.0
    """
    if not BETTER.get(by):
        known = ", ".join(name for name in HEADLINES if BETTER.get(name))
        raise SensitivityError(f"no better end of {by!r} is known; for example: {known}")
    if samples < 1:
        raise SensitivityError(f"a decision needs at least one draw, got {samples}")
    named = folder_name(f"{first.name}-against{'' if machines is None else '-machines'}")
    folder = SWEEPS / named if out is None else Path(out)
    found = [
        sensitivity(
            scenario,
            samples=samples,
            seed=seed,
            metrics=tuple(dict.fromkeys((*HEADLINES, by))),
            figures=figures,
            machines=machines,
            tornado=False,
            out=folder / place,
            engine=engine,
            ray_address=ray_address,
            drop=drop,
            observer=observer,
        )
        for place, scenario in (("first", first), ("second", second))
    ]
    return compared(found[0], found[1], by)


def compared(first: Sensitivity, second: Sensitivity, by: str) -> Decision:
    """Count over the draws that contradict no published point for either."""
    pairs = [
        (one, other)
        for one, other in zip(first.drawn, second.drawn, strict=True)
        if one is not None and other is not None
    ]
    if not pairs:
        raise SensitivityError("every draw contradicts a published point")
    keys = [(_rank(first, one, by), _rank(second, other, by)) for one, other in pairs]
    own, others = first.scenario, second.scenario
    return Decision(
        first=first,
        second=second,
        by=by,
        overall=_wins("overall", keys),
        metrics={
            metric: wins
            for metric in first.bands
            if metric in second.bands and BETTER.get(metric)
            if (wins := _by_metric(metric, pairs)) is not None
        },
        unlike=tuple(name for name in SHARED if getattr(own, name) != getattr(others, name)),
    )


def _rank(found: Sensitivity, row: Row, by: str) -> tuple[float, ...]:
    """More is better: runs, meets the SLO, and the metric in its better direction."""
    if row["status"] != "completed" or row.get(by) is None:
        return (0.0, 0.0, 0.0)
    good = meets_slo(found.scenario, row) is not False
    return (1.0, float(good), BETTER[by] * float(row[by]))


def _by_metric(metric: str, pairs: Sequence[tuple[Row, Row]]) -> Wins | None:
    both = [
        (BETTER[metric] * one[metric], BETTER[metric] * other[metric])
        for one, other in pairs
        if one.get(metric) is not None and other.get(metric) is not None
    ]
    return _wins(metric, both) if both else None


def _wins(metric: str, keys: Sequence[tuple[Any, Any]]) -> Wins:
    return Wins(
        metric=metric,
        first=sum(one > other for one, other in keys),
        second=sum(other > one for one, other in keys),
        draws=len(keys),
    )
