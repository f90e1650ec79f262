"""A tensor group: its cards, and its tiers of ranks."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives.algorithms import CollectiveError
from cluster.perf_model.collectives.fabric import CARD_TIERS, Fabric, fabric_of
from cluster.perf_model.protocols import Figures, RouteTables
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One level of a group: every rank has a peer in each of ``members`` equal parts."""

    name: str
    """One of ``tiers_of``: the highest level that the tier's paths cross."""
    members: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Cards with the shards of the same layers; the members of a collective are their chiplets."""

    cards: Integers
    """In the order of the topology, so that neighbours are adjacent."""
    tiers: tuple[Tier, ...]
    """Bottom-up; those with a single member are left out."""
    fabric: Fabric
    wire_bits: float
    """Bits of one element in the payload's format, the unit of reductions."""
    add_s_per_byte: float
    """SIMD time of one chiplet to add one byte of payload to another."""
    message_s: float
    """``links.chunk_overhead_s``: overhead of a rank for each sent message."""

    @property
    def cost_key(self) -> tuple[Hashable, ...]:
        """Key of equal cost, of any machine."""
        fabric = self.fabric
        own = self.wire_bits, self.add_s_per_byte, self.message_s, self.tiers
        return (*own, fabric.interior, fabric.tiers, fabric.cost_key)

    @property
    def ranks(self) -> int:
        return int(self.cards.size) * self.fabric.ranks_per_card


def group_of(
    hardware: Figures, routes: RouteTables, cards: Sequence[int], *, wire_bits: float = 16.0
) -> Group:
    """The group of the ``cards`` (indices into the routes); FP16 messages by default.

    A level whose nodes have unequal numbers of the cards is merged with the level above: six cards
    on two PCIe switches (four and two) form pairs, and three pairs exchange directly. So is a level
    whose nodes split those of the level below (a bridged pair on two switches).

    Raises
    ------
    CollectiveError
        No card, a card twice, or a card that is not in the topology.
    """
    chosen = _checked(cards, len(routes.card_id))
    units = [np.asarray(unit)[chosen] for _, unit in routes.levels]
    chosen = chosen[np.lexsort(np.stack([chosen, *units]))]
    fabric = fabric_of(hardware, routes, chosen)
    return Group(
        cards=chosen,
        tiers=_tiers(fabric, routes, chosen),
        fabric=fabric,
        wire_bits=wire_bits,
        add_s_per_byte=fabric.interior.add_element_s * 8 / wire_bits,
        message_s=hardware["links.chunk_overhead_s"],
    )


def _checked(cards: Sequence[int], known: int) -> Integers:
    chosen = np.asarray(cards, np.int64).ravel()
    if chosen.size == 0:
        raise CollectiveError("a group needs at least one card, got none")
    if np.unique(chosen).size != chosen.size:
        raise CollectiveError(f"a card is twice in the group {chosen.tolist()}")
    if chosen.min() < 0 or chosen.max() >= known:
        raise CollectiveError(f"cards are 0 to {known - 1}, got {chosen.tolist()}")
    return chosen


def _tiers(fabric: Fabric, routes: RouteTables, cards: Integers) -> tuple[Tier, ...]:
    """Bottom-up; the product of their members is the number of ranks."""
    nesting = list(
        zip(CARD_TIERS, (fabric.interior.chiplets, fabric.interior.packages), strict=True)
    )
    unit: npt.NDArray[np.integer] = np.arange(cards.size)
    for name, key in routes.levels:
        parent = np.asarray(key)[cards]
        first = np.unique(unit, return_index=True)[1]
        counts = np.unique(parent[first], return_counts=True)[1]
        whole = np.unique(np.stack([unit, parent]), axis=1).shape[1] == first.size
        if whole and np.unique(counts).size == 1:
            nesting.append((name, int(counts[0])))
            unit = parent
    return tuple(Tier(name=name, members=members) for name, members in nesting if members > 1)
