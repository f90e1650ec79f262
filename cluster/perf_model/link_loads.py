"""Traffic of every link by time bin: collectives and sends distributed over their paths."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cluster.perf_model.collectives import CARD_TIERS, card_tiers, tiers_of
from cluster.perf_model.timeline import Bins
from corsair_common.lru import LruCache
from corsair_common.units import PS_PER_S, Floats, Integers
from topology.types import LinkKind

if TYPE_CHECKING:
    from topology.route import Routes


Carried: TypeAlias = list[tuple[int, float]]
"""What a link carries: numbers of senders, and the share of their bytes."""

LOADS_HELD = 64
"""Loads kept, since links of a group carry the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLoad:
    """One directed link with traffic."""

    link: int
    """Position in the route tables."""
    name: str
    kind: str
    sent_bytes: Integers
    """[bin]"""
    busy_ps: Integers
    """[bin] time of these bytes at the link's rate. Prices ignore other stages' traffic, so the
    busy time of a shared link may exceed the bin."""


def link_loads(routes: "Routes", cards: Integers, bins: Bins) -> Iterator[LinkLoad]:
    """Loads of the links with traffic, in link order; links that carry the same share arrays.

    ``cards[replica, stage, position]``.
    The bytes of a group on a tier are distributed evenly over all pairs of its cards that the tier
    joins. Traffic inside a card (D2D, package link) is on no link of the routes; it is in
    ``Bins.tier_bytes``.
    """
    senders: list[Integers] = []
    carried: dict[int, Carried] = {}
    replicas, stages, _ = cards.shape
    for replica in range(replicas):
        for stage in range(stages):
            here = cards[replica, stage]
            for tier, shares in _group_shares(routes, here).items():
                _add(carried, senders, shares, bins.tier_bytes[replica, stage, :, tier])
            if stage + 1 < stages:
                shares = _shares(routes, here, cards[replica, stage + 1], 1.0)
                _add(carried, senders, shares, bins.send_bytes[replica, stage])
    loads: LruCache[tuple[Integers, Integers]] = LruCache(LOADS_HELD)
    for link, parts in sorted(carried.items()):
        rate = _rate(routes, link)
        made = partial(_loads, senders, parts, rate)
        yield _named(routes, link, *loads.get((tuple(parts), rate), made))


def load_of(routes: "Routes", link: int, sent_bytes: Floats | Integers) -> LinkLoad:
    """The load of a link with ``sent_bytes[bin]``."""
    return _named(routes, link, *_whole(sent_bytes, _rate(routes, link)))


def _named(routes: "Routes", link: int, sent_bytes: Integers, busy_ps: Integers) -> LinkLoad:
    return LinkLoad(
        link=link,
        name=str(routes.link_name[link]),
        kind=LinkKind(int(routes.link_kind[link])).name.lower(),
        sent_bytes=sent_bytes,
        busy_ps=busy_ps,
    )


def _rate(routes: "Routes", link: int) -> float:
    return float(routes.link_bandwidth_bytes_per_s[link]) * float(routes.link_efficiency[link])


def _loads(senders: list[Integers], parts: Carried, rate: float) -> tuple[Integers, Integers]:
    """[bin] bytes and busy time of a link that carries these shares."""
    sent = np.zeros(senders[0].shape)
    for sender, share in parts:
        sent += share * senders[sender]
    return _whole(sent, rate)


def _whole(sent_bytes: Floats | Integers, rate: float) -> tuple[Integers, Integers]:
    """Whole bytes, and picoseconds at the link's rate."""
    busy_ps = np.rint(sent_bytes / rate * PS_PER_S).astype(np.int64)
    return np.rint(sent_bytes).astype(np.int64), busy_ps


def _add(
    carried: dict[int, Carried], senders: list[Integers], shares: dict[int, float], sent: Integers
) -> None:
    if not sent.any():
        return
    for link, share in shares.items():
        carried.setdefault(link, []).append((len(senders), share))
    senders.append(sent)


def _group_shares(routes: "Routes", cards: Integers) -> dict[int, dict[int, float]]:
    """By tier: bytes on each link for one byte of each card on the tier."""
    tiers = card_tiers(routes, cards)
    shares = {}
    for tier in range(len(CARD_TIERS), len(tiers_of(routes))):
        sources, destinations = np.nonzero(tiers == tier)
        if sources.size:
            each = cards.size / sources.size
            shares[tier] = _shares(routes, cards[sources], cards[destinations], each)
    return shares


def _shares(
    routes: "Routes", sources: Integers, destinations: Integers, each: float
) -> dict[int, float]:
    """Bytes on each link when each source sends ``each`` to the destination of its position."""
    shares: dict[int, float] = {}
    for source, destination in zip(sources.tolist(), destinations.tolist(), strict=True):
        for link in routes.path(source, destination).tolist():
            shares[link] = shares.get(link, 0.0) + each
    return shares
