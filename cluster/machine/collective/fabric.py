"""The links and shared capacities of a group, and what a pattern of flows asks of each of them."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.machine.views import Figures, RouteTables

TIERS = ("d2d", "package", "bridge", "switch", "inter_switch", "ethernet", "spine")
"""Every level that a group can span, bottom-up; the order of each ``tier_bytes`` axis."""

IN_CARD_TIERS = 2
"""How many of TIERS lie inside a card."""

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fabric:
    """What lies between the ranks of some cards. Rank r is chiplet ``r % chiplets`` of a card.

    Rates are seconds per byte after ``links.efficiency``. A chiplet reaches its card's own ports
    (bridge, PCIe) without crossing D2D or package links: every chiplet has PCIe lanes of its own.
    """

    packages: int
    chiplets: int
    """Per package."""
    d2d_s_per_byte: float
    """One direction of the link between two chiplets of a package."""
    d2d_total_s_per_byte: float
    """All D2D traffic of one package together, both directions."""
    package_link_s_per_byte: float
    """What one package sends to another of its card, all its chiplets together."""
    d2d_latency_s: float
    package_latency_s: float
    card_latency_s: Floats
    """[card, card] 0 on the diagonal."""
    card_tier: npt.NDArray[np.int64]
    """[card, card] index into TIERS of the level that joins two cards; 0 on the diagonal."""
    link: npt.NDArray[np.int64]
    """[l] route link of each link that the cards can use among themselves."""
    link_s_per_byte: Floats
    """[l]"""
    crossing_pair: npt.NDArray[np.int64]
    """[x] flat (source, destination) index of each crossing of a link."""
    crossing_link: npt.NDArray[np.int64]
    """[x] position in ``link`` of the link crossed."""

    @property
    def cards(self) -> int:
        return int(self.card_latency_s.shape[0])

    @property
    def ranks_per_card(self) -> int:
        return self.packages * self.chiplets

    @property
    def links(self) -> bytes:
        """All that the cost of a collective depends on, as far as cards of one kind differ."""
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
class Step:
    """Flows between ranks that start together, per byte of some unit."""

    latency_s: float
    """Of the longest path."""
    messages: int
    """Most messages that one rank sends."""
    busy_s_per_byte: Floats
    """[resource] how long each link or shared capacity is busy."""
    tier_bytes: Floats
    """[tier] bytes that a card puts on each tier, averaged over the cards."""
    card_bytes: Floats
    """[card, card] sent from each card to each other."""

    @property
    def slowest_s_per_byte(self) -> float:
        return float(self.busy_s_per_byte.max(initial=0.0))


def fabric_of(hardware: Figures, routes: RouteTables, cards: npt.NDArray[np.int64]) -> Fabric:
    """The links between ``cards``, each asked once for its path to every other."""
    efficiency = hardware["links.efficiency"]
    count = cards.size
    crossed: list[npt.NDArray[np.int64]] = []
    pairs: list[npt.NDArray[np.int64]] = []
    for source in range(count):
        for destination in range(count):
            if source == destination:
                continue
            path = np.asarray(routes.path(int(cards[source]), int(cards[destination])), np.int64)
            crossed.append(path)
            pairs.append(np.full(path.size, source * count + destination, np.int64))
    none = np.zeros(0, np.int64)
    links, crossing_link = np.unique(np.concatenate([none, *crossed]), return_inverse=True)
    sources = np.repeat(cards, count)
    latency_ps = np.asarray(routes.latency_ps(sources, np.tile(cards, count)), np.float64)
    latency_s = latency_ps.reshape(count, count) * 1e-12
    np.fill_diagonal(latency_s, 0.0)
    return Fabric(
        packages=int(hardware["card.packages"]),
        chiplets=int(hardware["package.chiplets"]),
        d2d_s_per_byte=1 / (hardware["package.d2d_bandwidth_bytes_per_s"] * efficiency),
        d2d_total_s_per_byte=1 / (hardware["package.d2d_total_bytes_per_s"] * efficiency),
        package_link_s_per_byte=1
        / (hardware["card.package_link_bandwidth_bytes_per_s"] * efficiency),
        d2d_latency_s=hardware["package.d2d_latency_s"],
        package_latency_s=hardware["card.package_link_latency_s"],
        card_latency_s=latency_s,
        card_tier=card_tiers(routes, cards),
        link=links,
        link_s_per_byte=1 / (np.asarray(routes.link_bandwidth_bytes_per_s)[links] * efficiency),
        crossing_pair=np.concatenate([none, *pairs]),
        crossing_link=crossing_link.astype(np.int64),
    )


def card_tiers(routes: RouteTables, cards: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[card, card] the lowest level that holds both: bridge, switch, server, rack or spine."""
    tier = np.full((cards.size, cards.size), TIERS.index("spine"), np.int64)
    levels = (
        ("ethernet", routes.rack),
        ("inter_switch", routes.server),
        ("switch", routes.switch),
        ("bridge", routes.pair),
    )
    for name, key in levels:
        place = np.asarray(key)[cards]
        tier[place[:, None] == place[None, :]] = TIERS.index(name)
    np.fill_diagonal(tier, 0)
    return tier


def step_of(fabric: Fabric, flows: Floats) -> Step:
    """What ``flows[rank, rank]`` (bytes per byte of the unit) asks of the fabric."""
    cards, packages, chiplets = fabric.cards, fabric.packages, fabric.chiplets
    blocks = flows.reshape(cards, packages * chiplets, cards, packages * chiplets)
    between_cards = blocks.sum(axis=(1, 3))
    card = np.arange(cards)
    inside = blocks[card, :, card, :].reshape(cards, packages, chiplets, packages, chiplets)
    between_packages = inside.sum(axis=(2, 4))
    package = np.arange(packages)
    mesh = inside[:, package, :, package, :].swapaxes(0, 1)
    in_package = mesh.sum(axis=(2, 3))
    across = between_packages.copy()
    across[:, package, package] = 0.0
    np.fill_diagonal(between_cards, 0.0)
    busy = np.concatenate(
        [
            mesh.ravel() * fabric.d2d_s_per_byte,
            in_package.ravel() * fabric.d2d_total_s_per_byte,
            across.sum(axis=2).ravel() * fabric.package_link_s_per_byte,
            across.sum(axis=1).ravel() * fabric.package_link_s_per_byte,
            fabric.link_bytes(between_cards) * fabric.link_s_per_byte,
        ]
    )
    tier_bytes = np.bincount(
        fabric.card_tier.ravel(), between_cards.ravel(), minlength=len(TIERS)
    ).astype(np.float64)
    tier_bytes[TIERS.index("d2d")] = in_package.sum()
    tier_bytes[TIERS.index("package")] = across.sum()
    latencies = [
        float(fabric.card_latency_s[between_cards > 0].max(initial=0.0)),
        fabric.package_latency_s if across.any() else 0.0,
        fabric.d2d_latency_s if mesh.any() else 0.0,
    ]
    return Step(
        latency_s=max(latencies),
        messages=int((flows > 0).sum(axis=1).max(initial=0)),
        busy_s_per_byte=busy,
        tier_bytes=tier_bytes / cards,
        card_bytes=between_cards,
    )
