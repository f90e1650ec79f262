"""Joules: integer counts times the catalogue's constants, after the run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.collectives import CARD_TIERS, card_tiers, tiers_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.protocols import Figures
from cluster.perf_model.timeline import Bins
from corsair_common.lru import LruCache, Same
from corsair_common.units import BYTE_BITS, PS_PER_S, Floats, Integers
from topology.types import LinkKind

if TYPE_CHECKING:
    from topology.route import Routes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joules:
    """Energy of every count, byte and second."""

    parts: tuple[str, ...]
    """Parts of a card's energy, in the order of every axis of parts."""
    count_j: Floats
    """[counts, parts] at the card's clock."""
    link_j: Floats
    """[replica, stage, tier + 1, parts] of a byte of a card on a tier of its stage's group, and
    (last) of one sent to the next stage: every link of the path, with a read from memory at the
    source and a write at the destination."""
    static_w: float
    cards_per_stage: int


def joules_of(figures: Figures, routes: "Routes", cards: Integers) -> Joules:
    """Constants for stages on ``cards[replica, stage, position]``."""
    paths = _PATHS.get((Same(figures), Same(routes)), lambda: _Paths(figures, routes))
    replicas, stages, _ = cards.shape
    module = module_of(figures)
    link_j = np.zeros((replicas, stages, len(tiers_of(routes)) + 1, len(module.PARTS)))
    for replica in range(replicas):
        for stage in range(stages):
            here = cards[replica, stage]
            link_j[replica, stage, :-1] = paths.of_group(here)
            if stage + 1 < stages:
                link_j[replica, stage, -1] = paths.of_send(here, cards[replica, stage + 1])
    return Joules(
        parts=module.PARTS,
        count_j=module.count_joules(figures),
        link_j=link_j,
        static_w=figures["card.static_w"],
        cards_per_stage=int(cards.shape[2]),
    )


def tier_joules(figures: Figures, routes: "Routes", cards: Integers) -> Floats:
    """[tier, parts] of a byte on each tier that stages or neighbouring stages of these cards use.

    Unused tiers have zero energy.
    """
    paths = _Paths(figures, routes)
    replicas, stages, _ = cards.shape
    for replica in range(replicas):
        for stage in range(stages):
            paths.of_group(cards[replica, stage])
            if stage + 1 < stages:
                paths.of_send(cards[replica, stage], cards[replica, stage + 1])
        paths.of_send(cards[replica, -1], cards[replica, 0])
    return paths.table()


def card_joules(joules: Joules, bins: Bins, place: tuple[int, int], end_ps: int) -> Floats:
    """[bin, parts] of each card of a stage of a replica; static watts run until ``end_ps``."""
    moved_bytes = np.concatenate([bins.tier_bytes[place], bins.send_bytes[place][:, None]], axis=1)
    spent = costing(bins.counts[place], joules.count_j) + costing(moved_bytes, joules.link_j[place])
    return spent + idle_joules(joules, bins, end_ps)


def costing(counts: Integers, cost_j: Floats) -> Floats:
    """[..., p] ``counts[..., k]`` times ``cost_j[k, p]``.

    Without the matrix product, whose order of summation may depend on the number of threads.
    """
    spent: Floats = np.einsum("...k,kp->...p", counts.astype(np.float64), cost_j)
    return spent


def idle_joules(joules: Joules, bins: Bins, end_ps: int) -> Floats:
    """[bin, parts] of an idle card."""
    spent = np.zeros((bins.counts.shape[2], len(joules.parts)))
    spent[:, joules.parts.index("static")] = joules.static_w * bin_seconds(bins, end_ps)
    return spent


def bin_seconds(bins: Bins, end_ps: int) -> Floats:
    """[bin] seconds of each bin before the end of the run."""
    edges = bins.start_ps + np.arange(bins.counts.shape[2] + 1) * np.int64(bins.bin_ps)
    seconds: Floats = np.diff(np.minimum(edges, end_ps)) / PS_PER_S
    return seconds


class _Paths:
    """Joules of a byte by tier. Paths of equal tiers have equal kinds of links."""

    def __init__(self, figures: Figures, routes: "Routes") -> None:
        self._routes = routes
        self._module = module_of(figures)
        self._ends = self._module.ends_joules(figures)
        inside = self._module.inside_joules(figures)
        self._known = {tier: cost + self._ends for tier, cost in enumerate(inside)}
        self._groups: dict[bytes, Floats] = {}
        self._sends: dict[tuple[bytes, bytes], Floats] = {}

    def table(self) -> Floats:
        """[tier, parts] as far as known."""
        costs = np.zeros((len(tiers_of(self._routes)), len(self._module.PARTS)))
        for tier, cost in self._known.items():
            costs[tier] = cost
        return costs

    def of_group(self, cards: Integers) -> Floats:
        """[tier, parts]; zero where no two of the cards are joined by the tier."""
        key = cards.tobytes()
        if key not in self._groups:
            self._groups[key] = self._of_group(cards)
        return self._groups[key]

    def _of_group(self, cards: Integers) -> Floats:
        costs = np.zeros((len(tiers_of(self._routes)), len(self._module.PARTS)))
        tiers = card_tiers(self._routes, cards)
        inside = len(CARD_TIERS)
        for tier in (*range(inside), *np.unique(tiers[tiers >= inside]).tolist()):
            if tier >= inside:
                pair = np.argwhere(tiers == tier)[0]
                costs[tier] = self._across(tier, int(cards[pair[0]]), int(cards[pair[1]]))
            else:
                costs[tier] = self._known.get(tier, 0.0)
        return costs

    def of_send(self, sources: Integers, targets: Integers) -> Floats:
        """[parts] mean over the pairs of cards of two stages."""
        key = sources.tobytes(), targets.tobytes()
        if key not in self._sends:
            self._sends[key] = self._of_send(sources, targets)
        return self._sends[key]

    def _of_send(self, sources: Integers, targets: Integers) -> Floats:
        tiers = card_tiers(self._routes, np.concatenate([sources, targets]))
        each = [
            self._across(int(tier), int(source), int(target))
            for tier, source, target in zip(
                np.diagonal(tiers, len(sources)), sources, targets, strict=True
            )
        ]
        mean: Floats = np.mean(each, axis=0)
        return mean

    def _across(self, tier: int, source: int, target: int) -> Floats:
        if tier not in self._known:
            cost = self._ends.copy()
            for link in self._routes.path(source, target).tolist():
                part = self._module.PART_OF_LINK.get(LinkKind(int(self._routes.link_kind[link])))
                if part is not None:
                    per_bit = float(self._routes.link_energy_j_per_bit[link])
                    cost[self._module.PARTS.index(part)] += BYTE_BITS * per_bit
            self._known[tier] = cost
        return self._known[tier]


_PATHS: LruCache[_Paths] = LruCache(4)
