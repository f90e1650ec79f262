"""Streams operations as columns from the cards' actors to the writer."""

from collections import deque
from collections.abc import Iterator

from cluster.actors.actor_group import ActorGroup, Lost, Ref, fetch
from cluster.replay.run import ReplayMachine, ReplayOutcome
from cluster.replay.tables import by_card, card_ops, seats_of
from results.remote_parts import Encoded

AHEAD = 2
"""Cards whose operations are on their way at one time, to their actor or back from it."""


class OpSource:
    """Asks for parts a little before they are written; the order is that of the cards.

    A part hangs on nothing but what is sent along, so a lost one is simply asked for again.
    """

    def __init__(
        self, actor_group: ActorGroup, machine: ReplayMachine, outcome: ReplayOutcome
    ) -> None:
        self._actor_group = actor_group
        self._machine = machine
        self._outcome = outcome
        self._seats = seats_of(machine)

    def __iter__(self) -> Iterator[Encoded]:
        """One part per card that has a rank, in card order."""
        ranks = deque(by_card(self._seats))
        coming: deque[tuple[int, Ref]] = deque()
        while ranks or coming:
            while ranks and len(coming) < AHEAD:
                rank = ranks.popleft()
                coming.append((rank, self._ask(rank)))
            yield self._fetch(*coming.popleft())

    def _ask(self, rank: int) -> Ref:
        card = self._seats[rank].index
        ops = card_ops(self._machine, self._outcome, rank)
        return self._actor_group.ask(self._actor_group.actor_of(card), "encode", card, ops)

    def _fetch(self, rank: int, ref: Ref) -> Encoded:
        while True:
            try:
                part: Encoded = fetch(ref)
            except Lost:
                self._actor_group.mend()
                ref = self._ask(rank)
            else:
                return part
