"""Order in which candidates are simulated on clusters of growing size, from one score of all.

Candidates are scored close to their capacity (LOAD), whatever the traffic: what counts is how much
of its capacity a candidate needs for the traffic, and whether its latencies near capacity, where
bursts take it, are within their bounds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import AUTO, Cluster, PlanSettings, Scenario
from cluster.studies.plan import batch_scores
from cluster.studies.plan.candidate_scenario import Candidate, scenario_of
from cluster.studies.plan.context import Demand
from cluster.studies.plan.objective import Objective
from cluster.studies.plan.ranking import columns_of, means_of, plain
from cluster.studies.plan.score import Scored, score
from cluster.studies.plan.space import Choices, with_activations
from corsair_common.units import PS_PER_S, Floats, Integers

LOAD = 0.9
"""Load of the scores, as a fraction of capacity."""
TURN = 0.1
"""Handicap of a shape's second, third, ... batch behind its best, so that shapes take turns."""
SEATS = tuple(2**power for power in range(11))
"""max_num_seqs of a search, unless they are named."""


def capacity_choices(scenario: Scenario, choices: Choices) -> Choices:
    """The dimensions of a search: formats that the scenario names are kept unless named here.

    Raises
    ------
    ScenarioError
        The scenario has pools, which are not searched.
    """
    if scenario.pools is not None:
        raise ScenarioError("pools are not searched: --keep-plan keeps those of the scenario")
    stages = (1,) if scenario.scheduler.async_scheduling else None  # for one stage only
    return replace(
        with_activations(choices, scenario),
        pipeline_parallel_size=choices.pipeline_parallel_size or stages,
        max_num_seqs=choices.max_num_seqs or SEATS,
        weights=choices.weights or _named(scenario.formats.weights),
        kv=choices.kv or _named(scenario.formats.kv),
    )


