"""Runs the parts of one run on the actor group; the cards' actors accumulate the step log.

Engines are deterministic: if an actor has lost its accounts, the parts of its cards are run again
for it alone, and other actors are not affected.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import ray

from cluster.actors.actor_group import ActorGroup, ActorGroupError, Call, ObjectsLostError, Ref
from cluster.actors.partition import independent_parts, joined, joined_latency
from cluster.actors.worker import Place, Progress, joined_bins, warm
from cluster.perf_model.counters import Tally
from cluster.perf_model.timeline import Bins
from cluster.scenario.schema import Store
from cluster.serving.check import check_arrivals, check_limits, check_prices
from cluster.serving.interface import Arrivals, Observer, OnSteps, Served
from cluster.serving.outcome import Outcome, outcome_of
from cluster.serving.run import Machine
from corsair_common.units import Floats
from results.engine_columns import Latency
from results.window import last_ps

BATCH_ROWS = 1 << 16
"""Rows of a window of the log, 8 MB: a call of an actor costs about a millisecond."""

IN_FLIGHT = 2
"""Windows of a part in flight; a third one waits."""

MAX_INCOMPLETE_ROUNDS = 3
"""Most rounds in a row with incomplete accounts although no actor was lost."""


class PartLog:
    """The log of one part, from the actor that runs it to those that accumulate it."""

    def __init__(
        self,
        actor_group: ActorGroup,
        number: int,
        *,
        runner: int,
        accountants: set[int],
        inputs: tuple[object, ...],
    ) -> None:
        self.number = number
        self.windows = 0
        """Accumulated or in flight."""
        self._actor_group = actor_group
        self._runner = runner
        self._accountants = accountants
        self._inputs = inputs
        self._next: tuple[Call, Ref]
        self._in_flight: deque[list[Call]] = deque()

    def open(self, *inputs: object) -> None:
        """Begin new accounts."""
        self._send("open", *inputs)

    def begin(self) -> Ref:
        """Request the next window; the reference that is ready with it."""
        self._next = self._actor_group.window(
            self._runner, self.number, self.windows, BATCH_ROWS, *self._inputs
        )
        return self._next[0][1]

    def take(self) -> tuple[Progress, Ref]:
        """Send the ready window to its accounts; wait if too many are in flight."""
        call, window = self._next
        progress: Progress = self._actor_group.fetch(*call)
        if len(self._in_flight) == IN_FLIGHT:
            self._await_oldest()
        self._send("account", self.windows, window)
        self.windows += 1
        return progress, window

    def settle(self) -> None:
        """Wait for the last window."""
        while self._in_flight:
            self._await_oldest()

    def _send(self, method: str, *args: object) -> None:
        self._in_flight.append(
            [self._actor_group.do(actor, method, self.number, *args) for actor in self._accountants]
        )

    def _await_oldest(self) -> None:
        for call in self._in_flight.popleft():
            with suppress(ObjectsLostError):  # the account then stays open
                self._actor_group.fetch(*call)


class Executor:
    """The state of one run; ``outcome`` completes it."""

    def __init__(
        self,
        actor_group: ActorGroup,
        machine: Machine,
        arrivals: Arrivals,
        *,
        store: Store,
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
        self._max_bins = store.most_bins
        self._begin_ps = begin_ps
        self._observer = observer
        self._on_steps = on_steps
        self._splits = store.breaks_down(len(arrivals.arrival_ps))
        # The step log has one order over all replicas: it is complete only from one engine.
        whole = on_steps is not None
        self._parts = independent_parts(arrivals, limits, prices.replicas, whole=whole)
        self._shared = ray.put(prices), ray.put(arrivals), ray.put(machine.joules)
        self._served: dict[int, tuple[Served, Tally, Floats, Latency | None]] = {}
        self._windows: dict[int, int] = {}
        """Of each part's log."""
        self._stage_bins: dict[Place, Bins] = {}

    def outcome(self) -> Outcome:
        """Run, and repeat what is lost, until every card's accounts are closed."""
        group, incomplete_rounds = self._actor_group, 0
        group.lead(warm, *self._shared, self._machine.limits)
        waiting = set(range(len(group)))
        while waiting:
            losses = group.losses
            self._run_for(waiting)
            waiting -= self._close(waiting)
            incomplete_rounds = 0 if group.losses > losses else incomplete_rounds + 1
            if waiting and incomplete_rounds > MAX_INCOMPLETE_ROUNDS:
                raise ActorGroupError("Ray loses objects repeatedly: see its logs")
        return self._joined()

    def _parts_of(self, actor: int) -> set[int]:
        """The parts of an actor's cards."""
        replicas = {card.replica for card in self._actor_group.cards[actor]}
        return {
            number
            for number, part in enumerate(self._parts)
            if not replicas.isdisjoint(part.replicas.tolist())
        }

    def _run_for(self, actors: set[int]) -> None:
        """Run the parts of these actors' cards, as many at once as there are CPUs."""
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
        self._observer = self._on_steps = None  # the observer sees the run once

    def _logs(self, actors: set[int]) -> list[PartLog]:
        """Open new accounts of the parts of these actors' cards."""
        accountants: dict[int, set[int]] = defaultdict(set)
        for actor in actors:
            for number in self._parts_of(actor):
                accountants[number].add(actor)
        logs = []
        for number in sorted(accountants):
            part = self._parts[number]
            first = int(self._machine.cards[part.replicas[0], 0, 0])
            log = PartLog(
                self._actor_group,
                number,
                runner=self._actor_group.actor_of(first),
                accountants=accountants[number],
                inputs=(
                    ray.put(part),
                    *self._shared,
                    self._machine.limits,
                    self._begin_ps,
                    self._splits,
                ),
            )
            log.open(part.replicas, self._shared[0], self._max_bins, self._begin_ps)
            logs.append(log)
        return logs

    def _watch(self, progress: Mapping[int, Progress], window: Ref) -> None:
        """Report the parts as one run."""
        if self._on_steps is not None:
            log: Any = ray.get(window)
            self._on_steps(log.copy())  # objects in the object store are read-only
        if self._observer is not None:
            far = progress.values()
            self._observer.advanced(
                max(part.now_ps for part in far),
                sum(part.done for part in far),
                sum(part.tokens for part in far),
            )

    def _close(self, actors: set[int]) -> set[int]:
        """Close and collect the accounts of these actors; return the actors with complete ones."""
        group = self._actor_group
        end_ps = max(
            last_ps(served.arrival_ps, served.finish_ps) for served, *_ in self._served.values()
        )
        calls, places = [], dict[int, list[Place]]()
        for actor in actors:
            # The cards of a stage have equal accounts: its first one is read.
            firsts = {
                (card.replica, card.stage) for card in group.cards[actor] if not card.position
            }
            places[actor] = sorted(firsts)
            windows = {number: self._windows[number] for number in self._parts_of(actor)}
            calls.append(group.do(actor, "close", end_ps, windows, places[actor]))
        closed = set()
        for call in calls:
            closed_bins = group.fetch(*call)
            if closed_bins is not None:
                closed.add(call[0])
                self._stage_bins |= zip(places[call[0]], closed_bins, strict=True)
        return closed

    def _joined(self) -> Outcome:
        whole, request_j = Tally(), np.zeros(len(self._arrivals.arrival_ps))
        served, latencies = [], []
        for number, part in enumerate(self._parts):
            own, tally, request_j[part.requests], latency = self._served[number]
            served.append(own)
            latencies.append(latency)
            whole.join(tally)
        run = joined(self._parts, served, self._arrivals)
        latency = joined_latency(self._parts, latencies, len(request_j))
        return outcome_of(run, joined_bins(self._stage_bins), whole, request_j, latency)
