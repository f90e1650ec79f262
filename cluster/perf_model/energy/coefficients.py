"""Joules: whole counts times the catalogue's constants, after the run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives import CARD_TIERS, card_tiers, tiers_of
from cluster.perf_model.energy.counters import COUNTS, KMAC, LINE_BYTES, MAC_WIDTHS
from cluster.perf_model.energy.dvfs import BYTE_BITS, energy_scale
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import Integers
from cluster.perf_model.timeline import Bins
from topology.types import LinkKind

if TYPE_CHECKING:
    from topology.route import Routes

Floats: TypeAlias = npt.NDArray[np.float64]

PARTS = (
    "mac",
    "sram",
    "lpddr",
    "noc",
    "simd",
    "d2d",
    "pcie",
    "bridge",
    "ethernet",
    "static",
)
"""Where a card's energy goes, in the order of every axis of parts."""

PS_PER_S = 1e12
_PART_OF_LINK = {
    LinkKind.D2D: "d2d",
    LinkKind.PACKAGE: "pcie",  # the packages of a card are joined by PCIe x16
    LinkKind.BRIDGE: "bridge",
    LinkKind.PCIE: "pcie",
    LinkKind.INTER_SWITCH: "pcie",
    LinkKind.HOST: "pcie",
    LinkKind.NIC: "pcie",
    LinkKind.ETHERNET: "ethernet",
    LinkKind.SPINE: "ethernet",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joules:
    """What every count, byte and second costs."""

    count_j: Floats
    """[COUNTS, PARTS] at the card's clock."""
    link_j: Floats
    """[replica, stage, tier + 1, PARTS] of a byte that a card puts on a tier of its stage's group,
    and (last) of one that it sends on to the next stage: every link on the way, with a read from
    SRAM where it leaves and a write where it arrives."""
    static_w: float
    cards_per_stage: int
    parts: tuple[str, ...] = PARTS
    """Where the device's energy goes, in the order of every axis of parts."""


def joules_of(figures: Figures, routes: "Routes", cards: Integers) -> Joules:
    """Constants for stages on ``cards[replica, stage, position]``."""
    paths = _Paths(routes, _inside(figures), 2 * _sram_j(figures))
    replicas, stages, _ = cards.shape
    link_j = np.zeros((replicas, stages, len(tiers_of(routes)) + 1, len(PARTS)))
    for replica in range(replicas):
        for stage in range(stages):
            here = cards[replica, stage]
            link_j[replica, stage, :-1] = paths.of_group(here)
            if stage + 1 < stages:
                link_j[replica, stage, -1] = paths.of_send(here, cards[replica, stage + 1])
    return Joules(
        count_j=count_joules(figures),
        link_j=link_j,
        static_w=figures["card.static_w"],
        cards_per_stage=int(cards.shape[2]),
    )


def tier_joules(figures: Figures, routes: "Routes", cards: Integers) -> Floats:
    """[tier, PARTS] of a byte on each tier that stages or neighbouring stages of these cards use.

    A tier that none of them uses costs nothing.
    """
    paths = _Paths(routes, _inside(figures), 2 * _sram_j(figures))
    replicas, stages, _ = cards.shape
    for replica in range(replicas):
        for stage in range(stages):
            paths.of_group(cards[replica, stage])
            if stage + 1 < stages:
                paths.of_send(cards[replica, stage], cards[replica, stage + 1])
        paths.of_send(cards[replica, -1], cards[replica, 0])
    return paths.table()


def count_joules(figures: Figures) -> Floats:
    """[COUNTS, PARTS] joules of one of each count; on-die ones move with the clock."""
    scale = energy_scale(figures)
    joules = {
        **{
            f"mac_int{width}_kmac": ("mac", scale * KMAC * figures[f"energy.mac_int{width}_j"])
            for width in MAC_WIDTHS
        },
        "sram_lines": ("sram", LINE_BYTES * _sram_j(figures)),
        "lpddr_bytes": ("lpddr", BYTE_BITS * figures["energy.lpddr_j_per_bit"]),
        "noc_lines": ("noc", scale * LINE_BYTES * BYTE_BITS * figures["energy.noc_j_per_bit"]),
        **{
            name: ("simd", scale * figures[f"energy.{name}_j"])
            for name in COUNTS
            if name.startswith("simd_")
        },
    }
    table = np.zeros((len(COUNTS), len(PARTS)))
    for name, (part, cost) in joules.items():
        table[COUNTS.index(name), PARTS.index(part)] = cost
    return table


def card_joules(joules: Joules, bins: Bins, place: tuple[int, int], end_ps: int) -> Floats:
    """[bin, PARTS] of each card of a stage of a replica; static watts run until ``end_ps``."""
    moved = np.concatenate([bins.tier_bytes[place], bins.send_bytes[place][:, None]], axis=1)
    spent = costing(bins.counts[place], joules.count_j) + costing(moved, joules.link_j[place])
    return spent + idle_joules(joules, bins, end_ps)


def costing(counts: Integers, cost_j: Floats) -> Floats:
    """[..., p] ``counts[..., k]`` times ``cost_j[k, p]``.

    Not by the matrix product, whose sums may run in another order with another number of threads.
    """
    spent: Floats = np.einsum("...k,kp->...p", counts.astype(np.float64), cost_j)
    return spent


def idle_joules(joules: Joules, bins: Bins, end_ps: int) -> Floats:
    """[bin, PARTS] of a card that does nothing."""
    spent = np.zeros((bins.counts.shape[2], len(PARTS)))
    spent[:, PARTS.index("static")] = joules.static_w * bin_seconds(bins, end_ps)
    return spent


def message_joules(
    figures: Figures, routes: "Routes", link_bytes: Integers, sent_bytes: Integers
) -> Floats:
    """[bin, PARTS] of messages between cards: links, and SRAM read and written at the ends.

    ``link_bytes[bin, link]`` on every link on the way, ``sent_bytes[bin]`` by the cards.
    """
    spent = np.zeros((len(link_bytes), len(PARTS)))
    spent[:, PARTS.index("sram")] = 2 * _sram_j(figures) * sent_bytes
    for link in np.flatnonzero(link_bytes.any(axis=0)).tolist():
        part = _PART_OF_LINK.get(LinkKind(int(routes.link_kind[link])))
        if part is not None:
            per_bit = float(routes.link_energy_j_per_bit[link])
            spent[:, PARTS.index(part)] += link_bytes[:, link] * (BYTE_BITS * per_bit)
    return spent


def bin_seconds(bins: Bins, end_ps: int) -> Floats:
    """[bin] how much of each bin lies before the end of the run."""
    edges = bins.start_ps + np.arange(bins.counts.shape[2] + 1) * np.int64(bins.bin_ps)
    seconds: Floats = np.diff(np.minimum(edges, end_ps)) / PS_PER_S
    return seconds


def _sram_j(figures: Figures) -> float:
    """Of a byte, at the card's clock."""
    return energy_scale(figures) * BYTE_BITS * figures["energy.sram_j_per_bit"]


def _inside(figures: Figures) -> dict[int, Floats]:
    """[PARTS] of a byte on each tier inside a card."""
    names = ("energy.d2d_j_per_bit", "energy.pcie_j_per_bit")
    parts = (_PART_OF_LINK[LinkKind.D2D], _PART_OF_LINK[LinkKind.PACKAGE])
    found = {}
    for tier, (name, part) in enumerate(zip(names, parts, strict=True)):
        found[tier] = np.zeros(len(PARTS))
        found[tier][PARTS.index(part)] = BYTE_BITS * figures[name]
    return found


class _Paths:
    """Joules of a byte by tier. Equal tiers are crossed over equal kinds of links."""

    def __init__(self, routes: "Routes", inside: dict[int, Floats], ends_j: float) -> None:
        self._routes = routes
        self._ends = np.zeros(len(PARTS))
        self._ends[PARTS.index("sram")] = ends_j
        self._known = {tier: cost + self._ends for tier, cost in inside.items()}

    def table(self) -> Floats:
        """[tier, PARTS] as far as known."""
        costs = np.zeros((len(tiers_of(self._routes)), len(PARTS)))
        for tier, cost in self._known.items():
            costs[tier] = cost
        return costs

    def of_group(self, cards: Integers) -> Floats:
        """[tier, PARTS]; zero where no two of the cards are joined by the tier."""
        costs = np.zeros((len(tiers_of(self._routes)), len(PARTS)))
        tiers = card_tiers(self._routes, cards)
        inside = len(CARD_TIERS)
        for tier in (*range(inside), *np.unique(tiers[tiers >= inside]).tolist()):
            if tier >= inside:
                pair = np.argwhere(tiers == tier)[0]
                costs[tier] = self._across(tier, int(cards[pair[0]]), int(cards[pair[1]]))
            else:
                costs[tier] = self._known[tier]
        return costs

    def of_send(self, sources: Integers, targets: Integers) -> Floats:
        """[PARTS] mean over the pairs of cards of two stages."""
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
                part = _PART_OF_LINK.get(LinkKind(int(self._routes.link_kind[link])))
                if part is not None:
                    per_bit = float(self._routes.link_energy_j_per_bit[link])
                    cost[PARTS.index(part)] += BYTE_BITS * per_bit
            self._known[tier] = cost
        return self._known[tier]