def _named(format: str) -> tuple[str, ...] | None:
    return None if format == AUTO else (format,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Promise:
    """Scores of all candidates on clusters of up to ``cards`` cards."""

    resolved: Resolved
    objective: Objective
    scored: Scored
    columns: Mapping[str, Any]
    cards: int

    @property
    def widest(self) -> tuple[int, int]:
        """Largest max_num_seqs and max_num_batched_tokens of all candidates."""
        seqs, tokens = (self.columns[f"max_num_{name}"] for name in ("seqs", "batched_tokens"))
        return int(seqs.max(initial=1)), int(tokens.max(initial=1))

    @property
    def rate_per_s(self) -> float | None:
        """Requests a second that must be served: those of the traffic, in its span and the time
        that the last of them may take; None if the SLO does not limit it."""
        limits, requests = self.objective.limits, self.resolved.requests
        decode_s = limits.get("tpot_s", 0.0) * self.scored.decodes
        wait_s = limits.get("e2e_s", limits.get("ttft_s", np.inf) + decode_s)
        if self.resolved.concurrency or wait_s == np.inf:
            return None
        return len(requests) / (span_s(self.resolved) + wait_s)

    def load(self, rate_per_s: float | None) -> Floats:
        """[n] scored load at a rate, as a fraction of capacity; without a rate hardly any, but less
        for a larger capacity."""
        capacity: Floats = self.columns["request_rate_per_s"] / LOAD
        least = 1e-9 * float(capacity.min(initial=1.0))
        return (least if rate_per_s is None else rate_per_s) / capacity

    def used(self) -> Floats:
        """[n] the largest of the scored latencies as a fraction of its bound."""
        tpot_s = np.nan_to_num(self.columns["tpot_ms"]) / 1e3
        found = means_of(self.columns["ttft_ms"] / 1e3, tpot_s, self.scored.decodes)
        limits = self.objective.limits
        largest: Floats = np.maximum.reduce([found[name] / limits[name] for name in limits])
        return largest

    def unit(self) -> float:
        """The least of these fractions if none is within its bound: bursts may allow none."""
        used = self.used()
        return max(1.0, float(used.min())) if len(used) else 1.0

    def beyond(self) -> Floats:
        """[n] these fractions in this unit."""
        return self.used() / self.unit()

    def nearest(self, cards: int, unit: float) -> tuple[int, float] | None:
        """Of the candidates that fill a cluster the one farthest within its limits, and how far as
        in ``rows``, but in a unit that other scores share; None if there is none."""
        here = self._filling(cards)
        if not len(here):
            return None
        distance = np.maximum(self.load(self.rate_per_s)[here], self.used()[here] / unit)
        place = int(distance.argmin())
        return int(here[place]), float(distance[place])

    def rows(self, cards: int, rate_per_s: float | None) -> tuple[Integers, Floats]:
        """Candidates that fill a cluster with replicas, the most promising first, and how far each
        is from its limits: 1 is at the limit."""
        here = self._filling(cards)
        load = self.load(rate_per_s)[here]
        return self._in_turn(here, np.maximum(load, self.beyond()[here]))

    def fastest(self, cards: int) -> tuple[Integers, Floats]:
        """Candidates that fill a cluster with replicas, the most promising first, and the rate in
        requests a second at which each may be at its limits."""
        here = self._filling(cards)
        over = np.maximum(1.0, self.beyond()[here]) ** 2
        rows, slowness = self._in_turn(here, over / self.columns["request_rate_per_s"][here])
        return rows, 1.0 / slowness

    def _filling(self, cards: int) -> Integers:
        """Rows with as many replicas as there is room for on so many cards."""
        columns = self.columns
        each = columns["tensor_parallel_size"] * columns["pipeline_parallel_size"]
        named = np.unique(np.append(columns["replicas"], 0))
        most = named[np.searchsorted(named, cards // each, side="right") - 1]
        return np.flatnonzero(columns["replicas"] == most)

    def _in_turn(self, rows: Integers, distance: Floats) -> tuple[Integers, Floats]:
        """Rows in the order of their distance, with a handicap for batches of the same shape."""
        order = np.argsort(distance, kind="stable")
        rows, distance = rows[order], distance[order]
        turn = _turns(self.scored.shape[rows])
        order = np.argsort(distance * (1.0 + TURN * turn), kind="stable")
        return rows[order], distance[order]

    def candidate(self, row: int) -> Candidate:
        """One row as plain values."""
        return {name: plain(column[row]) for name, column in self.columns.items()}

    def scenario(self, row: int, cluster: Cluster, rate_scale: float) -> Scenario:
        """A candidate on a cluster, its traffic ``rate_scale`` times the scenario's."""
        scenario = self.resolved.scenario.model_copy(update={"cluster": cluster})
        return scenario_of(scenario, self.candidate(row), rate_scale)


def _turns(shapes: Integers) -> Integers:
    """Place of each row among those of the same shape."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(shapes), np.int64)
    for place, shape in enumerate(shapes):
        turns[place] = seen[int(shape)] = seen.get(int(shape), -1) + 1
    return turns


def span_s(resolved: Resolved) -> float:
    """From the first arrival to the last."""
    arrival_ps = resolved.requests.arrival_ps
    return float(arrival_ps[-1] - arrival_ps[0]) / PS_PER_S


def promise(
    scenario: Scenario,
    objective: Objective,
    choices: Choices,
    cluster: Cluster,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Promise:
    """Score every candidate on clusters of up to that size."""
    changes = {"cluster": cluster, "slo": objective.slo, "plan": PlanSettings()}
    resolved = resolve(scenario.model_copy(update=changes))
    cards = cluster.racks * cluster.servers_per_rack * cluster.cards_per_server
    searched = replace(choices, replicas=choices.replicas or tuple(range(1, cards + 1)))
    demand: Demand = batch_scores.LOAD, LOAD
    if resolved.concurrency:
        demand = batch_scores.USERS, float(resolved.concurrency)
    scored = score(resolved, searched, demand, progress)
    return Promise(
        resolved=resolved,
        objective=objective,
        scored=scored,
        columns=columns_of(scored, resolved, {}),
        cards=cards,
    )
