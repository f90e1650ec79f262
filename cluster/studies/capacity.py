"""Smallest cluster or highest rate of one plan, by bisection with a simulation at every step.

The search assumes that more cards and less traffic never worsen latency. It need not hold exactly:
another replica changes the batches, and a larger cluster may have longer paths. So every verdict is
recorded, those that contradict one another are named, and the answer's neighbours are simulated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import MOST_CARDS, Cluster, Scenario
from cluster.studies.plan.capacity_bounds import Bound
from cluster.studies.plan.objective import Objective, Verdict, cards_of, needs_slo
from cluster.studies.plan.simulations import Simulations
from topology.build import server_sizes
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
class Found:
    """The result, its failing neighbour, and all simulations."""

    answer: Verdict
    beyond: Verdict | None
    """The next smaller cluster, or 5 % more traffic; None where there is no smaller cluster."""
    tried: tuple[Verdict, ...]
    runner_up: Verdict | None = None
    """The next plan on the same cluster, or with the next highest rate; None if it was not sought
    or there is none."""
    bounds: tuple[Bound, ...] = ()
    """Fewest cards by capacity alone."""
    candidates: int = 0
    """Of all plans and batches on all sizes that were searched; 0: the plan was kept."""
    left: int = 0
    """Those of them on the next smaller cluster, or at any rate, that were not simulated."""

    @property
    def contradictions(self) -> list[str]:
        """Pairs of verdicts on the same plan that contradict monotonicity."""
        return [
            f"{good.cards} cards at x{good.rate_scale:.4g} meet the SLO and "
            f"{bad.cards} at x{bad.rate_scale:.4g} do not"
            for good in self.tried
            for bad in self.tried
            if good.meets
            and not bad.meets
            and bad.cards >= good.cards
            and bad.rate_scale <= good.rate_scale
            and good.shape == bad.shape
        ]


@dataclass(slots=True, kw_only=True)
class _Search:
    """Simulates one plan on clusters and at rates."""

    scenario: Scenario
    simulations: Simulations
    said: Callable[[Verdict], None]
    tried: list[Verdict] = field(default_factory=list)

    def look(self, cluster: Cluster, rate_scale: float) -> Verdict:
        """Simulate all of it, and record the verdict."""
        changed = self.scenario.model_copy(update={"cluster": cluster})
        verdict = self.simulations.verdict(at_rate(changed, rate_scale), early=False)
        self.tried.append(verdict)
        self.said(verdict)
        return verdict

    def found(self, answer: Verdict, beyond: Verdict | None) -> Found:
        return Found(answer=answer, beyond=beyond, tried=tuple(self.tried))


def at_rate(scenario: Scenario, rate_scale: float) -> Scenario:
    """The same traffic at another rate; the warm-up shrinks with it, and leaves out the same
    requests."""
    workload = scenario.workload
    return scenario.model_copy(
        update={
            "workload": workload.model_copy(update={"rate_scale": rate_scale}),
            "warmup_s": scenario.warmup_s * workload.rate_scale / rate_scale,
        }
    )


def clusters(scenario: Scenario) -> list[Cluster]:
    """Every size, the smallest first: cards of a server, servers of a rack, racks.

    Racks are filled alike, and no more of them than hold the servers.
    """
    fabric = scenario.cluster.fabric
    hardware = load_hardware(scenario.hardware, scenario.hardware_set, fabric)
    cards, servers = hardware.count("server.cards"), hardware.count("rack.servers")
    sizes = [Cluster(cards_per_server=count, fabric=fabric) for count in server_sizes(hardware)]
    sizes += [
        Cluster(servers_per_rack=count, cards_per_server=cards, fabric=fabric)
        for count in range(2, servers + 1)
    ]
    sizes += [
        Cluster(racks=racks, servers_per_rack=count, cards_per_server=cards, fabric=fabric)
        for racks in range(2, MOST_CARDS // (cards * servers) + 1)
        for count in range(1, servers + 1)
        if racks * count > (racks - 1) * servers
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
        simulations=Simulations(objective=needs_slo(objective)),
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
    search = _Search(
        scenario=scenario, simulations=Simulations(objective=needs_slo(objective)), said=said
    )

    def look(rate_scale: float) -> Verdict:
        return search.look(scenario.cluster, rate_scale)

    first = look(scenario.workload.rate_scale)
    if not first.summary:
        raise NoCapacityError(f"the plan has no room on {first.cards} cards")
    best = narrowed(look, *bracketed(look, first, 2.0))
    best, beyond = confirmed(look, best)
    return search.found(best, beyond)


def bracketed(
    look: Callable[[float], Verdict], first: Verdict, factor: float
) -> tuple[Verdict, Verdict]:
    """Multiply the rate until it fails, or divide it until it meets: return both verdicts."""
    last = first
    while True:
        rate = last.rate_scale * (factor if first.meets else 1.0 / factor)
        if not 1 / WIDEST < rate / first.rate_scale < WIDEST:
            how = "fast requests come, they meet" if first.meets else "slowly they come, they miss"
            raise NoCapacityError(f"however {how} the SLO")
        seen = look(rate)
        if seen.meets != first.meets:
            return (last, seen) if first.meets else (seen, last)
        last = seen


def narrowed(look: Callable[[float], Verdict], best: Verdict, worst: Verdict) -> Verdict:
    """Bisect, in ratios, until the two are close; the one that meets."""
    while worst.rate_scale / best.rate_scale > CLOSE:
        seen = look((best.rate_scale * worst.rate_scale) ** 0.5)
        best, worst = (seen, worst) if seen.meets else (best, seen)
    return best


def confirmed(look: Callable[[float], Verdict], best: Verdict) -> tuple[Verdict, Verdict]:
    """The best rate of which a little more fails, and the verdict of that."""
    beyond = look(best.rate_scale * MORE)
    while beyond.meets:
        best, beyond = beyond, look(beyond.rate_scale * MORE)
    return best, beyond
