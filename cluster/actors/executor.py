"""Runs the parts of one run on the actor group, accumulates the log per card, repeats lost work.

The unit of redoing is a part's accounts on one actor. Engines are deterministic, so a lost account
is had again by running its part once more for that actor alone; the others keep what they have.
"""

from collections import deque
from typing import Any, TypeAlias

import numpy as np
import ray

from cluster.actors.actor_group import ActorGroup, Lost, fetch
from cluster.actors.in_flight import InFlight
from cluster.actors.log_batches import BATCH_ROWS, Batches, LogStream
from cluster.actors.partition import independent_parts, joined
from cluster.actors.worker import Place, StageBooks, bins_of
from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.coefficients import Floats
from cluster.perf_model.tables import Records
from cluster.serving.check import check_arrivals, check_limits, check_prices
from cluster.serving.energy_attribution import members_of
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Observer, OnSteps, Served
from cluster.serving.run import Machine, Outcome, outcome_of, shares_of
from results.window import last_ps

Pair: TypeAlias = tuple[int, int]
"""A part and an actor that has cards of its replicas."""


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
        # The step log has one order over all replicas: who wants it whole gets it from one engine.
        whole = on_steps is not None
        self._parts = independent_parts(arrivals, limits, prices.replicas, whole=whole)
        self._shared = ray.put(prices), ray.put(arrivals), ray.put(machine.joules)
        self._served: dict[int, tuple[Served, Tally, Floats]] = {}
        self._books: dict[Place, StageBooks] = {}
        self._notified: set[int] = set()
        self.closed: set[int] = set()
        """Actors that hold closed accounts of their cards."""

    def outcome(self) -> Outcome:
        """Run, and run again what is lost, until every card's accounts are closed."""
        apart = len(self._parts) > 1
        self._actor_group.lead("warm", *self._shared, self._machine.limits, apart)
        todo = {pair for actor in range(len(self._actor_group)) for pair in self._pairs(actor)}
        while True:
            todo -= self._feed(todo)
            if not todo and self._close():
                return self._joined()
            mended = self._actor_group.mend()
            self.closed -= mended
            todo |= {pair for actor in mended - self._notified for pair in self._pairs(actor)}

    def _pairs(self, actor: int) -> set[Pair]:
        """The parts that an actor has cards of."""
        replicas = {card.replica for card in self._actor_group.cards[actor]}
        return {
            (number, actor)
            for number, part in enumerate(self._parts)
            if not replicas.isdisjoint(part.replicas.tolist())
        }

    def _feed(self, todo: set[Pair]) -> set[Pair]:
        """Run the parts that somebody has to account for; return the pairs that are done."""
        streams = {
            number: LogStream(
                self._actor_group, number, {actor for n, actor in todo if n == number}
            )
            for number in sorted({number for number, _ in todo})
        }
        for number, stream in streams.items():
            replicas = self._parts[number].replicas
            stream.open(replicas, self._shared[0], self._max_bins, self._begin_ps)
        if len(self._parts) > 1:
            self._run_apart(streams)
        elif streams:
            self._run_here(streams[0])
        self._observer = self._on_steps = None  # who watches sees the run once
        return {(number, actor) for number, stream in streams.items() for actor in stream.settle()}

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

    def _run_apart(self, streams: dict[int, LogStream]) -> None:
        """Have each part run by the actor of its first card, as many at once as there are CPUs."""
        flight = InFlight(self._observer, len(self._arrivals.arrival_ps))
        waiting = deque(streams)
        while waiting or flight:
            while waiting and len(flight) < self._actor_group.at_once:
                number = waiting.popleft()
                limits, begin_ps = self._machine.limits, self._begin_ps
                inputs = (self._parts[number], *self._shared, limits, begin_ps)
                flight.begin(number, self._ask(number, "begin", *inputs, answers=2))
            number, progress, window = flight.land()
            if progress is None:
                streams[number].forsake()
                continue
            streams[number].push(window)
            if progress.running:
                flight.begin(number, self._ask(number, "advance", BATCH_ROWS, answers=2))
            else:
                self._finish(number, streams[number])
        flight.end()

    def _finish(self, number: int, stream: LogStream) -> None:
        """Take what became of a part's requests."""
        try:
            self._served[number] = fetch(self._ask(number, "served"))
        except Lost:
            stream.forsake()

    def _ask(self, number: int, method: str, *inputs: object, answers: int = 1) -> Any:
        """Ask the actor that runs a part."""
        first = int(self._machine.cards[self._parts[number].replicas[0], 0, 0])
        runner = self._actor_group.actor_of(first)
        return self._actor_group.ask(runner, method, number, *inputs, answers=answers)

    def _close(self) -> bool:
        """Close the accounts of all actors and collect them; whether all have answered."""
        end_ps = max(
            last_ps(served.arrival_ps, served.finish_ps) for served, _, _ in self._served.values()
        )
        places: dict[int, list[Place]] = {actor: [] for actor in range(len(self._actor_group))}
        for replica, stage in sorted(self._all_places()):
            first = int(self._machine.cards[replica, stage, 0])
            places[self._actor_group.actor_of(first)].append((replica, stage))
        refs = {
            actor: self._actor_group.ask(actor, "close", end_ps, wanted)
            for actor, wanted in places.items()
            if actor not in self._notified
        }
        for actor, ref in refs.items():
            try:
                self._books |= dict(zip(places[actor], fetch(ref), strict=True))
            except Lost:
                continue
            self._notified.add(actor)
            self.closed.add(actor)
        return len(self._notified) == len(self._actor_group)

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
        return outcome_of(served, bins_of(self._books), whole, request_j)
