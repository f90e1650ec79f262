"""What a round of messages puts on the links of a group, and what that costs at their rates."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives.algorithms.rounds import Round
from cluster.perf_model.collectives.fabric import CARD_TIERS, Fabric
from cluster.perf_model.collectives.ports import Inside, to_ports
from cluster.perf_model.devices.work import Interior
from corsair_common.lru import LruCache
from corsair_common.units import Floats

KEPT_BYTES = 1 << 26
"""Traffic kept for machines that differ in rates alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundTraffic:
    """Bytes of a round per byte of its share of the payload, with the way of messages between
    cards from and to the ports."""

    mesh: Floats
    """[card, package x chiplet x chiplet] on every D2D link."""
    package: Floats
    """[card, package] on all D2D links of a package."""
    out: Floats
    """[card, package] to the other packages."""
    into: Floats
    links: Floats
    """[l]"""
    issues: npt.NDArray[np.bool_]
    """[resource] as in ``RoundCost``."""
    tier_bytes: Floats
    """[tier] averaged over the cards."""
    card_bytes: Floats
    """[card, card] from each card to each other."""
    messages: int
    """Most that one rank sends."""
    between_chiplets: bool
    """Whether chiplets of a package send to each other."""
    between_packages: bool

    @property
    def nbytes(self) -> int:
        return sum(
            part.nbytes
            for part in (self.mesh, self.package, self.links, self.issues, self.card_bytes)
        )


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
    busy_s_per_byte: Floats
    """[resource] all five parts."""
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


def round_cost(fabric: Fabric, layout: Hashable, one: Round) -> RoundCost:
    """Latency, busy time and bytes of the messages of a round, all at once.

    ``layout`` is ``fabric.layout_key``, which callers with many rounds make once.
    """
    weight = b"" if one.weight is None else one.weight.tobytes()
    key = layout, one.source.tobytes(), one.target.tobytes(), one.spread, weight
    moved, within = _TRAFFIC.get(key, lambda: round_traffic(fabric, one)), fabric.interior
    latencies = [
        float(fabric.card_latency_s[moved.card_bytes > 0].max(initial=0.0)),
        within.package_latency_s if moved.between_packages else 0.0,
        within.d2d_latency_s if moved.between_chiplets else 0.0,
    ]
    d2d = moved.mesh * (1 / within.d2d_bytes_per_s)
    package = moved.package * (1 / within.package_bytes_per_s)
    out, into = (part * (1 / within.package_link_bytes_per_s) for part in (moved.out, moved.into))
    links = moved.links * fabric.link_s_per_byte
    return RoundCost(
        latency_s=max(latencies),
        messages=moved.messages,
        d2d=d2d,
        package=package,
        out=out,
        into=into,
        links=links,
        busy_s_per_byte=np.concatenate([part.ravel() for part in (d2d, package, out, into, links)]),
        issues=moved.issues,
        tier_bytes=moved.tier_bytes,
        card_bytes=moved.card_bytes,
    )


_TRAFFIC: LruCache[RoundTraffic] = LruCache(1 << 14, KEPT_BYTES, lambda moved: moved.nbytes)


def round_traffic(fabric: Fabric, one: Round) -> RoundTraffic:
    """Bytes of the messages of a round on every link, all at once."""
    ranks = fabric.cards * fabric.ranks_per_card
    flows = np.zeros((ranks, ranks))
    flows[one.source, one.target] = (1.0 if one.weight is None else one.weight) / one.spread
    within, cards = fabric.interior, fabric.cards
    blocks = flows.reshape(cards, within.units, cards, within.units)
    own, outer = _own_traffic(within, blocks), _port_traffic(fabric, blocks)
    out, into = own.out + outer.out, own.into + outer.into
    in_package, between_cards = own.package + outer.package, blocks.sum(axis=(1, 3))
    np.fill_diagonal(between_cards, 0.0)
    tier_bytes = np.bincount(
        fabric.card_tier.ravel(), between_cards.ravel(), minlength=fabric.tiers
    ).astype(np.float64)
    tier_bytes[: len(CARD_TIERS)] = in_package.sum(), out.sum()
    links = fabric.link_bytes(between_cards)
    begins = (own.mesh, own.package, own.out, own.into, links)
    return RoundTraffic(
        mesh=(own.mesh + outer.mesh).reshape(cards, -1),
        package=in_package,
        out=out,
        into=into,
        links=links,
        issues=np.concatenate([part.ravel() > 0 for part in begins]),
        tier_bytes=tier_bytes / cards,
        card_bytes=between_cards,
        messages=int((flows > 0).sum(axis=1).max(initial=0)),
        between_chiplets=bool(own.mesh.any()),
        between_packages=bool(own.out.any()),
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
