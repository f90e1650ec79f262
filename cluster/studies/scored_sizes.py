"""The size of a cluster that other figures of its hardware need, by scores beside simulations.

A search by simulation found the smallest cluster of the hardware as it is, and that the next
smaller one fails. Scores of these two say how far from its limits a size may be scored and still
hold; with other figures the smallest size within that distance is taken.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster.perf_model.tco import SECONDS_PER_HOUR, inventory_with, usd_per_hour
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Cluster, PlanSettings, Scenario
from cluster.studies.capacity import Found, clusters
from cluster.studies.draws import Draw, with_settings
from cluster.studies.plan import batch_scores
from cluster.studies.plan.cost import power_of
from cluster.studies.plan.objective import Objective, cards_of
from cluster.studies.plan.promise import LOAD, Promise, capacity_choices, promise
from cluster.studies.plan.ranking import columns_of, means_of
from cluster.studies.plan.score import score
from cluster.studies.plan.space import Choices
from topology.catalog import Hardware, load_hardware
from topology.catalog.parts import CARD_PRICE

REACH = 2
"""Most cards that are tried, as a multiple of those that were simulated."""
ALONE = 0.01
"""Load at which a request is alone, as a fraction of capacity."""
SEATS = 64
"""A seat for each stage, of which one is taken."""
MARGIN = 1.05
"""How far a score of a request alone must be beyond a bound to say that nothing meets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a side buys, and what an hour of it costs."""

    cards: int
    card_usd: float
    usd_per_hour: float
    usd_per_hour_per_card_usd: float
    """An hour's share of each USD of a card's price, times the cards."""

    def break_even_usd(self, other: "Bill") -> float:
        """Price of a card at which an hour costs as much as the other side's.

        Negative: not even free cards cost as little.

        >>> own = Bill(cards=4, card_usd=10.0, usd_per_hour=6.0, usd_per_hour_per_card_usd=0.1)
        >>> other = Bill(cards=1, card_usd=90.0, usd_per_hour=9.0, usd_per_hour_per_card_usd=0.1)
        >>> own.break_even_usd(other), other.break_even_usd(own)
        (40.0, 60.0)
        """
        more = other.usd_per_hour - self.usd_per_hour
        return self.card_usd + more / self.usd_per_hour_per_card_usd


def bill_of(hardware: Hardware, cluster: Cluster, usd_an_hour: float) -> Bill:
    """What a cluster is bought for, at so many USD an hour."""
    cards = cards_of(cluster)
    return Bill(
        cards=cards,
        card_usd=hardware[CARD_PRICE],
        usd_per_hour=usd_an_hour,
        usd_per_hour_per_card_usd=cards * SECONDS_PER_HOUR / hardware["cost.depreciation_s"],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredSizes:
    """Sizes of clusters near one that was simulated."""

    scenario: Scenario
    objective: Objective
    choices: Choices
    sizes: Sequence[Cluster]
    unit: float = 1.0
    """Of scored latencies over their bounds."""
    limit: float = 1.0
    """The largest distance from the limits, as scored, at which a size is taken to hold."""

    @staticmethod
    def of(
        scenario: Scenario, objective: Objective, choices: Choices, found: Found
    ) -> "ScoredSizes":
        """Sizes up to REACH times the result of a search, on the scale of its simulations."""
        answer, all_sizes = found.answer, clusters(scenario)
        place = all_sizes.index(answer.cluster)
        near = [each for each in all_sizes if cards_of(each) <= REACH * answer.cards]
        sizes = ScoredSizes(
            scenario=scenario,
            objective=objective,
            choices=_like(scenario, choices, found),
            sizes=near,
        )
        scores = sizes.scores(Draw(hardware_set={}))
        unit = scores.unit()
        best = [scores.nearest(cards_of(each), unit) for each in near]
        rows = [each[0] for each in best if each is not None]
        sizes = replace(sizes, unit=unit, choices=_those(sizes.choices, scores, rows))
        holds, fails = best[place], best[place - 1] if place else None
        good = 1.0 if holds is None else holds[1]
        if fails is None:
            return replace(sizes, limit=max(1.0, good))
        if fails[1] > good:
            return replace(sizes, limit=math.sqrt(good * fails[1]))
        # scores would have it that the smaller one holds as well
        return replace(sizes, limit=good, sizes=near[place:])

    def scores(self, draw: Draw) -> Promise:
        """Scores of plans near the simulated one with these figures."""
        scenario = with_settings(self.scenario, draw)
        figures = {**scenario.hardware_set, **draw.hardware_set}
        scenario = scenario.model_copy(update={"hardware_set": figures})
        return promise(scenario, self.objective, self.choices, self.sizes[-1])

    def smallest(self, draw: Draw) -> Bill | None:
        """The smallest cluster that this machine needs; None if it is more than REACH times as
        large as the simulated one."""
        scores = self.scores(draw)
        for size in self.sizes:
            found = scores.nearest(cards_of(size), self.unit)
            if found is not None and found[1] <= self.limit:
                hour = _usd_an_hour(scores, found[0], size)
                return bill_of(scores.resolved.hardware, size, hour)
        return None


def _like(scenario: Scenario, choices: Choices, found: Found) -> Choices:
    """Plans like the answer and the runner-up: with any stages, half and twice their batches."""
    chosen = [each.of for each in (found.answer, found.runner_up) if each]
    plans = [each.plan for each in chosen if isinstance(each.plan, PlanSettings)]
    batches = [each.scheduler for each in chosen]
    groups = {each.tensor_parallel_size for each in plans}
    narrowed = replace(
        choices,
        tensor_parallel_size=tuple(groups | {2 * max(groups)}),
        expert_parallel_size=tuple({each.expert_parallel_size for each in plans}),
        memory_mode=tuple({each.memory.mode for each in chosen}),
        weights=tuple({each.formats.weights for each in chosen}),
        kv=tuple({each.formats.kv for each in chosen}),
        max_num_seqs=_around(each.max_num_seqs for each in batches),
        max_num_batched_tokens=_around(each.max_num_batched_tokens for each in batches),
    )
    return capacity_choices(scenario, narrowed)


def _those(choices: Choices, scores: Promise, rows: Sequence[int]) -> Choices:
    """The search narrowed to the degrees and batches of these candidates."""
    names = (
        *("tensor_parallel_size", "pipeline_parallel_size", "expert_parallel_size"),
        *("max_num_seqs", "max_num_batched_tokens"),
    )
    kept: dict[str, Any] = {
        name: tuple(sorted({int(scores.columns[name][row]) for row in rows})) for name in names
    }
    return replace(choices, **kept) if rows else choices


def _around(sizes: Iterable[int]) -> tuple[int, ...]:
    """Each with its half and its double."""
    return tuple({near for size in sizes for near in (max(1, size // 2), size, 2 * size)})


def _usd_an_hour(scores: Promise, row: int, size: Cluster) -> float:
    """USD an hour of a cluster whose cards serve the traffic with this candidate.

    Energy above static power was scored near capacity, and follows the load.
    """
    columns, hardware = scores.columns, scores.resolved.hardware
    used = int(columns["cards"][row])
    still_w = used * hardware["card.static_w"]
    scored_w = float(columns["joules_per_output_token"][row] * columns["output_throughput"][row])
    load = min(1.0, float(scores.load(scores.rate_per_s)[row]))
    busy_w = still_w + max(0.0, scored_w - still_w) * load / LOAD
    servers = size.racks * size.servers_per_rack
    site = np.array([[servers, size.racks]], np.int64)
    idle = np.array([cards_of(size) - used], np.int64)
    power_w = float(power_of(hardware, site, idle, np.array([busy_w]))[0])
    bought = inventory_with(
        hardware.figures,
        servers=servers,
        racks=size.racks,
        cards_per_server=size.cards_per_server,
    )
    return usd_per_hour(hardware.figures, bought, power_w).value


def out_of_reach(scenario: Scenario, objective: Objective, choices: Choices) -> str | None:
    """Why no plan can meet a bound, if even a request alone on a rack misses it; None if not so.

    Larger clusters serve more requests; they do not serve one of them sooner.
    """
    hardware = load_hardware(scenario.hardware, scenario.hardware_set)
    rack = Cluster(
        servers_per_rack=hardware.count("rack.servers"),
        cards_per_server=hardware.count("server.cards"),
        fabric=scenario.cluster.fabric,
    )
    resolved = resolve(scenario.model_copy(update={"cluster": rack, "plan": PlanSettings()}))
    groups = tuple(1 << power for power in range(cards_of(rack).bit_length()))
    searched = replace(
        capacity_choices(scenario, choices),
        tensor_parallel_size=choices.tensor_parallel_size or groups,
        max_num_seqs=choices.max_num_seqs or (SEATS,),
        replicas=(1,),
    )
    scored = score(resolved, searched, (batch_scores.LOAD, ALONE))
    columns = columns_of(scored, resolved, {})
    found = means_of(columns["ttft_ms"] / 1e3, columns["tpot_ms"] / 1e3, scored.decodes)
    for name, bound_s in objective.limits.items():
        least_s = float(found[name].min(initial=math.inf))
        if MARGIN * bound_s < least_s < math.inf:
            words = name.removesuffix("_s").upper()
            return (
                f"on a rack of {cards_of(rack)} cards a request alone has a {words} of "
                f"{1e3 * least_s:.3g} ms at least, as scored; the bound is {1e3 * bound_s:g} ms"
            )
    return None
