"""Streams the columns of cards from their actors to the writer."""

from cluster.actors.actor_group import ActorGroup, Lost, Ref, fetch
from cluster.actors.worker import Place
from cluster.perf_model.card import Card
from cluster.serving.run import Machine, Outcome
from cluster.serving.tables import Columns, rank_columns

AHEAD = 2
"""Actors whose columns are on their way at one time."""


class ColumnSource:
    """Fetches columns a little before they are written; the order is that of the map."""

    def __init__(
        self, actor_group: ActorGroup, closed: set[int], machine: Machine, outcome: Outcome
    ) -> None:
        self._actor_group = actor_group
        self._closed = closed
        self._machine = machine
        self._outcome = outcome
        self._coming: dict[int, Ref] = {}
        self._actor = -1
        self._columns: dict[Place, Columns] = {}

    def of(self, card: Card) -> Columns:
        """Columns of one card; cards are asked for in the order of the map."""
        actor = self._actor_group.actor_of(card.index)
        if actor != self._actor:
            self._actor, self._columns = actor, self._fetch(actor)
        place = (card.replica, card.stage)
        if place not in self._columns:  # its actor is lost, but what it has booked is here
            self._columns[place] = rank_columns(self._outcome.bins, place, *self._words())
        return self._columns[place]

    def _words(self) -> tuple[tuple[int, int], tuple[str, ...]]:
        """Pool and bounds, as ``rank_columns`` takes them."""
        return self._machine.fit.pool, self._machine.prices.bounds

    def _fetch(self, actor: int) -> dict[Place, Columns]:
        for other in range(actor, min(actor + AHEAD, len(self._actor_group))):
            if other in self._closed and other not in self._coming:
                self._coming[other] = self._actor_group.ask(other, "columns", *self._words())
        self._coming = {other: ref for other, ref in self._coming.items() if other >= actor}
        try:
            return dict(fetch(self._coming[actor])) if actor in self._coming else {}
        except Lost:
            return {}
