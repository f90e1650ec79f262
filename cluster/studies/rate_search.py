"""Highest rate over all plans of a cluster.

Candidates in the order of their scores are simulated at rates above the best so far.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Scenario
from cluster.studies.capacity import (
    CLOSE,
    Found,
    NoCapacityError,
    bracketed,
    confirmed,
    narrowed,
)
from cluster.studies.capacity_search import RUNNERS, Progress, silent
from cluster.studies.plan.objective import Objective, Verdict, cards_of, needs_slo
from cluster.studies.plan.promise import Promise, capacity_choices, promise, span_s
from cluster.studies.plan.simulations import Simulations
from cluster.studies.plan.space import Choices
from corsair_common.units import Integers

NEAR = 1.25
"""First step of a candidate's rate."""
CONTESTANTS = 32
"""Most candidates whose rates are compared."""
FALLEN = 0.2
"""Part of the scored rate below which other candidates than the first few are tried."""
SLOWEST = 2.0**-10
"""Rate at which a candidate that misses the objective is left out, as a part of the first one."""


@dataclass(slots=True, kw_only=True)
class _Rates:
    """Simulations of candidates on the scenario's cluster."""

    scores: Promise
    simulations: Simulations
    said: Callable[[Verdict], None]
    tried: list[Verdict] = field(default_factory=list)

    def look(self, row: int, rate_scale: float, *, early: bool = True) -> Verdict:
        """Simulate a candidate at a multiple of the rate of the traffic."""
        scenario = self.scores.resolved.scenario
        factor = rate_scale / scenario.workload.rate_scale
        requested = self.scores.scenario(row, scenario.cluster, factor)
        self.tried.append(self.simulations.verdict(requested, early=early))
        return self.tried[-1]

    def best_of(self, row: int, first: Verdict) -> Verdict:
        """The highest rate of a candidate, from a verdict on it."""

        def look(rate_scale: float) -> Verdict:
            return self.look(row, rate_scale)

        found = narrowed(look, *bracketed(look, first, NEAR))
        self.said(found)
        return found


def highest_rate(
    scenario: Scenario,
    objective: Objective,
    choices: Choices,
    said: Callable[[Verdict], None] = lambda _: None,
    progress: Progress = silent,
) -> Found:
    """Find the plan on the scenario's cluster that meets the SLO at the highest rate, and the rate.

    Raises
    ------
    NoCapacityError
        The SLO is missed at every rate, or met at every rate.
    ScenarioError
        A closed loop has no rate.
    """
    searched = capacity_choices(scenario, choices)
    scores = promise(scenario, needs_slo(objective), searched, scenario.cluster, progress)
    if scores.resolved.concurrency:
        raise ScenarioError("a closed loop has no rate to raise: use arrivals, or a trace")
    simulations = Simulations(objective=objective, widest=scores.widest)
    rates = _Rates(scores=scores, simulations=simulations, said=said)
    own, span = scenario.workload.rate_scale, span_s(scores.resolved)
    rows, guesses = scores.fastest(cards_of(scenario.cluster))
    one_s = own * span / len(scores.resolved.requests)  # rate_scale of a request a second
    first = guesses[0] * one_s if len(rows) and span else own
    ranked = _tournament(rates, rows[:CONTESTANTS], float(first))
    (row, best), second = ranked[0], ranked[1] if len(ranked) > 1 else None
    best, beyond = confirmed(lambda rate: rates.look(row, rate, early=False), best)
    answer = rates.look(row, best.rate_scale, early=False)
    runner_up = second and rates.look(second[0], second[1].rate_scale, early=False)
    return Found(
        answer=answer,
        beyond=beyond,
        tried=tuple(rates.tried),
        runner_up=runner_up,
        candidates=len(rows),
        left=len(rows[CONTESTANTS:]),
    )


def _tournament(rates: _Rates, rows: Integers, first: float) -> list[tuple[int, Verdict]]:
    """The candidate with the highest rate and the best of another plan, each with its rate.

    A candidate is searched only if it meets the objective at a higher rate than the best so far.
    """
    ahead, start = _start(rates, rows, first)
    best = ahead[0], rates.best_of(ahead[0], start)
    lost: list[tuple[int, Verdict]] = []
    for row in ahead[1:]:
        seen = rates.look(row, best[1].rate_scale * CLOSE)
        if seen.meets:
            lost.insert(0, best)
            best = row, rates.best_of(row, seen)
        else:
            lost.append((row, seen))
    for row, seen in lost:
        if seen.plan != best[1].plan:
            return [best, (row, seen if seen.meets else rates.best_of(row, seen))]
    return [best]


def _start(rates: _Rates, rows: Integers, rate_scale: float) -> tuple[list[int], Verdict]:
    """Candidates that meet the objective at some rate, the first at the rate of its verdict first.

    The first few are tried at rates that fall from the scored one; then all, without those that do
    not meet it at a very low rate.
    """
    ahead, lowest = [int(row) for row in rows], rate_scale * SLOWEST
    few, divisor = ahead[:RUNNERS], NEAR
    while ahead and rate_scale >= lowest:
        for row in few:
            seen = rates.look(row, rate_scale)
            if seen.meets:
                return [row, *(each for each in ahead if each != row)], seen
        if len(few) < len(ahead) and rate_scale < FALLEN * lowest / SLOWEST:
            ahead = few = [row for row in ahead if rates.look(row, lowest).meets]
            divisor = 2.0
        rate_scale /= divisor
    raise NoCapacityError("however slowly they come, they miss the SLO")
