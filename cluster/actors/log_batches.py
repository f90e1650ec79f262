"""Sends the step log of a part to its actors in batches, with bounded flight."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from cluster.actors.actor_group import ActorGroup, Lost, Ref, fetch
from cluster.perf_model.tables import STEP, Integers, Records

BATCH_ROWS = 1 << 16
"""Rows of the log that travel together, 8 MB: a call of an actor costs about a millisecond."""

IN_FLIGHT = 2
"""Batches of a part that are on their way at one time; a third one waits."""


class Batches:
    """Gathers the engine's small windows into large ones of a fixed number of rows."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._kept: list[Records] = []
        self._count = 0

    def add(self, window: Records) -> Iterator[Records]:
        """Take a copy of a window; yield a batch whenever one is full."""
        while len(window):
            taken = window[: self._rows - self._count]
            self._kept.append(taken.copy())
            self._count += len(taken)
            window = window[len(taken) :]
            if self._count == self._rows:
                yield self.rest()

    def rest(self) -> Records:
        """What has been taken since the last full batch."""
        batch = np.concatenate([np.zeros(0, STEP), *self._kept])
        self._kept, self._count = [], 0
        return batch


class LogStream:
    """The log of one part on its way to the actors that account for it."""

    def __init__(self, actor_group: ActorGroup, number: int, actors: set[int]) -> None:
        self._actor_group = actor_group
        self._number = number
        self.actors = set(actors)
        """Those that have answered every time so far."""
        self._flying: deque[dict[int, Ref]] = deque()

    def open(self, replicas: Integers, prices: Ref, max_bins: int, begin_ps: int) -> None:
        """Begin new accounts."""
        inputs = self._number, replicas, prices, max_bins, begin_ps
        self._flying.append(
            {actor: self._actor_group.ask(actor, "open", *inputs) for actor in self.actors}
        )

    def push(self, window: Ref) -> None:
        """Send a window to all; wait if there are too many on their way."""
        if len(self._flying) == IN_FLIGHT:
            self._land()
        self._flying.append(
            {
                actor: self._actor_group.ask(actor, "account", self._number, window)
                for actor in self.actors
            }
        )

    def forsake(self) -> None:
        """The log breaks off: nobody can account for all of it."""
        self.actors.clear()

    def settle(self) -> set[int]:
        """Wait for the last window; the actors that have accounted for all of them."""
        while self._flying:
            self._land()
        return self.actors

    def _land(self) -> None:
        for actor, ref in self._flying.popleft().items():
            try:
                fetch(ref)
            except Lost:
                self.actors.discard(actor)
