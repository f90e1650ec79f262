"""The links and shared capacities of a group of cards."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.collectives.resources import link_rates
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.work import Interior
from cluster.perf_model.protocols import Figures, RouteTables
from corsair_common.units import Floats, Integers
from topology.types import LinkKind

BRIDGE = LinkKind.BRIDGE.name.lower()
CARD_TIERS = ("d2d", "package")
"""The levels inside a card, bottom-up. Those above are in the topology: ``tiers_of``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fabric:
    """The network between the ranks of some cards. Rank r is chiplet ``r % chiplets`` of a card."""

    interior: Interior
    """Of every card."""
    card_latency_s: Floats
    """[card, card] 0 on the diagonal."""
    tiers: int
    card_tier: Integers
    """[card, card] index into ``tiers_of`` of the level that joins two cards; 0 on the diagonal."""
    bridged: Floats
    """[card, card] 1 for two cards of a pair, which a bridge joins; else 0."""
    link: Integers
    """[l] route link of each link that the cards can use among themselves."""
    link_s_per_byte: Floats
    """[l]"""
    crossing_pair: Integers
    """[x] flat (source, destination) index of each crossing of a link."""
    crossing_link: Integers
    """[x] position in ``link`` of the link crossed."""

    @property
    def cards(self) -> int:
        return int(self.card_latency_s.shape[0])

    @property
    def ranks_per_card(self) -> int:
        return self.interior.units

    @property
    def cost_key(self) -> bytes:
        """Key of equal cost: all inputs of a collective's cost that differ between groups of
        cards."""
        parts = (
            self.card_latency_s,
            self.card_tier,
            self.bridged,
            self.link_s_per_byte,
            self.crossing_pair,
            self.crossing_link,
        )
        return b"|".join(part.tobytes() for part in parts)

    @property
    def layout_key(self) -> tuple[Hashable, ...]:
        """Key of equal traffic: all inputs of it, whatever the rates and latencies."""
        parts = (self.card_tier, self.bridged, self.crossing_pair, self.crossing_link)
        shape = self.interior.packages, self.interior.chiplets, self.tiers, self.link.size
        return (*shape, *(part.tobytes() for part in parts))

    def link_bytes(self, card_bytes: Floats) -> Floats:
        """[l] bytes on every link when card a sends ``card_bytes[a, b]`` to card b."""
        weights = card_bytes.ravel()[self.crossing_pair]
        loads: Floats = np.bincount(self.crossing_link, weights, self.link.size).astype(np.float64)
        return loads


def fabric_of(hardware: Figures, routes: RouteTables, cards: Integers) -> Fabric:
    """The links on the paths between ``cards``, in both directions."""
    count = cards.size
    pairs = [(source, target) for source in range(count) for target in range(count)]
    paths = [
        np.asarray(routes.path(int(cards[source]), int(cards[target])), np.int64)
        if source != target
        else np.zeros(0, np.int64)
        for source, target in pairs
    ]
    links, crossing_link = np.unique(np.concatenate(paths), return_inverse=True)
    latency_ps = routes.latency_ps(np.repeat(cards, count), np.tile(cards, count))
    latency_s = np.asarray(latency_ps, np.float64).reshape(count, count) * 1e-12
    np.fill_diagonal(latency_s, 0.0)
    return Fabric(
        interior=module_of(hardware).interior(hardware),
        card_latency_s=latency_s,
        tiers=len(tiers_of(routes)),
        card_tier=card_tiers(routes, cards),
        bridged=bridged(routes, cards),
        link=links,
        link_s_per_byte=1 / link_rates(routes, links),
        crossing_pair=np.repeat(np.arange(len(pairs)), [path.size for path in paths]),
        crossing_link=crossing_link.astype(np.int64),
    )


def tiers_of(routes: RouteTables) -> tuple[str, ...]:
    """Every level that a group can span, bottom-up; the order of each ``tier_bytes`` axis."""
    return (*CARD_TIERS, *(name for name, _ in routes.levels))


def card_tiers(routes: RouteTables, cards: Integers) -> Integers:
    """[card, card] index into ``tiers_of`` of the lowest level that contains both."""
    tier = np.zeros((cards.size, cards.size), np.int64)
    for index, (_, unit) in reversed([*enumerate(routes.levels, len(CARD_TIERS))]):
        place = np.asarray(unit)[cards]
        tier[place[:, None] == place[None, :]] = index
    np.fill_diagonal(tier, 0)
    return tier


def bridged(routes: RouteTables, cards: Integers) -> Floats:
    """[card, card] 1 where a bridge joins two different cards; else 0."""
    names, tier = tiers_of(routes), card_tiers(routes, cards)
    found = np.zeros(tier.shape)
    if BRIDGE in names:
        found[tier == names.index(BRIDGE)] = 1.0
    return found
