"""Runs the parts of one run on the actor group and has the step log booked by the cards' actors.

Engines are deterministic: where an actor has lost its accounts, the parts that it has cards of are
run once more for it alone, and the others keep what they have.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import ray

from cluster.actors.actor_group import ActorGroup, ActorGroupError, Call, ObjectsLostError, Ref
from cluster.actors.partition import independent_parts, joined
from cluster.actors.worker import Place, Progress, joined_bins, warm
from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.coefficients import Floats
from cluster.perf_model.tables import STEP, Records
from cluster.perf_model.timeline import Bins
from cluster.serving.check import check_arrivals, check_limits, check_prices
from cluster.serving.energy_attribution import members_of
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Observer, OnSteps, Served
from cluster.serving.run import Machine, Outcome, outcome_of, shares_of
from results.window import last_ps

BATCH_ROWS = 1 << 16
"""Rows of the log that travel together, 8 MB: a call of an actor costs about a millisecond."""

IN_FLIGHT = 2
"""Windows of a part that are on their way at one time; a third one waits."""

FRUITLESS = 3
"""So often in a row accounts may be incomplete though no actor was lost."""


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
        self.windows = 0
        """Sent so far."""
        self._actor_group = actor_group
        self._number = number
        self._actors = actors
        self._flying: deque[list[Call]] = deque()

    def open(self, *inputs: object) -> None:
        """Begin new accounts."""
        self._send("open", *inputs)

    def push(self, window: Ref) -> None:
        """Send a window to all; wait if there are too many on their way."""
        if len(self._flying) == IN_FLIGHT:
            self._land()
        self._send("account", self.windows, window)
        self.windows += 1

    def settle(self) -> None:
        """Wait for the last window."""
        while self._flying:
            self._land()

    def _send(self, method: str, *args: object) -> None:
        self._flying.append(
            [self._actor_group.do(actor, method, self._number, *args) for actor in self._actors]
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
        group.lead(warm, *self._shared, self._machine.limits, len(self._parts) > 1)
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
        """Run the parts that these actors have to account for."""
        booked_by: dict[int, set[int]] = defaultdict(set)
        for actor in actors:
            for number in self._parts_of(actor):
                booked_by[number].add(actor)
        streams = {
            number: LogStream(self._actor_group, number, booked_by[number])
            for number in sorted(booked_by)
        }
        for number, stream in streams.items():
            replicas = self._parts[number].replicas
            stream.open(replicas, self._shared[0], self._max_bins, self._begin_ps)
        if len(self._parts) > 1:
            self._run_apart(streams)
        else:
            self._run_here(streams[0])
        for number, stream in streams.items():
            stream.settle()
            self._windows[number] = stream.windows
        self._observer = self._on_steps = None  # an observer sees the run once

    def _run_here(self, stream: LogStream) -> None:
        """Run everything in this process."""
        batches, tally = Batches(BATCH_ROWS), Tally(begin_ps=self._begin_ps)
        on_steps = self._on_steps
        shares = shares_of(self._machine)

        def taken(window: Records) -> None:
            tally.add(window)
            shares.add(window)
            for batch in batches.add(window):
                stream.push(ray.put(batch))
            if on_steps is not None:
                on_steps(window)

        served = serve(
            self._arrivals,
            self._machine.prices,
            self._machine.limits,
            observer=self._observer,
            on_steps=taken,
        )
        stream.push(ray.put(batches.rest()))
        request_j = shares.of(members_of(served, self._arrivals))
        self._served[0] = served, tally, request_j

    def _run_apart(self, streams: Mapping[int, LogStream]) -> None:
        """Have each part run by the actor of its first card, as many at once as there are CPUs."""
        waiting, progress = deque(streams), dict[int, Progress]()
        flying: dict[Ref, tuple[int, Call, Ref]] = {}
        inputs = {number: self._inputs(number) for number in streams}
        if self._observer is not None:
            self._observer.started(len(self._arrivals.arrival_ps))
        while waiting or flying:
            while waiting and len(flying) < self._actor_group.at_once:
                self._advance(waiting.popleft(), 0, inputs, flying)
            number, call, log = flying.pop(self._actor_group.first(flying))
            progress[number] = self._actor_group.fetch(*call)
            streams[number].push(log)
            result = progress[number].result
            if result is None:
                self._advance(number, streams[number].windows, inputs, flying)
            else:
                self._served[number] = result
            self._watch(progress)
        if self._observer is not None:
            self._observer.finished()

    def _inputs(self, number: int) -> tuple[Any, ...]:
        """All that the run of a part depends on."""
        part = ray.put(self._parts[number])
        return (part, *self._shared, self._machine.limits, self._begin_ps)

    def _advance(
        self,
        number: int,
        window: int,
        inputs: Mapping[int, tuple[Any, ...]],
        flying: dict[Ref, tuple[int, Call, Ref]],
    ) -> None:
        """Ask for a window of a part's log."""
        first = int(self._machine.cards[self._parts[number].replicas[0], 0, 0])
        runner = self._actor_group.actor_of(first)
        call, log = self._actor_group.window(runner, number, window, BATCH_ROWS, *inputs[number])
        flying[call[1]] = number, call, log

    def _watch(self, progress: Mapping[int, Progress]) -> None:
        """Show the parts as one run."""
        if self._observer is not None:
            far = progress.values()
            self._observer.advanced(
                max(part.now_ps for part in far),
                sum(part.done for part in far),
                sum(part.tokens for part in far),
            )

    def _close(self, actors: set[int]) -> set[int]:
        """Close the accounts of these actors and collect them; those that had all of them."""
        end_ps = max(
            last_ps(served.arrival_ps, served.finish_ps) for served, _, _ in self._served.values()
        )
        places: dict[int, list[Place]] = {actor: [] for actor in actors}
        for replica, stage in sorted(self._all_places()):
            first = self._actor_group.actor_of(int(self._machine.cards[replica, stage, 0]))
            if first in places:
                places[first].append((replica, stage))
        calls = [
            self._actor_group.do(
                actor, "close", end_ps, {n: self._windows[n] for n in self._parts_of(actor)}, wanted
            )
            for actor, wanted in places.items()
        ]
        closed = set()
        for actor, ref in calls:
            books = self._actor_group.fetch(actor, ref)
            if books is not None:
                closed.add(actor)
                self._books |= zip(places[actor], books, strict=True)
        return closed

    def _all_places(self) -> set[Place]:
        return {(card.replica, card.stage) for cards in self._actor_group.cards for card in cards}

    def _joined(self) -> Outcome:
        numbers = range(len(self._parts))
        served = joined(self._parts, [self._served[n][0] for n in numbers], self._arrivals)
        whole = Tally()
        for number in numbers:
            whole.join(self._served[number][1])
        request_j = np.zeros(len(self._arrivals.arrival_ps))
        for number in numbers:
            request_j[self._parts[number].requests] = self._served[number][2]
        return outcome_of(served, joined_bins(self._books), whole, request_j)
