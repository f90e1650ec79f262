"""A tensor group: which cards, how its ranks are nested in tiers, and how fast each tier is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.fabric import TIERS, Fabric, Floats, Step, fabric_of, step_of
from cluster.machine.views import Figures, RouteTables

ALGORITHMS = ("none", "direct", "ring", "halving_doubling", "tree", "hierarchical")
"""The order of ``Cost.algorithm``; ``none`` where nothing is sent."""


class CollectiveError(ValueError):
    """A group or an algorithm that does not exist."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tier:
    """One level of a group: every rank has a peer in each of ``members`` equal parts."""

    name: str
    """One of TIERS: the highest level that the tier's paths cross."""
    members: int
    latency_s: float
    """Of its longest path."""
    bandwidth_bytes_per_s: float
    """What one card's ranks together can send through it in one direction, after
    ``links.efficiency``, while all cards of the group send alike: the slowest link used decides."""
    step: Step
    """Each rank sends one byte, spread evenly over its peers of the tier."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Cards that hold the shards of the same layers; their chiplets are the ranks."""

    cards: npt.NDArray[np.int64]
    """In the order of the map, so that neighbours stand together."""
    tiers: tuple[Tier, ...]
    """Bottom-up; those with a single member are left out."""
    fabric: Fabric
    wire_bits: float
    """Bits of one element in the payload's format: what a reduction adds."""
    add_s_per_byte: float
    """SIMD time of one chiplet to add one byte of payload to another."""
    message_s: float
    """``links.chunk_overhead_s``: what a rank pays for each message that it sends."""

    @property
    def ranks(self) -> int:
        return int(self.cards.size) * self.fabric.ranks_per_card


def group_of(
    hardware: Figures, routes: RouteTables, cards: Sequence[int], *, wire_bits: float = 16.0
) -> Group:
    """The group of the ``cards`` (indices into the routes); FP16 on the wire unless told.

    Levels whose nodes hold unequal numbers of the cards are joined with the level above: six cards
    on two PCIe switches (four and two) form pairs, and three pairs exchange directly. So is a level
    whose nodes cut through those of the level below (a bridged pair on two switches).

    Raises
    ------
    CollectiveError
        No card, a card twice, or a card that is not on the map.
    """
    chosen = _checked(cards, len(routes.card_id))
    keys = [np.asarray(key)[chosen] for key in _levels(routes)]
    chosen = chosen[np.lexsort(np.stack([chosen, *keys]))]
    fabric = fabric_of(hardware, routes, chosen)
    lanes = hardware["simd.lanes"] * hardware["chiplet.slices"]
    element_s = hardware["simd.add_clocks"] / (lanes * hardware["card.clock_hz"])
    return Group(
        cards=chosen,
        tiers=tuple(_tiers(fabric, _nesting(fabric, routes, chosen))),
        fabric=fabric,
        wire_bits=wire_bits,
        add_s_per_byte=element_s * 8 / wire_bits,
        message_s=hardware["links.chunk_overhead_s"],
    )


def _checked(cards: Sequence[int], known: int) -> npt.NDArray[np.int64]:
    chosen = np.asarray(cards, np.int64).ravel()
    if chosen.size == 0:
        raise CollectiveError("a group needs at least one card, got none")
    if np.unique(chosen).size != chosen.size:
        raise CollectiveError(f"a card stands twice in the group {chosen.tolist()}")
    if chosen.min() < 0 or chosen.max() >= known:
        raise CollectiveError(f"cards are 0 to {known - 1}, got {chosen.tolist()}")
    return chosen


def _levels(routes: RouteTables) -> tuple[npt.NDArray[np.int32], ...]:
    return routes.pair, routes.switch, routes.server, routes.rack


def _nesting(
    fabric: Fabric, routes: RouteTables, cards: npt.NDArray[np.int64]
) -> list[tuple[str, int]]:
    """(name, members) bottom-up; their product is the number of ranks."""
    nesting = [("d2d", fabric.chiplets), ("package", fabric.packages)]
    everywhere = np.zeros(len(routes.card_id), np.int32)
    unit = np.arange(cards.size)
    for name, key in zip(TIERS[2:], (*_levels(routes), everywhere), strict=True):
        parent = np.asarray(key)[cards]
        first = np.unique(unit, return_index=True)[1]
        counts = np.unique(parent[first], return_counts=True)[1]
        whole = np.unique(np.stack([unit, parent]), axis=1).shape[1] == first.size
        if whole and np.unique(counts).size == 1:
            nesting.append((name, int(counts[0])))
            unit = parent
    return [(name, members) for name, members in nesting if members > 1]


def _tiers(fabric: Fabric, nesting: list[tuple[str, int]]) -> list[Tier]:
    tiers = []
    below = 1
    ranks = fabric.cards * fabric.ranks_per_card
    for name, members in nesting:
        step = step_of(fabric, _peers(ranks, below, members) / (members - 1))
        tiers.append(
            Tier(
                name=name,
                members=members,
                latency_s=step.latency_s,
                bandwidth_bytes_per_s=fabric.ranks_per_card / step.slowest_s_per_byte,
                step=step,
            )
        )
        below *= members
    return tiers


def _peers(ranks: int, below: int, members: int) -> Floats:
    """[rank, rank] 1 where two ranks differ in just the one digit that counts the members."""
    rank = np.arange(ranks)
    digit = rank // below % members
    rest = rank - digit * below
    same_rest = rest[:, None] == rest[None, :]
    peers: Floats = (same_rest & (digit[:, None] != digit[None, :])).astype(np.float64)
    return peers
