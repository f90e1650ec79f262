"""The links and shared capacities of a group, and the cost of a round of messages on them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives.algorithms.rounds import Round
from cluster.perf_model.collectives.ports import Inside, to_ports
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
            self.link_s_per_byte,
            self.crossing_pair,
            self.crossing_link,
        )
        return b"|".join(part.tobytes() for part in parts)

    def link_bytes(self, card_bytes: Floats) -> Floats:
        """[l] bytes on every link when card a sends ``card_bytes[a, b]`` to card b."""
        weights = card_bytes.ravel()[self.crossing_pair]
        loads: Floats = np.bincount(self.crossing_link, weights, self.link.size).astype(np.float64)
        return loads


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundCost:
    """Cost of a round per byte of its share of the payload.

    Five parts are the busy seconds of each link or shared capacity, with the way of messages
    between cards from and to the ports.
    """

    latency_s: float
    """Of the longest path."""
    messages: int
    """Most messages that one rank sends."""
    d2d: Floats
    """[card, package x chiplet x chiplet] every D2D link."""
    package: Floats
    """[card, package] all D2D traffic of a package."""
    out: Floats
    """[card, package] link to the other packages, outward."""
    into: Floats
    links: Floats
    """[l]"""
    issues: npt.NDArray[np.bool_]
    """[resource] whether messages begin on it: those on the way to a port have no
    overhead of a message there."""
    tier_bytes: Floats
    """[tier] bytes that a card puts on each tier, averaged over the cards."""
    card_bytes: Floats
    """[card, card] sent from each card to each other."""

    @property
    def inside(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.d2d, self.package, self.out, self.into

    @property
    def busy_s_per_byte(self) -> Floats:
        """[resource] all five parts."""
        return np.concatenate([*(part.ravel() for part in self.inside), self.links])


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


def round_cost(fabric: Fabric, one: Round) -> RoundCost:
    """Latency, busy time and bytes of the messages of a round, all at once."""
    ranks = fabric.cards * fabric.ranks_per_card
    flows = np.zeros((ranks, ranks))
    flows[one.source, one.target] = (1.0 if one.weight is None else one.weight) / one.spread
    within, cards = fabric.interior, fabric.cards
    blocks = flows.reshape(cards, within.units, cards, within.units)
    own, outer = _own_traffic(within, blocks), _port_traffic(fabric, blocks)
    mesh, out, into = own.mesh + outer.mesh, own.out + outer.out, own.into + outer.into
    in_package, between_cards = own.package + outer.package, blocks.sum(axis=(1, 3))
    np.fill_diagonal(between_cards, 0.0)
    tier_bytes = np.bincount(
        fabric.card_tier.ravel(), between_cards.ravel(), minlength=fabric.tiers
    ).astype(np.float64)
    tier_bytes[: len(CARD_TIERS)] = in_package.sum(), out.sum()
    latencies = [
        float(fabric.card_latency_s[between_cards > 0].max(initial=0.0)),
        within.package_latency_s if own.out.any() else 0.0,
        within.d2d_latency_s if own.mesh.any() else 0.0,
    ]
    links = fabric.link_bytes(between_cards)
    begins = (own.mesh, own.package, own.out, own.into, links)
    return RoundCost(
        latency_s=max(latencies),
        messages=int((flows > 0).sum(axis=1).max(initial=0)),
        d2d=mesh.reshape(cards, -1) * (1 / within.d2d_bytes_per_s),
        package=in_package * (1 / within.package_bytes_per_s),
        out=out * (1 / within.package_link_bytes_per_s),
        into=into * (1 / within.package_link_bytes_per_s),
        links=links * fabric.link_s_per_byte,
        issues=np.concatenate([part.ravel() > 0 for part in begins]),
        tier_bytes=tier_bytes / cards,
        card_bytes=between_cards,
    )


def _own_traffic(within: Interior, blocks: Floats) -> Inside:
    """Of ``blocks[card, unit, card, unit]`` what the units of one card send to each other."""
    cards, packages, chiplets = len(blocks), within.packages, within.chiplets
    card, package = np.arange(cards), np.arange(packages)
    inside = blocks[card, :, card, :].reshape(cards, packages, chiplets, packages, chiplets)
    across = inside.sum(axis=(2, 4))
    across[:, package, package] = 0.0
    return Inside(
        mesh=inside[:, package, :, package, :].swapaxes(0, 1),
        out=across.sum(axis=2),
        into=across.sum(axis=1),
    )


def _port_traffic(fabric: Fabric, blocks: Floats) -> Inside:
    """The way of what units send to those of other cards, from and to the cards' ports."""
    between = blocks.copy()
    card = np.arange(fabric.cards)
    between[card, :, card, :] = 0.0
    sent, received = between.sum(axis=3), between.sum(axis=1)
    return to_ports(fabric.interior, sent, received, fabric.bridged)
