"""Smallest cluster or highest rate, by bisection with a simulation at every step.

The search assumes that more cards and less traffic never worsen latency. It need not hold exactly:
another replica changes the batches, and a larger cluster may have longer paths. So every verdict is
recorded, those that contradict one another are named, and the answer's neighbours are simulated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cluster.api.serving import assemble_any, simulate_on
from cluster.perf_model.placement import PlacementError
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import MOST_CARDS, Cluster, Scenario, Slo
from cluster.serving.run import Machine
from cluster.studies.sweep.input_cache import Library
from topology.catalog import load_hardware

CLOSE = 1.02
"""Ratio of the least rate that fails and the highest that does not, at which a search ends."""
MORE = 1.05
"""How much more traffic must fail."""
WIDEST = 2.0**20
"""Range of the search, as a multiple of the scenario's rate."""


class NoCapacityError(ValueError):
    """No simulated cluster or rate meets the objectives."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict of one simulation of one cluster at one rate."""

    cluster: Cluster
    rate_scale: float
    meets: bool
    summary: Mapping[str, Any]
    """Empty where the plan has no room on the cluster."""

    @property
    def cards(self) -> int:
        return cards_of(self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result, its failing neighbour, and all simulations."""

    answer: Verdict
    beyond: Verdict | None
    """The next smaller cluster, or 5 % more traffic; None where there is no smaller cluster."""
    tried: tuple[Verdict, ...]

    @property
    def contradictions(self) -> list[str]:
        """Pairs of verdicts that contradict monotonicity."""
        return [
            f"{good.cards} cards at x{good.rate_scale:.4g} meet the SLO and "
            f"{bad.cards} at x{bad.rate_scale:.4g} do not"
            for good in self.tried
            for bad in self.tried
            if good.meets
            and not bad.meets
            and bad.cards >= good.cards
            and bad.rate_scale <= good.rate_scale
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Conditions on a run."""

    slo: Slo
    attainment: float | None = None
    """Part of the requests that meet every bound; None: the 99th percentile of each is in it."""

    def __post_init__(self) -> None:
        if not any(self.slo.model_dump().values()):
            raise ScenarioError("capacity needs an SLO: --slo tpot_s=0.01,ttft_s=0.2, or slo: ...")
        if self.attainment is not None and not 0 < self.attainment <= 1:
            raise ScenarioError(f"attainment is a part above 0 and up to 1, got {self.attainment}")

    def met(self, summary: Mapping[str, Any]) -> bool:
        """Refused requests fail it."""
        if summary["rejected"] or not summary["completed"]:
            return False
        if self.attainment is not None:
            return bool((summary["slo_attainment"] or 0.0) >= self.attainment)
        keys = {"ttft_s": "p99_ttft_ms", "tpot_s": "p99_tpot_ms", "e2e_s": "p99_e2el_ms"}
        limits = {name: limit for name, limit in self.slo.model_dump().items() if limit}
        return all((summary[keys[name]] or 0.0) <= 1e3 * limit for name, limit in limits.items())


@dataclass(slots=True, kw_only=True)
class _Search:
    """Simulates with a cache; the parts common to all rates are read, placed and priced once."""

    scenario: Scenario
    objective: Objective
    said: Callable[[Verdict], None]
    tried: list[Verdict] = field(default_factory=list)
    library: Library = field(default_factory=Library)
    machine: tuple[str, Machine] | None = None

    def look(self, cluster: Cluster, rate_scale: float) -> Verdict:
        """Simulate; the warm-up shrinks with the traffic, and leaves out the same requests."""
        inputs = self.scenario.workload.rate_scale
        changes = {
            "cluster": cluster,
            "workload": self.scenario.workload.model_copy(update={"rate_scale": rate_scale}),
            "slo": self.objective.slo,
            "warmup_s": self.scenario.warmup_s * inputs / rate_scale,
        }
        requested = self.scenario.model_copy(update=changes)
        try:
            summary: Mapping[str, Any] = self._summary(requested)
        except PlacementError:
            summary = {}
        verdict = Verdict(
            cluster=cluster,
            rate_scale=rate_scale,
            meets=bool(summary) and self.objective.met(summary),
            summary=summary,
        )
        self.tried.append(verdict)
        self.said(verdict)
        return verdict

    def _summary(self, requested: Scenario) -> Mapping[str, Any]:
        resolved = resolve(requested, self.library.openers)
        if self.machine is None or self.machine[0] != resolved.machine_id:
            self.machine = resolved.machine_id, assemble_any(resolved)
        return simulate_on(self.machine[1], resolved).summary

    def found(self, answer: Verdict, beyond: Verdict | None) -> Found:
        return Found(answer=answer, beyond=beyond, tried=tuple(self.tried))


def clusters(scenario: Scenario) -> list[Cluster]:
    """Every legal size, the smallest first: cards of a server, servers of a rack, racks."""
    hardware = load_hardware(scenario.hardware, scenario.hardware_set)
    cards, servers = hardware.count("server.cards"), hardware.count("rack.servers")
    sizes = [Cluster(cards_per_server=count) for count in range(1, cards + 1)]
    sizes += [
        Cluster(servers_per_rack=count, cards_per_server=cards) for count in range(2, servers + 1)
    ]
    most = MOST_CARDS // (cards * servers)
    sizes += [
        Cluster(racks=count, servers_per_rack=servers, cards_per_server=cards)
        for count in range(2, most + 1)
    ]
    return sizes


def min_cards(
    scenario: Scenario, objective: Objective, said: Callable[[Verdict], None] = lambda _: None
) -> Found:
    """Find the smallest cluster that serves the scenario's traffic when filled with replicas.

    Raises
    ------
    NoCapacityError
        No cluster up to ``MOST_CARDS`` cards does.
    """
    plan = scenario.plan  # auto: the best of each size
    if not isinstance(plan, str):
        plan = plan.model_copy(update={"replicas": "auto"})
    search = _Search(
        scenario=scenario.model_copy(update={"plan": plan}),
        objective=objective,
        said=said,
    )
    needed = 1
    if not isinstance(plan, str):
        needed = plan.tensor_parallel_size * plan.pipeline_parallel_size
    sizes = [size for size in clusters(scenario) if cards_of(size) >= needed]
    rate = scenario.workload.rate_scale
    verdicts: dict[int, Verdict] = {}

    def at(place: int) -> Verdict:
        if place not in verdicts:
            verdicts[place] = search.look(sizes[place], rate)
        return verdicts[place]

    low, high, step = -1, 0, 1
    while not at(high).meets:
        if high == len(sizes) - 1:
            raise NoCapacityError(
                f"not even {verdicts[high].cards:,} cards meet the SLO with this plan"
            )
        low, high, step = high, min(high + step, len(sizes) - 1), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle).meets else (middle, high)
    return search.found(at(high), at(low) if low >= 0 else None)


