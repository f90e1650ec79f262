"""Fewest cards over all plans: scores point the way, simulations decide.

A cluster is filled with replicas of a candidate. Candidates are simulated in the order of their
scores, and given up as soon as they cannot meet the objective; all of them where they are few.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cluster.scenario.schema import Cluster, Scenario
from cluster.studies.capacity import Found, NoCapacityError, clusters
from cluster.studies.plan.capacity_bounds import bounds_of
from cluster.studies.plan.objective import Objective, Verdict, cards_of, needs_slo
from cluster.studies.plan.promise import Promise, capacity_choices, promise
from cluster.studies.plan.simulations import Simulations
from cluster.studies.plan.space import Choices

EFFORT = 64
"""Most candidates that are simulated on one size of cluster."""
RUNNERS = 8
"""Simulations on the resulting cluster after the first that meets the objective."""
Progress = Callable[[int, int], None]


def silent(_done: int, _of: int) -> None:
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
    progress: Progress = silent,
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
