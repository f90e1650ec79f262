"""A card as a value: which rank it is and what lies in its memory. Plain, and safe to pickle."""

from dataclasses import dataclass

from cluster.perf_model.memory import Fit, Holding
from cluster.perf_model.protocols import RouteTables
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card of the map that has a rank; equal shards are equal but for their names."""

    index: int
    """In the order of the map."""
    name: str
    replica: int
    stage: int
    position: int
    """In the tensor group of its stage."""
    holdings: tuple[Holding, ...]
    """Its weights and its part of the KV pool."""


def cards_of(routes: RouteTables, placed: Integers, fit: Fit) -> tuple[Card, ...]:
    """Return the cards of ``placed[replica, stage, position]`` in the order of the map."""
    replicas, stages, positions = placed.shape
    cards = [
        Card(
            index=int(placed[replica, stage, position]),
            name=str(routes.card_id[placed[replica, stage, position]]),
            replica=replica,
            stage=stage,
            position=position,
            holdings=fit.holdings[stage][position],
        )
        for replica in range(replicas)
        for stage in range(stages)
        for position in range(positions)
    ]
    return tuple(sorted(cards, key=lambda card: card.index))
