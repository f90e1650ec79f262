"""Fewest cards or highest rate over all plans: scores point the way, simulations decide.

A cluster is filled with replicas of a candidate. Candidates are simulated in the order of their
scores, and given up as soon as they cannot meet the objective; all of them where they are few.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Cluster, Scenario
from cluster.studies.capacity import (
    CLOSE,
    Found,
    NoCapacityError,
    bracketed,
    clusters,
    confirmed,
    narrowed,
)
from cluster.studies.plan.capacity_bounds import bounds_of
from cluster.studies.plan.promise import Promise, capacity_choices, promise, span_s
from cluster.studies.plan.simulations import Objective, Simulations, Verdict, cards_of, needs_slo
from cluster.studies.plan.space import Choices
from corsair_common.units import Integers

EFFORT = 64
"""Most candidates that are simulated on one size of cluster."""
RUNNERS = 8
"""Simulations on the resulting cluster after the first that meets the objective."""
NEAR = 1.25
"""First step of a candidate's rate."""
CONTESTANTS = 32
"""Most candidates whose rates are compared."""
FALLEN = 0.2
"""Part of the scored rate below which other candidates than the first few are tried."""
SLOWEST = 2.0**-10
"""Rate at which a candidate that misses the objective is left out, as a part of the first one."""

Progress = Callable[[int, int], None]


def _silent(_done: int, _of: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Simulations on one size of cluster."""

    cluster: Cluster
    verdicts: tuple[Verdict, ...]
    left: int
    """Candidates that were not simulated."""

    @property
    def meets(self) -> bool:
        return any(each.meets for each in self.verdicts)


@dataclass(slots=True, kw_only=True)
class Search:
    """State of a search for the fewest cards: scores up to some size, and simulations."""

    scenario: Scenario
    choices: Choices
    simulations: Simulations
    sizes: list[Cluster]
    """Ascending."""
    said: Callable[[Attempt], None]
    progress: Progress
    effort: int = EFFORT
    attempts: dict[int, Attempt] = field(default_factory=dict)
    """By place in ``sizes``."""
    scores: Promise | None = None

    def promise(self, place: int) -> Promise:
        """Scores up to at least this size."""
        if self.scores is None or self.scores.cards < cards_of(self.sizes[place]):
            reach = self.sizes[self._reach(place)]
            objective = self.simulations.objective
            self.scores = promise(self.scenario, objective, self.choices, reach, self.progress)
            self.simulations.widest = self.scores.widest
        return self.scores

    def _reach(self, place: int) -> int:
        """The largest size to score with this one: the whole server or rack, or twice the racks."""
        size = self.sizes[place]
        racks = 1 << (size.racks - 1).bit_length()
        return max(
            at
            for at, each in enumerate(self.sizes)
            if each.racks <= racks and (each.servers_per_rack == 1 or size.servers_per_rack > 1)
        )

    def guide(self) -> int:
        """The first size of which a score is within the objective, or the last one."""
        for place, size in enumerate(self.sizes):
            scores = self.promise(place)
            _, distance = scores.rows(cards_of(size), scores.rate_per_s)
            if distance.min(initial=np.inf) <= 1.0:
                return place
        return len(self.sizes) - 1

    def holds(self, place: int) -> bool:
        """Whether a candidate on this size meets the objective."""
        if place not in self.attempts:
            self.attempts[place] = self._attempt(place)
            self.said(self.attempts[place])
        return self.attempts[place].meets

    def _attempt(self, place: int) -> Attempt:
        scores, size = self.promise(place), self.sizes[place]
        rows, _ = scores.rows(cards_of(size), scores.rate_per_s)
        verdicts: list[Verdict] = []
        for row in rows[: self.effort]:
            requested = scores.scenario(int(row), size, 1.0)
            verdicts.append(self.simulations.verdict(requested, early=True))
            if verdicts[-1].meets:
                break
        return Attempt(cluster=size, verdicts=tuple(verdicts), left=len(rows) - len(verdicts))

    def others(self, place: int) -> list[Verdict]:
        """Verdicts on candidates behind the first that meets the objective: on RUNNERS, and on
        until another plan meets it."""
        scores, size = self.promise(place), self.sizes[place]
        first, seen = self.attempts[place].verdicts[-1], len(self.attempts[place].verdicts)
        rows, _ = scores.rows(cards_of(size), scores.rate_per_s)
        found: list[Verdict] = []
        for row in rows[seen : seen + self.effort]:
            if len(found) >= RUNNERS and any(
                each.meets and each.plan != first.plan for each in found
            ):
                break
            requested = scores.scenario(int(row), size, 1.0)
            found.append(self.simulations.verdict(requested, early=True))
        return found


def fewest_cards(
    scenario: Scenario,
    objective: Objective,
    choices: Choices,
    said: Callable[[Attempt], None] = lambda _: None,
    progress: Progress = _silent,
) -> Found:
    """Find the smallest cluster on which some plan serves the scenario's traffic.

    Raises
    ------
    NoCapacityError
        No plan on any cluster up to ``MOST_CARDS`` cards does.
    """
    search = Search(
        scenario=scenario,
        choices=capacity_choices(scenario, choices),
        simulations=Simulations(objective=needs_slo(objective)),
        sizes=clusters(scenario),
        said=said,
        progress=progress,
    )
    place = _smallest(search)
    size, scores = search.sizes[place], search.promise(place)
    verdicts = [*search.attempts[place].verdicts, *search.others(place)]
    good = sorted(
        (each for each in verdicts if each.meets),
        key=lambda each: max(objective.used(each.summary).values()),
    )
    answer, runner_up = _whole(search.simulations, good)
    below = search.attempts.get(place - 1)
    return Found(
        answer=answer,
        beyond=_nearest(search.simulations, below.verdicts if below else ()),
        tried=tuple(each for found in search.attempts.values() for each in found.verdicts),
        runner_up=runner_up,
        bounds=tuple(each for each in bounds_of(scores) if each.cards <= cards_of(size)),
        candidates=len(scores.columns["cards"]),
        left=below.left if below else 0,
    )


def _smallest(search: Search) -> int:
    """Place of the smallest size that holds.

    From the size that scores point at upward or downward in growing steps, and then by halves.
    """
    last = len(search.sizes) - 1
    high, step = search.guide(), 1
    low = high - 1
    if search.holds(high):
        while low >= 0 and search.holds(low):
            high, low, step = low, max(-1, low - step), 2 * step
    else:
        while not search.holds(high):
            if high == last:
                cards = cards_of(search.sizes[last])
                raise NoCapacityError(f"no plan on up to {cards:,} cards meets the SLO")
            low, high, step = high, min(high + step, last), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if search.holds(middle) else (middle, high)
    return high


def _whole(simulations: Simulations, good: list[Verdict]) -> tuple[Verdict, Verdict | None]:
    """The first verdict and the first on another plan, simulated with energy and cost."""
    second = next((each for each in good if each.plan != good[0].plan), None)
    found = [simulations.verdict(each.of, early=False) for each in (good[0], second) if each]
    return found[0], found[1] if second else None


def _nearest(simulations: Simulations, bad: tuple[Verdict, ...]) -> Verdict | None:
    """Of candidates that fail, the one that fails least, simulated to its end."""
    whole = [each for each in bad if each.summary]
    used = simulations.objective.used
    if whole:
        return min(whole, key=lambda each: max(used(each.summary).values()))
    latest = max(bad, key=lambda each: each.given_up or 0.0, default=None)
    return simulations.verdict(latest.of, early=False) if latest else None


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
    progress: Progress = _silent,
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