def max_rate(
    scenario: Scenario, objective: Objective, said: Callable[[Verdict], None] = lambda _: None
) -> Found:
    """Find the largest multiple of the scenario's rate that meets the SLO.

    Raises
    ------
    NoCapacityError
        The SLO is missed at every rate, or met at every rate.
    ScenarioError
        A closed loop has no rate.
    """
    synthetic = scenario.workload.synthetic
    if synthetic is not None and synthetic.arrivals and synthetic.arrivals.concurrency:
        raise ScenarioError("a closed loop has no rate to raise: use arrivals, or a trace")
    search = _Search(scenario=scenario, objective=objective, said=said)
    size = scenario.cluster
    best = search.look(size, scenario.workload.rate_scale)
    if not best.summary:
        raise NoCapacityError(f"the plan has no room on {best.cards} cards")
    best, worst = _bracketed(search, best)
    best, worst = _narrowed(search, best, worst)
    beyond = search.look(size, best.rate_scale * MORE)
    while beyond.meets:
        best, beyond = beyond, search.look(size, beyond.rate_scale * MORE)
    return search.found(best, beyond)


def _bracketed(search: _Search, first: Verdict) -> tuple[Verdict, Verdict]:
    """Double the rate until it fails, or halve it until it meets: return both verdicts."""
    last, factor = first, 2.0 if first.meets else 0.5
    while True:
        rate = last.rate_scale * factor
        if not 1 / WIDEST < rate / first.rate_scale < WIDEST:
            how = "fast requests come, they meet" if first.meets else "slowly they come, they miss"
            raise NoCapacityError(f"however {how} the SLO")
        seen = search.look(first.cluster, rate)
        if seen.meets != first.meets:
            return (last, seen) if first.meets else (seen, last)
        last = seen


def _narrowed(search: _Search, best: Verdict, worst: Verdict) -> tuple[Verdict, Verdict]:
    """Bisect, in ratios, until the two are close."""
    while worst.rate_scale / best.rate_scale > CLOSE:
        seen = search.look(best.cluster, (best.rate_scale * worst.rate_scale) ** 0.5)
        best, worst = (seen, worst) if seen.meets else (best, seen)
    return best, worst


def cards_of(size: Cluster) -> int:
    """Cards of a cluster."""
    return size.racks * size.servers_per_rack * size.cards_per_server
