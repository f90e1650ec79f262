"""A summary of the topology: its tiers of links, and the latencies between cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corsair_common.units import PS_PER_S
from topology.build import build_card, build_chiplet
from topology.catalog import Hardware
from topology.inventory import count_nodes
from topology.route import Routes
from topology.types import LINK_ENDS, Graph, LinkKind, NodeKind, outwards

_FIGURES: Mapping[LinkKind, tuple[str, str]] = {
    LinkKind.NOC: ("chiplet.noc_bytes_per_clock", "chiplet.noc_latency_s"),
    LinkKind.D2D: ("package.d2d_bandwidth_bytes_per_s", "package.d2d_latency_s"),
    LinkKind.PACKAGE: ("card.package_link_bandwidth_bytes_per_s", "card.package_link_latency_s"),
    LinkKind.BRIDGE: ("pair.bridge_bandwidth_bytes_per_s", "pair.bridge_latency_s"),
    LinkKind.NVLINK: ("nvswitch.bandwidth_bytes_per_s", "nvswitch.latency_s"),
    LinkKind.MESH: ("mesh.link_bandwidth_bytes_per_s", "mesh.latency_s"),
    LinkKind.PCIE: ("card.pcie_bandwidth_bytes_per_s", "server.pcie_latency_s"),
    LinkKind.INTER_SWITCH: (
        "server.inter_switch_bandwidth_bytes_per_s",
        "server.inter_switch_latency_s",
    ),
    LinkKind.HOST: ("card.pcie_bandwidth_bytes_per_s", "server.pcie_latency_s"),
    LinkKind.NIC: ("card.pcie_bandwidth_bytes_per_s", "rack.network_latency_s"),
    LinkKind.ETHERNET: ("server.nic_bandwidth_bytes_per_s", "rack.leaf_latency_s"),
    LinkKind.SPINE: ("pod.spine_oversubscription", "pod.spine_latency_s"),
}
"""Sources of a tier's bandwidth and latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """All links of one kind, each cable counted once."""

    name: str
    joins: str
    links: int
    bandwidth_bytes_per_s: tuple[float, float]
    """Least and most of one link in one direction."""
    latency_s: tuple[float, float]
    """Least and most of one leg."""
    bandwidth_confidence: str
    """Empty for a user's own topology."""
    latency_confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """A typical path between two cards in this ``relation``."""

    relation: str
    example: str
    links: int
    latency_s: float
    bandwidth_bytes_per_s: float
    """Of the narrowest link on the path."""


def tiers_of(graph: Graph, hardware: Hardware | None = None) -> list[Tier]:
    """The tiers from the inside outwards; with hardware also those inside its cards."""
    tiers = []
    if hardware is not None and "package.chiplets" in hardware.figures:
        cards = count_nodes(graph).get(NodeKind.CARD, 0)
        card = build_card(hardware)
        chiplets = cards * count_nodes(card)[NodeKind.CHIPLET]
        tiers += _tiers(build_chiplet(hardware), chiplets, hardware)
        tiers += [t for t in _tiers(card, cards, hardware) if t.name != LinkKind.PORT.label]
    drawn = {tier.name for tier in tiers}
    return tiers + [tier for tier in _tiers(graph, 1, hardware) if tier.name not in drawn]


def _tiers(graph: Graph, copies: int, hardware: Hardware | None) -> list[Tier]:
    by_kind: dict[LinkKind, list[tuple[str, str]]] = {}
    for source, target, link in graph.edges(data=True):
        by_kind.setdefault(link["kind"], []).append((source, target))
    return [_tier(graph, kind, by_kind[kind], copies, hardware) for kind in outwards(by_kind)]


def _tier(
    graph: Graph,
    kind: LinkKind,
    ends: Sequence[tuple[str, str]],
    copies: int,
    hardware: Hardware | None,
) -> Tier:
    links = [graph.edges[pair] for pair in ends]
    rates = [link["bandwidth_bytes_per_s"] for link in links]
    times = [link["latency_ps"] for link in links]
    figures = _FIGURES.get(kind) if hardware is not None else None
    sure = [hardware.figures[f].confidence for f in figures] if hardware and figures else ["", ""]
    joined = (kind_of_end.replace("_", " ") for kind_of_end in LINK_ENDS[kind])
    return Tier(
        name=kind.label,
        joins=" - ".join(joined),
        links=copies * len(links) // 2,
        bandwidth_bytes_per_s=(min(rates), max(rates)),
        latency_s=(min(times) / PS_PER_S, max(times) / PS_PER_S),
        bandwidth_confidence=sure[0],
        latency_confidence=sure[1],
    )


def distances(routes: Routes, start: int = 0) -> list[Distance]:
    """From a card to the first card in each relation to it, nearest relation first."""
    found = []
    apart = np.ones(len(routes.card_id), np.bool_)
    groups = (
        ("of one pair (bridge)", routes.pair),
        ("in one scale-up network", routes.scale_up.domain),
        ("under one PCIe switch", routes.switch),
        ("in one server", routes.server),
        ("in one rack", routes.rack),
        ("across racks", np.zeros_like(routes.rack)),
    )
    apart[start : start + 1] = False
    for relation, group in groups:
        near = apart & (group == group[start : start + 1])
        apart &= ~near
        if near.any():
            found.append(_distance(routes, relation, start, int(near.argmax())))
    return found


def _distance(routes: Routes, relation: str, start: int, other: int) -> Distance:
    path = routes.path(start, other)
    return Distance(
        relation=relation,
        example=f"{routes.card_id[start]} - {routes.card_id[other]}",
        links=len(path),
        latency_s=int(routes.latency_ps(start, other)) / PS_PER_S,
        bandwidth_bytes_per_s=float(routes.link_bandwidth_bytes_per_s[path].min()),
    )
