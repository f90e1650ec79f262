"""Sensitivity to assumptions: what the uncertain figures of the hardware leave of a result.

One figure at a time, at its low and at its high, gives the tornado; all at once, drawn as in
``cluster.studies.draws``, give the band of a headline number. The catalogue's ranges state how far
a source may be off, not how likely that is, so the result is only as good as they are.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cluster.scenario.engine_names import EngineName
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.studies.bands import Band, Row, Swing, band_of, swings_of
from cluster.studies.draws import (
    Draw,
    SensitivityError,
    as_it_is,
    draws,
    ends,
    with_settings,
)
from cluster.studies.estimated_capacity import capacity_per_s
from cluster.studies.machine_set import MachineSet
from cluster.studies.plan.demand import rate_of
from cluster.studies.plan.objective import Objective
from cluster.studies.sweep import sweep
from cluster.studies.sweep.input_cache import Library
from cluster.studies.sweep.observer import SweepObserver
from results import display
from results.sweep import Sweep
from topology.catalog import Figure

CAPACITY = "capacity_request_rate_per_s"
"""The highest rate that can be served, without regard to the SLO: the estimator's, as ``check``
prints it, since a search by simulation would take a dozen runs for each draw."""
HEADLINES = (
    "p99_ttft_ms",
    "p99_tpot_ms",
    "goodput",
    CAPACITY,
    "cost_per_million_output_tokens_usd",
    "makespan_s",
)
"""Default metrics; the last is that of a replay."""


class CannotRunError(ValueError):
    """The scenario itself cannot be run."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensitivity:
    """The result; ``sweep`` holds every point."""

    scenario: Scenario
    sweep: Sweep
    swings: Mapping[str, tuple[Swing, ...]]
    """By metric, the widest first; figures without effect are left out."""
    bands: Mapping[str, Band]
    base: Row
    """The scenario as it is."""
    offered_per_s: float | None
    """Requests that arrive in a second; None in a closed loop, or if all arrive at once."""
    drawn: tuple[Row | None, ...]
    """The row of each draw; None where it contradicts a published point."""
    failures: Mapping[str, int]
    """Draws, and ends of ranges, that could not be run: how many by reason, the commonest first."""

    def __repr__(self) -> str:
        return display.line("Sensitivity", self._facts())

    def _repr_html_(self) -> str:
        bands = {
            band.metric: f"{band.base:,.4g} ({band.p5:,.4g} to {band.p95:,.4g})"
            for band in self.bands.values()
        }
        return display.table("Sensitivity", self._facts(), bands)

    def _facts(self) -> dict[str, Any]:
        facts = {"name": self.scenario.name, "draws": len(self.drawn), "slo_met": self.slo_met}
        return facts | {"path": str(self.sweep.path)}

    @property
    def meets_as_it_is(self) -> bool | None:
        """Whether the catalogue's values meet the SLO; None without one."""
        return meets_slo(self.scenario, self.base)

    @property
    def slo_met(self) -> float | None:
        """Share of the possible machines that run with 99th percentiles within the SLO, if any."""
        possible = [row for row in self.drawn if row is not None]
        if self.meets_as_it_is is None or not possible:
            return None
        return sum(meets_slo(self.scenario, row) is True for row in possible) / len(possible)


def sensitivity(  # noqa: PLR0913 - the question and the execution
    scenario: Scenario,
    *,
    samples: int = 64,
    seed: int = 0,
    metrics: Sequence[str] = HEADLINES,
    figures: Sequence[str] = ("*",),
    machines: MachineSet | None = None,
    tornado: bool = True,
    out: str | Path | None = None,
    engine: EngineName = "local",
    ray_address: str | None = None,
    drop: bool = False,
    observer: SweepObserver | None = None,
) -> Sensitivity:
    """Vary the uncertain figures of the scenario's hardware, one at a time and jointly.

    Parameters
    ----------
    scenario
        The scenario, as ``load`` returns it.
    samples
        Joint draws; 0: none.
    seed
        Of the draws.
    metrics
        Keys of the summary, or ``capacity_request_rate_per_s``; those without a value are left out.
    figures
        Names of hardware figures to vary, ``*`` allowed.
    machines
        Possible machines that joint draws are taken from, of ``read_machines``; None: of the
        figures' ranges, with what was fitted fitted again.
    tornado
        Whether figures are varied one at a time as well.
    out
        Folder of the sweep, which can be resumed; ``results/sweeps/<name>-sensitivity``
        by default, ``...-machines`` with machines.
    engine, ray_address
        As for ``sweep``.
    drop
        Delete points of another study in the folder.
    observer
        As for ``sweep``; ``Progress`` shows a bar.

    Returns
    -------
    The study: ``bands`` and ``swings`` by metric, ``slo_met``, ``failures`` by reason.

    Raises
    ------
    SensitivityError
        No such figure.
    CannotRunError
        The scenario cannot be run as it is.
    ValueError
        As ``sweep``.

    Examples
    --------
    >>> from corsair_sim import load, sensitivity
    >>> found = sensitivity(
    ...     load(workload={"synthetic": {"requests": 20}}), samples=3, figures=("cost.card_usd",)
    ... )
    >>> cost = found.bands["cost_per_million_output_tokens_usd"]
    >>> cost.holds, cost.samples, found.failures
    (True, 3, {})
    """
    scenario = _with_one_plan(scenario)
    alone = ends(scenario, figures) if tornado else []
    joint = draws(scenario, samples, seed, figures, machines)
    tried = [as_it_is(scenario, figures), *(draw for _, *pair in alone for draw in pair), *joint]
    definition = {
        "name": folder_name(
            f"{scenario.name}-sensitivity{'' if machines is None else '-machines'}"
        ),
        "base": scenario.model_dump(mode="json", exclude_defaults=True),
        "axes": [
            {
                "list": [
                    {
                        **{
                            f"hardware_set.{name}": value
                            for name, value in each.hardware_set.items()
                        },
                        **each.settings,
                    }
                    for each in tried
                    if not each.reason
                ]
            }
        ],
    }
    done = sweep(
        definition, out=out, engine=engine, ray_address=ray_address, drop=drop, observer=observer
    )
    rows = _rows(done, tried)
    first = rows[0]
    if first is None or first["status"] != "completed":
        reason = "" if first is None else first["reason"]
        raise CannotRunError(f"the scenario itself cannot be run: {reason}")
    library, offered = Library(), None
    if done.manifest["kind"] == "summary":
        offered = rate_of(resolve(scenario, library.openers))
        if CAPACITY in metrics:
            rows = _with_capacity(scenario, tried, rows, library)
    varied = [figure for figure, *_ in alone]
    return _result((scenario, offered, done), (tried, rows), varied, metrics)


