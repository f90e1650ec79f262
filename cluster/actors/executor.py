"""Runs the parts of one run on the actor group and has the step log booked by the cards' actors.

Engines are deterministic: where an actor has lost its accounts, the parts that it has cards of are
run once more for it alone, and the others keep what they have.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import ray

from cluster.actors.actor_group import ActorGroup, ActorGroupError, Call, ObjectsLostError, Ref
from cluster.actors.partition import independent_parts, joined
from cluster.actors.worker import Place, Progress, joined_bins, warm
from cluster.perf_model.counters import Tally
from cluster.perf_model.timeline import Bins
from cluster.serving.check import check_arrivals, check_limits, check_prices
from cluster.serving.interface import Arrivals, Observer, OnSteps, Served
from cluster.serving.run import Machine, Outcome, outcome_of
from corsair_common.units import Floats
from results.window import last_ps

BATCH_ROWS = 1 << 16
"""Rows of the log that travel together, 8 MB: a call of an actor costs about a millisecond."""

IN_FLIGHT = 2
"""Windows of a part that are on their way at one time; a third one waits."""

FRUITLESS = 3
"""So often in a row accounts may be incomplete though no actor was lost."""


class PartLog:
    """The log of one part on its way from the actor that runs it to those that book it."""

    def __init__(
        self,
        actor_group: ActorGroup,
        number: int,
        *,
        runner: int,
        bookers: set[int],
        inputs: tuple[object, ...],
    ) -> None:
        self.number = number
        self.windows = 0
        """Booked, or on their way there."""
        self._actor_group = actor_group
        self._runner = runner
        self._bookers = bookers
        self._inputs = inputs
        self._coming: tuple[Call, Ref]
        self._flying: deque[list[Call]] = deque()

    def open(self, *inputs: object) -> None:
        """Begin new accounts."""
        self._send("open", *inputs)

    def begin(self) -> Ref:
        """Have the next window made; what comes when it is there."""
        self._coming = self._actor_group.window(
            self._runner, self.number, self.windows, BATCH_ROWS, *self._inputs
        )
        return self._coming[0][1]

    def take(self) -> tuple[Progress, Ref]:
        """Have the window booked that has come; wait where too many are on their way."""
        call, window = self._coming
        progress: Progress = self._actor_group.fetch(*call)
        if len(self._flying) == IN_FLIGHT:
            self._land()
        self._send("account", self.windows, window)
        self.windows += 1
        return progress, window

    def settle(self) -> None:
        """Wait for the last window."""
        while self._flying:
            self._land()

    def _send(self, method: str, *args: object) -> None:
        self._flying.append(
            [self._actor_group.do(actor, method, self.number, *args) for actor in self._bookers]
        )

    def _land(self) -> None:
        for call in self._flying.popleft():
            with suppress(ObjectsLostError):  # the account is then not closed
                self._actor_group.fetch(*call)


class Executor:
    """The state of one run; ``outcome`` takes it to its end."""

    def __init__(
        self,
        actor_group: ActorGroup,
        machine: Machine,
        arrivals: Arrivals,
        *,
        max_bins: int,
        begin_ps: int = 0,
        observer: Observer | None = None,
        on_steps: OnSteps | None = None,
    ) -> None:
        limits, prices = machine.limits, machine.prices
        check_limits(limits)
        check_prices(prices, limits)
        check_arrivals(arrivals, limits, prices.replicas)
        self._actor_group = actor_group
        self._machine = machine
        self._arrivals = arrivals
        self._max_bins = max_bins
        self._begin_ps = begin_ps
        self._observer = observer
        self._on_steps = on_steps
        # The step log has one order over all replicas: kept whole, it comes from one engine.
        whole = on_steps is not None
        self._parts = independent_parts(arrivals, limits, prices.replicas, whole=whole)
        self._shared = ray.put(prices), ray.put(arrivals), ray.put(machine.joules)
        self._served: dict[int, tuple[Served, Tally, Floats]] = {}
        self._windows: dict[int, int] = {}
        """Of each part's log."""
        self._books: dict[Place, Bins] = {}

    def outcome(self) -> Outcome:
        """Run, and run again what is lost, until every card's accounts are closed."""
        group, fruitless = self._actor_group, 0
        group.lead(warm, *self._shared, self._machine.limits)
        waiting = set(range(len(group)))
        while waiting:
            losses = group.losses
            self._run_for(waiting)
            waiting -= self._close(waiting)
            fruitless = 0 if group.losses > losses else fruitless + 1
            if waiting and fruitless > FRUITLESS:
                raise ActorGroupError("Ray loses objects again and again: look into its logs")
        return self._joined()

    def _parts_of(self, actor: int) -> set[int]:
        """The parts that an actor has cards of."""
        replicas = {card.replica for card in self._actor_group.cards[actor]}
        return {
            number
            for number, part in enumerate(self._parts)
            if not replicas.isdisjoint(part.replicas.tolist())
        }

    def _run_for(self, actors: set[int]) -> None:
        """Run the parts that these actors have to book, as many at once as there are CPUs."""
        logs = self._logs(actors)
        progress: dict[int, Progress] = {}
        waiting, running = deque(logs), dict[Ref, PartLog]()
        if self._observer is not None:
            self._observer.started(len(self._arrivals.arrival_ps))
        while waiting or running:
            while waiting and len(running) < self._actor_group.at_once:
                log = waiting.popleft()
                running[log.begin()] = log
            log = running.pop(self._actor_group.first(running))
            progress[log.number], window = log.take()
            result = progress[log.number].result
            if result is None:
                running[log.begin()] = log
            else:
                self._served[log.number] = result
            self._watch(progress, window)
        for log in logs:
            log.settle()
            self._windows[log.number] = log.windows
        if self._observer is not None:
            self._observer.finished()
        self._observer = self._on_steps = None  # an observer sees the run once

    def _logs(self, actors: set[int]) -> list[PartLog]:
        """Open new accounts of the parts that these actors have to book."""
        bookers: dict[int, set[int]] = defaultdict(set)
        for actor in actors:
            for number in self._parts_of(actor):
                bookers[number].add(actor)
        logs = []
        for number in sorted(bookers):
            part = self._parts[number]
            first = int(self._machine.cards[part.replicas[0], 0, 0])
            log = PartLog(
                self._actor_group,
                number,
                runner=self._actor_group.actor_of(first),
                bookers=bookers[number],
                inputs=(ray.put(part), *self._shared, self._machine.limits, self._begin_ps),
            )
            log.open(part.replicas, self._shared[0], self._max_bins, self._begin_ps)
            logs.append(log)
        return logs

    def _watch(self, progress: Mapping[int, Progress], window: Ref) -> None:
        """Show the parts as one run."""
        if self._on_steps is not None:
            log: Any = ray.get(window)
            self._on_steps(log.copy())  # what lies in the object store is read-only
        if self._observer is not None:
            far = progress.values()
            self._observer.advanced(
                max(part.now_ps for part in far),
                sum(part.done for part in far),
                sum(part.tokens for part in far),
            )

    def _close(self, actors: set[int]) -> set[int]:
        """Close the accounts of these actors and collect them; those that had all of them."""
        group = self._actor_group
        end_ps = max(
            last_ps(served.arrival_ps, served.finish_ps) for served, _, _ in self._served.values()
        )
        calls, places = [], dict[int, list[Place]]()
        for actor in actors:
            # The cards of a stage do the same: its first one answers.
            firsts = {
                (card.replica, card.stage) for card in group.cards[actor] if not card.position
            }
            places[actor] = sorted(firsts)
            windows = {number: self._windows[number] for number in self._parts_of(actor)}
            calls.append(group.do(actor, "close", end_ps, windows, places[actor]))
        closed = set()
        for call in calls:
            books = group.fetch(*call)
            if books is not None:
                closed.add(call[0])
                self._books |= zip(places[call[0]], books, strict=True)
        return closed

    def _joined(self) -> Outcome:
        whole, request_j = Tally(), np.zeros(len(self._arrivals.arrival_ps))
        served = []
        for number, part in enumerate(self._parts):
            own, tally, request_j[part.requests] = self._served[number]
            served.append(own)
            whole.join(tally)
        run = joined(self._parts, served, self._arrivals)
        return outcome_of(run, joined_bins(self._books), whole, request_j)
