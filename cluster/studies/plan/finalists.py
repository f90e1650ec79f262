"""Simulated candidates of a plan study: which ones, on which requests, and their ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import PlanSettings, Scenario
from cluster.studies.plan.candidate_scenario import Verified, idle_j, scenario_of
from cluster.studies.plan.demand import rate_of
from cluster.studies.plan.objective import P99
from cluster.studies.plan.ranking import column_of, in_order, means_of, plain
from cluster.studies.plan.simulations import Simulations
from corsair_common.units import Floats, Integers

SLACK = 1.25
"""Scored means may be beyond their bounds by this factor: scores have errors."""
BATCHES = 3
"""Most batches of a plan that are simulated."""
MOST_REQUESTS = 20_000
"""Of a longer trace its first requests are simulated."""
FEW = 2
"""Simulations from which the ratio of a 99th percentile to a scored mean is known."""

MEANS = ("ttft_ms", "tpot_ms", "output_throughput")
SUMMARISED = ("p99_ttft_ms", "p99_tpot_ms", "slo_attainment")
"""Columns of simulated candidates: theirs, and keys of a summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The requests on which finalists are simulated."""

    resolved: Resolved
    """The study's scenario with these requests."""
    of: int
    """Requests of the whole traffic."""

    @property
    def requests(self) -> int:
        return len(self.resolved.requests)

    @property
    def rank_error(self) -> float:
        """Half of the 95 % interval of the rank of a 99th percentile, as a fraction; 0 if all
        requests are simulated. Of independent requests; bursts make it wider."""
        if self.requests == self.of:
            return 0.0
        return float(1.96 * np.sqrt(0.99 * 0.01 / self.requests))


def sample_of(resolved: Resolved) -> Sample:
    """All requests, or the first MOST_REQUESTS of a longer trace."""
    count, workload = len(resolved.requests), resolved.scenario.workload
    if count <= MOST_REQUESTS or workload.trace is None:
        return Sample(resolved=resolved, of=count)
    cut = workload.model_copy(update={"limit": MOST_REQUESTS})
    changes = {"workload": cut, "plan": PlanSettings()}  # each candidate has its own plan
    scenario = resolved.scenario.model_copy(update=changes)
    return Sample(resolved=resolve(scenario), of=count)


