"""Objective of a simulation, and its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Cluster, PlanSettings, Scenario, Slo

P99 = {"ttft_s": "p99_ttft_ms", "tpot_s": "p99_tpot_ms", "e2e_s": "p99_e2el_ms"}
"""Keys of a summary that the bounds of an SLO limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Conditions on a run."""

    slo: Slo
    attainment: float | None = None
    """Part of the requests that meet every bound; None: the 99th percentile of each is in it."""

    def __post_init__(self) -> None:
        if self.attainment is not None and not 0 < self.attainment <= 1:
            raise ScenarioError(f"attainment is a part above 0 and up to 1, got {self.attainment}")

    @property
    def limits(self) -> dict[str, float]:
        """The bounds that are set, in seconds."""
        return {name: limit for name, limit in self.slo.model_dump().items() if limit}

    def met(self, summary: Mapping[str, Any]) -> bool:
        """Whether no request was refused, and the rest is within the bounds."""
        if self.attainment is not None and self.limits and summary["completed"]:
            attained = (summary["slo_attainment"] or 0.0) >= self.attainment
            return attained and not summary["rejected"]
        return self.excess(summary) <= 1.0

    def used(self, summary: Mapping[str, Any]) -> dict[str, float]:
        """The 99th percentile of each bounded latency as a fraction of its bound."""
        return {
            name: (summary[P99[name]] or 0.0) / (1e3 * limit) for name, limit in self.limits.items()
        }

    def excess(self, summary: Mapping[str, Any]) -> float:
        """The largest of these fractions, above 1 if a bound is missed; with an attainment, the
        requests beyond the bounds as a fraction of those that may be."""
        if summary["rejected"] or not summary["completed"]:
            return float("inf")
        if self.attainment is not None and self.limits:
            beyond = 1.0 - (summary["slo_attainment"] or 0.0)
            return beyond / max(1.0 - self.attainment, 1e-9)
        return max(self.used(summary).values(), default=0.0)

    def spare(self, requests: int) -> int:
        """The most of ``requests`` that may be beyond a bound without failing it.

        The percentile lies between the values of two ranks; it is beyond the bound for certain if
        the lower of them is.
        """
        if self.attainment is None:
            return requests - 1 - int(0.99 * (requests - 1))
        return int(requests * (1.0 - self.attainment) + 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict of one simulation of one cluster at one rate."""

    cluster: Cluster
    rate_scale: float
    meets: bool
    summary: Mapping[str, Any]
    """Empty where the plan has no room on the cluster, or the run was given up."""
    given_up: float | None = None
    """Fraction of the requests that were done when the run was given up, since it could not meet
    the objective any more."""
    scenario: Scenario | None = None

    @property
    def cards(self) -> int:
        return cards_of(self.cluster)

    @property
    def of(self) -> Scenario:
        """The scenario that was simulated."""
        if self.scenario is None:
            raise ValueError("this verdict has no scenario")
        return self.scenario

    @property
    def shape(self) -> tuple[object, ...]:
        """All choices but the number of replicas."""
        if self.scenario is None:
            return ()
        chosen, plan = self.scenario, self.scenario.plan
        if isinstance(plan, PlanSettings):
            plan = plan.model_copy(update={"replicas": "auto"})
        return plan, chosen.memory, chosen.formats, chosen.scheduler

    @property
    def plan(self) -> tuple[object, ...]:
        """What distinct plans differ in besides replicas: all but the batch."""
        return self.shape[:-1]


def needs_slo(objective: Objective) -> Objective:
    """The objective, if it has a bound.

    Raises
    ------
    ScenarioError
        It has none.
    """
    if not objective.limits:
        raise ScenarioError("capacity needs an SLO: --slo tpot_s=0.01,ttft_s=0.2, or slo: ...")
    return objective


def cards_of(size: Cluster) -> int:
    """Cards of a cluster."""
    return size.racks * size.servers_per_rack * size.cards_per_server
