"""Simulations of candidates; one that must fail is given up early.

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
from cluster.perf_model.memory import DoesNotFit
from cluster.perf_model.placement import PlacementError
from cluster.perf_model.prices import price_tables
from cluster.perf_model.tables import PriceTables, Records
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import AUTO, Scenario
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import begun, run, served_of
from cluster.serving.run import Machine, lay_out, map_of, priced_as
from cluster.studies.plan.objective import Objective, Verdict
from cluster.studies.sweep.input_cache import Library
from corsair_common.lru import LruCache
from corsair_common.names import Status
from corsair_common.units import NEVER, PS_PER_S
from results.summary import Machine as Unmeasured
from results.summary import summarise
from topology.mixed import AnyHardware

KEPT = 64
"""Machines, prices and topologies that are kept."""


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
        summary: Mapping[str, Any] = {}
        given_up: float | None = None
        try:
            resolved = resolve(scenario, self.library.openers)
            scenario = resolved.scenario  # with the plan and the formats that auto stands for
            machine = self._machines.get(resolved.machine_id, lambda: self._assembled(resolved))
        except PlacementError:
            pass
        except DoesNotFit:
            if requested.plan != AUTO:  # auto: no plan fits so few cards
                raise
        else:
            if early and resolved.pools is None:
                summary, given_up = quick_summary(resolved, machine, self.objective)
            else:
                summary = simulate_on(machine, resolved).summary
        return Verdict(
            cluster=scenario.cluster,
            rate_scale=scenario.workload.rate_scale,
            meets=bool(summary) and self.objective.met(summary),
            summary=summary,
            given_up=given_up,
            scenario=scenario,
        )

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

    def _map(self, scenario: Scenario, hardware: AnyHardware) -> Any:
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