@dataclass(slots=True, kw_only=True)
class Finalists:
    """Simulates candidates in the order of their scores, corrected by what was simulated."""

    sample: Sample
    columns: Mapping[str, Any]
    plans: Integers
    """[n] number of each candidate's plan: candidates of a plan differ in their batch only."""
    decodes: float
    """Mean of a request's steps after its first token."""
    objective: str
    simulations: Simulations
    done: list[Verified] = field(default_factory=list)
    given_up: int = 0
    """Candidates whose simulation was given up, since it could not meet the SLO any more."""

    def run(self, least: int) -> list[Verified]:
        """Simulate ``least`` plans and go on until one meets the SLO or none is left; the best
        batch of each plan, the best plan first."""
        means = self._means()
        limits = self.simulations.objective.limits
        within = [means[name] <= SLACK * limit for name, limit in limits.items()]
        pool = np.flatnonzero(np.logical_and.reduce([np.ones(len(self.plans), np.bool_), *within]))
        tries = np.zeros(int(self.plans.max(initial=0)) + 1, np.int64)
        while len(pool):
            enough = np.count_nonzero(tries) >= least
            if enough and any(each.meets for each in self.done):
                break
            row = self._next(pool, means, tries)
            plan = self.plans[row]
            tries[plan] += 1
            self._simulate(row, early=bool(enough))
            met = bool(self.done) and self.done[-1].row == row and self.done[-1].meets
            left = not met and tries[plan] < BATCHES
            pool = pool[(self.plans[pool] != plan) | (left & (pool != row))]
        return self._ranked()

    def _means(self) -> dict[str, Floats]:
        columns = self.columns
        return means_of(columns["ttft_ms"] / 1e3, columns["tpot_ms"] / 1e3, self.decodes)

    def _next(self, pool: Integers, means: Mapping[str, Floats], tries: Integers) -> int:
        """The best by the objective of those that are expected to meet the SLO, plans without a
        simulation first; if there are none, the one nearest to it."""
        fresh = pool[tries[self.plans[pool]] == 0]
        distance = self._distance(pool, means)
        for rows in (fresh, pool):
            near = rows[self._distance(rows, means) <= 1.0]
            if len(near):
                return int(near[in_order(self.columns, self.objective, near)[0]])
        return int(pool[np.argmin(distance)])

    def _distance(self, rows: Integers, means: Mapping[str, Floats]) -> Floats:
        """[n] expected 99th percentile over its bound, the largest."""
        found = np.zeros(len(rows))
        for name, limit in self.simulations.objective.limits.items():
            found = np.maximum(found, means[name][rows] * self._ratio(name, means) / limit)
        return found

    def _ratio(self, name: str, means: Mapping[str, Floats]) -> float:
        """Median of simulated 99th percentiles over scored means; 1 as long as few are known."""
        ratios = [
            (each.summary[P99[name]] or 0.0) / 1e3 / means[name][each.row]
            for each in self.done
            if means[name][each.row] > 0
        ]
        return float(np.median(ratios)) if len(ratios) >= FEW else 1.0

    def _simulate(self, row: int, *, early: bool) -> None:
        """Simulate a candidate at the arrival rate of its score."""
        candidate = {name: plain(column[row]) for name, column in self.columns.items()}
        requested, objective = self._scenario(candidate), self.simulations.objective
        if early and self.simulations.verdict(requested, early=True).given_up is not None:
            self.given_up += 1
            return
        run = self.simulations.whole(requested)
        self.done.append(
            Verified(
                row=row,
                candidate=candidate,
                summary=run.summary,
                idle_j=idle_j(run),
                meets=objective.met(run.summary),
                excess=objective.excess(run.summary),
            )
        )

    def _scenario(self, candidate: Mapping[str, Any]) -> Scenario:
        resolved = self.sample.resolved
        rate = rate_of(resolved)
        scale = None if rate is None else candidate["request_rate_per_s"] / rate
        return scenario_of(resolved.scenario, candidate, scale)

    def _ranked(self) -> list[Verified]:
        """The best batch of each plan, plans that meet the SLO first."""
        found: dict[int, Verified] = {}
        for each in sorted(self.done, key=self._rank):
            found.setdefault(int(self.plans[each.row]), each)
        return list(found.values())

    def _rank(self, each: Verified) -> tuple[float, ...]:
        """By the objective as simulated if it meets the SLO, else by how much it misses it."""
        if not each.meets:
            return 1.0, each.excess
        name, sign = column_of(self.objective)
        value = simulated_columns(each)[name]
        return 0.0, sign * value if value is not None else float("inf"), each.candidate["cards"]


def simulated_columns(each: Verified) -> dict[str, float | None]:
    """What a simulation has of the columns that plans are ranked by."""
    found, candidate = each.simulated, each.candidate
    tokens_per_s, tpot_ms = found["output_throughput"], found["tpot_ms"]
    hour = candidate["cost_per_hour_usd"]
    return {
        **found,
        "output_tokens_per_s_per_card": tokens_per_s and tokens_per_s / candidate["cards"],
        "output_tokens_per_s_per_user": 1e3 / tpot_ms if tpot_ms else None,
        "cost_per_million_output_tokens_usd": hour / (tokens_per_s * 3.6e-3)
        if tokens_per_s
        else None,
    }


def side_by_side(rows: int, verified: Sequence[Verified]) -> dict[str, Floats]:
    """Columns of the table ``candidates`` that only simulated rows have; NaN elsewhere."""
    found = {f"simulated_{name}": np.full(rows, np.nan) for name in (*MEANS, *SUMMARISED, "excess")}
    for each in verified:
        known = {name: each.simulated[name] for name in MEANS}
        known |= {name: each.summary[name] for name in SUMMARISED}
        for name, value in {**known, "excess": each.excess}.items():
            found[f"simulated_{name}"][each.row] = np.nan if value is None else value
    return found
