"""``plan``: the best placements of a model on a cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from cluster.scenario.load import ScenarioError, load
from cluster.scenario.plans import placeholder
from cluster.scenario.resolve import FROM_DISK, Resolved, resolve
from cluster.scenario.schema import Scenario, Slo
from cluster.studies.plan.candidate_scenario import Candidate, Verified, scenario_of
from cluster.studies.plan.demand import demand_of
from cluster.studies.plan.finalists import Finalists, Sample, sample_of, side_by_side
from cluster.studies.plan.objective import Objective, Verdict
from cluster.studies.plan.ranking import columns_of, plain, ranked
from cluster.studies.plan.score import Scored, score
from cluster.studies.plan.simulations import Simulations
from cluster.studies.plan.space import Choices, with_activations
from results import display

FINALISTS = 10
"""Plans that are simulated at least."""


class MissedSloError(ValueError):
    """No plan that was simulated meets the SLO."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plans:
    """Result of a plan study."""

    resolved: Resolved
    scored: Scored
    columns: Mapping[str, Any]
    """The table ``candidates``."""
    order: npt.NDArray[np.int64]
    """Rows of the best candidate of each plan (all but max_num_seqs and budget), the best first:
    simulated ones by their simulations, then the others by their scores."""
    slo: Mapping[str, float | None]
    objective: Objective
    verified: tuple[Verified, ...] = ()
    """Simulated plans, the best first."""
    sample: Sample | None = None
    """The requests of these simulations; None if none was wanted."""
    given_up: int = 0
    """Simulations that were given up, since they could not meet the SLO any more."""

    def __repr__(self) -> str:
        return display.line("Plans", self._facts(), self._figures())

    def _repr_html_(self) -> str:
        return display.table("Plans", self._facts(), self._figures())

    def _facts(self) -> dict[str, Any]:
        name, scored = self.resolved.scenario.name, len(self.columns["cards"])
        return {"name": name, "scored": scored, "ranked": len(self.order)}

    def _figures(self) -> dict[str, Any]:
        """Those of the best candidate; none if no candidate is feasible."""
        best = self.candidate(int(self.order[0])) if len(self.order) else {}
        return display.plan_figures(best)

    def candidate(self, row: int) -> dict[str, Any]:
        """One row as plain values."""
        return {name: plain(column[row]) for name, column in self.columns.items()}

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The best candidate of each plan, the best first; see ``order``."""
        return [self.candidate(int(row)) for row in self.order]

    @property
    def infeasible(self) -> dict[str, int]:
        """Infeasible candidates by reason, including those that miss the SLO."""
        missed = int(np.count_nonzero(~self.columns["meets_slo"]))
        return self.scored.infeasible | ({"misses the SLO": missed} if missed else {})

    def scenario(self, candidate: Candidate) -> Scenario:
        """The candidate as a scenario, with the traffic of the study's scenario."""
        return scenario_of(self.resolved.scenario, candidate, None)

    def best_scenario(self) -> Scenario:
        """The best plan that meets the SLO on the scenario's own traffic, at its own rate; without
        simulations the best score.

        Raises
        ------
        MissedSloError
            No simulated plan does; it names the one that misses by the least.
        ScenarioError
            No candidate is scored within the SLO.
        """
        if not self.candidates:
            raise ScenarioError("no candidate is scored within the SLO")
        if self.sample is None:
            return self.scenario(self.candidates[0])
        simulations, missed = Simulations(objective=self.objective), list[Verdict]()
        for each in self.verified:
            own = self.scenario(each.candidate)
            verdict = simulations.verdict(own, early=bool(missed))
            if verdict.meets:
                return own
            missed.append(verdict)
        raise MissedSloError(self._nearest(missed))

    def _nearest(self, missed: list[Verdict]) -> str:
        """The miss of the plan that was simulated to its end."""
        if not missed:
            return "no plan was simulated to its end within the SLO"
        limits, plan = self.objective.limits, missed[0].of.model_dump()["plan"]
        parts = [
            f"p99 {name.removesuffix('_s').upper()} {1e3 * part * limits[name]:,.4g} ms "
            f"({100 * (part - 1):+.1f} % from its bound)"
            for name, part in self.objective.used(missed[0].summary).items()
        ]
        shape = "TP {tensor_parallel_size} x PP {pipeline_parallel_size}".format(**plan)
        return (
            "no simulated plan meets the SLO on the scenario's own traffic; the nearest, "
            f"{plan['replicas']} x ({shape}), has {'; '.join(parts)}"
        )

    def save(self, path: str | Path) -> None:
        """Write every scored candidate as Parquet."""
        from results.schema import CANDIDATES
        from results.store import write_table

        write_table(CANDIDATES, self.columns, path)


