"""Simulations of candidates and their verdicts; one that must fail is given up early.

What runs share is kept: inputs, the topology of a cluster, and the priced machine of runs that
differ in their traffic only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.api.serving import Run, assemble_any, simulate_on
from cluster.perf_model.devices import module_of
from cluster.perf_model.placement import PlacementError
from cluster.perf_model.prices import price_tables
from cluster.perf_model.tables import PriceTables, Records
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import Cluster, PlanSettings, Scenario, Slo
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import begun, run, served_of
from cluster.serving.run import Machine, lay_out, map_of, priced_as
from cluster.studies.sweep.input_cache import Library
from corsair_common.lru import LruCache
from corsair_common.names import Status
from corsair_common.units import NEVER, PS_PER_S
from results.summary import Machine as Unmeasured
from results.summary import summarise
from topology.catalog import Hardware

P99 = {"ttft_s": "p99_ttft_ms", "tpot_s": "p99_tpot_ms", "e2e_s": "p99_e2el_ms"}
"""Keys of a summary that the bounds of an SLO limit."""
KEPT = 64
"""Machines, prices and topologies that are kept."""


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


@dataclass(slots=True, kw_only=True)
class Simulations:
    """Simulates scenarios of one study."""

    objective: Objective
    library: Library = field(default_factory=Library)
    widest: tuple[int, int] | None = None
    """Largest max_num_seqs and max_num_batched_tokens of the study: each shape is priced once, for
    these; without it each batch is priced by itself."""
    _machines: LruCache[Machine] = field(default_factory=lambda: LruCache[Machine](KEPT))
    _prices: LruCache[PriceTables] = field(default_factory=lambda: LruCache[PriceTables](KEPT))
    _maps: LruCache[Any] = field(default_factory=lambda: LruCache[Any](KEPT))

    def verdict(self, requested: Scenario, *, early: bool) -> Verdict:
        """Simulate; ``early``: only as far as the objective can be met, without energy."""
        scenario = requested.model_copy(update={"slo": self.objective.slo})
        summary, given_up = self._outcome(scenario, early)
        return Verdict(
            cluster=scenario.cluster,
            rate_scale=scenario.workload.rate_scale,
            meets=bool(summary) and self.objective.met(summary),
            summary=summary,
            given_up=given_up,
            scenario=scenario,
        )

    def _outcome(self, scenario: Scenario, early: bool) -> tuple[Mapping[str, Any], float | None]:
        try:
            if not early or scenario.pools is not None:
                return self.whole(scenario).summary, None
            resolved = resolve(scenario, self.library.openers)
            machine = self._machines.get(resolved.machine_id, lambda: self._assembled(resolved))
        except PlacementError:
            return {}, None
        return quick_summary(resolved, machine, self.objective)

    def whole(self, requested: Scenario) -> Run:
        """Simulate all of it, with energy and cost.

        Raises
        ------
        PlacementError
            The plan has no room on the cluster.
        """
        scenario = requested.model_copy(update={"slo": self.objective.slo})
        resolved = resolve(scenario, self.library.openers)
        machine = self._machines.get(resolved.machine_id, lambda: self._assembled(resolved))
        return simulate_on(machine, resolved)

    def _assembled(self, resolved: Resolved) -> Machine:
        """The machine of a run; its prices may be those of another batch of the same shape."""
        scenario = resolved.scenario
        if self.widest is None or resolved.pools is not None or scenario.memory.mode == "auto":
            return assemble_any(resolved, self._map)
        seqs, tokens = self.widest
        scheduler = scenario.scheduler.model_copy(
            update={"max_num_seqs": seqs, "max_num_batched_tokens": tokens}
        )
        wide = resolve(
            scenario.model_copy(update={"scheduler": scheduler}), self.library.openers
        ).machine_id
        layout = lay_out(resolved, self._map)
        inputs = replace(layout.inputs, max_tokens=tokens, max_rows=min(seqs, tokens))
        return priced_as(layout, self._prices.get(wide, lambda: price_tables(inputs)))

    def _map(self, scenario: Scenario, hardware: Hardware) -> Any:
        key = (scenario.cluster, scenario.links, hardware.name, id(hardware))
        return self._maps.get(key, lambda: map_of(scenario, hardware))


def quick_summary(
    resolved: Resolved, machine: Machine, objective: Objective
) -> tuple[Mapping[str, Any], float | None]:
    """Counts and latencies of a run, without energy; or nothing, and how much of it was done."""
    scenario = resolved.scenario
    state = begun(arrivals_of(resolved), machine.prices, machine.limits)
    client_ps = round(PS_PER_S * module_of(resolved.hardware).request_s(resolved.hardware))
    watch = _Watch(
        requests=state.requests,
        objective=objective,
        begin_ps=resolved.begin_ps,
        client_ps=client_ps,
        closed=resolved.concurrency > 0,
    )
    try:
        run(state, observer=watch)
    except _HopelessError as error:
        return {}, error.done
    served, requests = served_of(state), resolved.requests
    columns = {
        "arrival_ps": served.arrival_ps,
        "first_scheduled_ps": served.first_scheduled_ps,
        "first_token_ps": np.where(
            served.first_token_ps == NEVER, NEVER, served.first_token_ps + client_ps
        ),
        "finish_ps": np.where(served.finish_ps == NEVER, NEVER, served.finish_ps + client_ps),
        "prompt_tokens": requests.prompt_tokens,
        "output_tokens": requests.output_tokens,
        "preemptions": served.preemptions,
        "cached_tokens": served.cached_tokens,
        "status": served.status,
    }
    summary = summarise(
        columns,
        machine=Unmeasured(cards=len(machine.routes.card_id)),
        slo=objective.limits,
        warmup_s=scenario.warmup_s,
    )
    return summary, None


class _HopelessError(Exception):
    """The run cannot meet its objective any more."""

    def __init__(self, done: float) -> None:
        super().__init__()
        self.done = done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Observer that ends a run as soon as more requests are beyond a bound than may be."""

    requests: Records
    objective: Objective
    begin_ps: int
    client_ps: int
    closed: bool
    """Closed loop: arrivals are known only of requests that have a token."""

    def started(self, total_requests: int) -> None:
        """Nothing to do."""

    def finished(self) -> None:
        """Nothing to do."""

    def advanced(self, now_ps: int, done: int, tokens: int) -> None:  # noqa: ARG002
        """Count requests beyond each bound.

        Raises
        ------
        _HopelessError
            More are than the objective allows.
        """
        rows = self.requests
        counted = rows["arrival_ps"] >= self.begin_ps
        if (counted & (rows["status"] != Status.COMPLETED)).any():
            raise _HopelessError(done / len(rows))
        beyond = [each & counted for each in self._beyond(now_ps)]
        if self.objective.attainment is not None:
            beyond = [np.logical_or.reduce(beyond)]
        most = max((int(np.count_nonzero(each)) for each in beyond), default=0)
        if most > self.objective.spare(len(rows)):
            raise _HopelessError(done / len(rows))

    def _beyond(self, now_ps: int) -> list[npt.NDArray[np.bool_]]:
        """Of each bound, the requests that exceed it or will."""
        rows = self.requests
        began, ended = rows["first_token_ps"] != NEVER, rows["finish_ps"] != NEVER
        first = np.where(began, rows["first_token_ps"], now_ps) + began * self.client_ps
        arrived = (
            rows["arrival_ps"] if not self.closed else np.where(began, rows["arrival_ps"], now_ps)
        )
        last = np.where(ended, rows["finish_ps"], now_ps) + ended * self.client_ps
        decodes = np.maximum(rows["goal"] - rows["prompt"] - 1, 1)
        spent = {
            "ttft_s": first - arrived,
            "tpot_s": np.where(began, last - first, 0) / decodes,
            "e2e_s": last - arrived,
        }
        return [spent[name] > limit * PS_PER_S for name, limit in self.objective.limits.items()]