def _with_one_plan(scenario: Scenario) -> Scenario:
    """The scenario with the plan that ``auto`` is of the hardware as it is, for all draws."""
    parts = (scenario, *dict(scenario.pools or ()).values())
    if scenario.network is not None or not any(isinstance(part.plan, str) for part in parts):
        return scenario
    return resolve(scenario, wanted="either").scenario


def meets_slo(scenario: Scenario, row: Row) -> bool | None:
    """Whether a draw runs with its 99th percentiles within every bound; None without any.

    Replays of operations have no requests, and so no SLO.
    """
    if not any(scenario.slo.model_dump().values()) or "rejected" not in row:
        return None
    return row["status"] == "completed" and Objective(slo=scenario.slo).met(row)


def folder_name(name: str) -> str:
    """A valid sweep name for any scenario name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-")


def _rows(done: Sweep, machines: Sequence[Draw]) -> list[Row | None]:
    """The point of each machine; None for those that contradict a published point."""
    points = iter(sorted(done.points.to_pylist(), key=lambda row: row["point"]))
    return [None if machine.reason else next(points) for machine in machines]


def _with_capacity(
    scenario: Scenario, machines: Sequence[Draw], rows: Sequence[Row | None], library: Library
) -> list[Row | None]:
    """The rows with the estimator's capacity of each."""
    return [
        row
        if row is None or row["status"] != "completed"
        else {
            **row,
            CAPACITY: capacity_per_s(
                with_settings(scenario, machine), machine.hardware_set, library
            ),
        }
        for machine, row in zip(machines, rows, strict=True)
    ]


def _result(
    question: tuple[Scenario, float | None, Sweep],
    run: tuple[Sequence[Draw], Sequence[Row | None]],
    figures: Sequence[Figure],
    metrics: Sequence[str],
) -> Sensitivity:
    (scenario, offered_per_s, done), (machines, (base, *others)) = question, run
    base = base or {}
    alone, joint = others[: 2 * len(figures)], others[2 * len(figures) :]
    known = [metric for metric in metrics if isinstance(base.get(metric), int | float)]
    if not known:
        raise SensitivityError(
            f"none of {', '.join(metrics)} is a number of this run; there are, for example, "
            f"{', '.join(name for name in HEADLINES if base.get(name) is not None)}"
        )
    return Sensitivity(
        scenario=scenario,
        sweep=done,
        swings={metric: swings_of(metric, base, alone, figures) for metric in known if figures},
        bands={metric: found for metric in known if (found := band_of(metric, base, joint))},
        base=base,
        offered_per_s=offered_per_s,
        drawn=tuple(joint),
        failures=_failures(machines[1:], others),
    )


def _failures(machines: Sequence[Draw], rows: Sequence[Row | None]) -> dict[str, int]:
    """Counts by reason; reasons that differ in their numbers only are one, as first found."""
    counts, first = Counter[str](), dict[str, str]()
    for machine, row in zip(machines, rows, strict=True):
        if row is not None and row["status"] == "completed":
            continue
        reason = machine.reason if row is None else str(row["reason"])
        reason = reason.splitlines()[0].partition("; ")[0]  # advice may differ
        kind = re.sub(r"\d[\d,.]*", "0", reason)
        counts[first.setdefault(kind, reason)] += 1
    return dict(counts.most_common())