def plan(  # noqa: PLR0913 - each is a choice of the study
    scenario: Scenario | str | Path | Mapping[str, Any] | None = None,
    *,
    slo: Mapping[str, float] | None = None,
    load_at: float | Literal["auto", "offered"] = "auto",
    objective: str = "tokens_per_s",
    choices: Choices | None = None,
    finalists: int = FINALISTS,
    attainment: float | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Plans:
    """Score every legal plan for the scenario's model on its cluster, and simulate the best.

    Parameters
    ----------
    scenario
        A scenario, a YAML file, a mapping of the same shape, or None for the bundled example.
    slo
        Bounds of ``ttft_s``, ``tpot_s``, ``e2e_s``: of the means for scores, of the 99th
        percentiles for simulations; by default the scenario's.
    load_at
        The load of each candidate as a fraction of its capacity; ``offered`` is the arrival rate of
        the scenario. ``auto`` is 0.7, or the users of a closed loop.
    objective
        The column to maximize or minimize: ``tokens_per_s``, ``tokens_per_s_per_card``,
        ``tokens_per_s_per_user``, ``ttft``, ``tpot``, ``joules`` or ``cost``.
    choices
        The dimensions of the search and their values; by default everything that fits.
    finalists
        Least number of plans that are simulated on the scenario's requests; more until one meets
        the SLO or none is left. 0: only scores.
    attainment
        In simulations this part of the requests must meet every bound, in place of percentiles.
    progress
        Called with the numbers of scored and of all shapes.

    Returns
    -------
    The plans. ``candidates`` is a list of rows, the best first (``ttft_ms`` and ``tpot_ms`` in ms,
    ``output_throughput`` in tokens/s); ``columns`` are arrays over all scored candidates.

    Raises
    ------
    ValueError
        In its classes with ``exit_code`` 2 (wrong input) and 3 (cannot run).

    Examples
    --------
    >>> from corsair_sim import Choices, load, plan
    >>> found = plan(
    ...     load(workload={"synthetic": {"requests": 20}}),
    ...     choices=Choices(tensor_parallel_size=(4,), weights=("mxint8",), kv=("mxint8",)),
    ... )
    >>> best = found.candidates[0]
    >>> best["tensor_parallel_size"], best["weights"]
    (4, 'mxint8')
    """
    requested = scenario if isinstance(scenario, Scenario) else load(scenario)
    resolved = resolve(requested, replace(FROM_DISK, plan=placeholder))
    if requested.speculative is not None:
        raise ScenarioError(
            "plan scores candidates without drafts: leave speculative out, and serve its plans "
            "with it"
        )
    if resolved.mixed is not None:
        raise ScenarioError(
            "plan searches undivided cards of one kind, and pools have hardware of their own: name "
            "one as hardware and leave pools out"
        )
    demand = demand_of(resolved, load_at)
    limits = dict(slo) if slo else resolved.scenario.slo.model_dump()
    wanted = Objective(slo=Slo(**limits), attainment=attainment)
    searched = with_activations(choices or Choices(), requested)
    scored = score(resolved, searched, demand, progress)
    columns = columns_of(scored, resolved, limits)
    plans = _numbered(scored.shape, scored.replicas)
    order = ranked(columns, objective, (plans,))
    found = Plans(
        resolved=resolved,
        scored=scored,
        columns=columns | side_by_side(len(plans), ()),
        order=order,
        slo=limits,
        objective=wanted,
    )
    if not finalists:
        return found
    widest = (int(columns[f"max_num_{each}"].max(initial=1)) for each in ("seqs", "batched_tokens"))
    sample, seqs, tokens = sample_of(resolved), *widest
    search = Finalists(
        sample=sample,
        columns=columns,
        plans=plans,
        decodes=scored.decodes,
        objective=objective,
        simulations=Simulations(objective=wanted, widest=(seqs, tokens)),
    )
    verified = search.run(finalists)
    rows = np.array([each.row for each in verified], np.int64)
    return replace(
        found,
        columns=columns | side_by_side(len(plans), search.done),
        order=np.concatenate([rows, order[~np.isin(plans[order], plans[rows])]]),
        verified=tuple(verified),
        sample=sample,
        given_up=search.given_up,
    )


def _numbered(*groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number for each distinct row of these columns."""
    _, numbers = np.unique(np.stack(groups), axis=1, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)
