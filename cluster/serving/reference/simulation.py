"""The course of events: finishes, then arrivals, then starts, one instant after the other."""

from collections import deque
from heapq import heappop, heappush

import numpy as np

from cluster.machine.tables import Integers, PriceTables
from cluster.serving.problem import NEVER, Arrivals, Limits, Observer, OnSteps, Served, Status
from cluster.serving.reference.ledger import Ledger
from cluster.serving.reference.prices import Prices
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request, read_requests
from cluster.serving.reference.router import Router
from cluster.serving.reference.schedule import schedule_step


def serve_reference(
    arrivals: Arrivals,
    prices: PriceTables,
    limits: Limits,
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
) -> Served:
    """Serve all requests and say when each got its tokens."""
    ledger = Ledger(on_steps, observer)
    simulation = Simulation(arrivals, prices, limits, ledger)
    if observer is not None:
        observer.started(len(simulation.requests))
    simulation.run()
    if observer is not None:
        observer.finished()
    return simulation.served()


class Simulation:
    """All replicas, the requests on their way to them, and the steps in flight."""

    def __init__(
        self, arrivals: Arrivals, prices: PriceTables, limits: Limits, ledger: Ledger
    ) -> None:
        self.limits = limits
        self.prices = Prices(prices)
        self.ledger = ledger
        self.replicas = [
            Replica(number, prices.stages, limits) for number in range(prices.replicas)
        ]
        self.router = Router(limits.router, self.replicas)
        self.requests = read_requests(arrivals, prefix_caching=limits.prefix_caching)
        self.due = deque(self.requests)
        """Requests whose time of arrival is known, in that order."""
        self.unsent: deque[Request] = deque()
        """Requests of a closed loop that wait for an answer to another."""
        self.in_flight: list[tuple[int, int, int]] = []
        """A heap of steps by (end, replica, slot)."""
        if limits.concurrency:
            self.due, self.unsent = deque(), deque(self.requests)
            for _ in range(limits.concurrency):
                self._send_next(0)

    def run(self) -> None:
        now_ps = 0
        while (next_ps := self._next_event_ps()) is not None:
            now_ps = next_ps
            self._finish_steps(now_ps)
            self._receive_arrivals(now_ps)
            for replica in self.replicas:
                self._start_step(replica, now_ps)
            self.ledger.look(now_ps)
        self.ledger.look(now_ps, last=True)

    def served(self) -> Served:
        """The outcome as columns."""

        def column(name: str) -> Integers:
            return np.array([getattr(request, name) for request in self.requests], np.int64)

        return Served(
            arrival_ps=column("arrival_ps"),
            first_scheduled_ps=column("first_scheduled_ps"),
            first_token_ps=column("first_token_ps"),
            finish_ps=column("finish_ps"),
            replica=column("replica"),
            slot=column("slot"),
            preemptions=column("preemptions"),
            cached_tokens=np.maximum(column("cached_tokens"), 0),
            status=column("status"),
            itl_count=self.ledger.itl_count,
            end_ps=self.ledger.end_ps,
        )

    def _next_event_ps(self) -> int | None:
        times = [replica.next_start_ps() for replica in self.replicas]
        times.append(self.in_flight[0][0] if self.in_flight else None)
        times.append(self.due[0].arrival_ps if self.due else None)
        return min((time for time in times if time is not None), default=None)

    def _finish_steps(self, now_ps: int) -> None:
        while self.in_flight and self.in_flight[0][0] == now_ps:
            _, replica, slot = heappop(self.in_flight)
            self._finish_step(self.replicas[replica], self.replicas[replica].slots[slot], now_ps)

    def _finish_step(self, replica: Replica, slot: Slot, now_ps: int) -> None:
        step, slot.in_flight = slot.in_flight, None
        emitting = [] if step is None else [row for row in step.rows if row.remaining == 0]
        for request in emitting:
            self._emit(request, now_ps)
            if request.done_output == request.output:
                self._leave(request, replica, slot, now_ps)
        if slot.unfinished:
            slot.ready_ps = now_ps + self.prices.return_ps[replica.number]
        replica.wake(now_ps)

    def _emit(self, request: Request, now_ps: int) -> None:
        request.done_output += 1
        if request.first_token_ps == NEVER:
            request.first_token_ps = now_ps
            self.ledger.token(now_ps, None)
        else:
            self.ledger.token(now_ps, request.last_token_ps)
        request.last_token_ps = now_ps

    def _leave(self, request: Request, replica: Replica, slot: Slot, now_ps: int) -> None:
        request.finish_ps = now_ps
        replica.pool.release(request)
        slot.members.remove(request)
        self.ledger.done += 1
        self._send_next(now_ps)

    def _send_next(self, now_ps: int) -> None:
        """Let the user who has just been answered ask again (in an open loop nobody waits)."""
        if self.unsent:
            request = self.unsent.popleft()
            request.arrival_ps = now_ps
            self.due.append(request)

    def _receive_arrivals(self, now_ps: int) -> None:
        while self.due and self.due[0].arrival_ps == now_ps:
            request = self.due.popleft()
            request.status = self._judge(request)
            if request.status == Status.COMPLETED:
                self.router.choose(request).join(request, now_ps)
            else:
                self.ledger.done += 1
                self._send_next(now_ps)

    def _judge(self, request: Request) -> Status:
        if request.prompt + request.output > self.limits.max_model_len:
            return Status.TOO_LONG
        pool = self.replicas[0].pool
        if pool.blocks_for(request.most_kv_tokens) > self.limits.blocks:
            return Status.NO_ROOM
        return Status.COMPLETED

    def _start_step(self, replica: Replica, now_ps: int) -> None:
        """Let the ready slots of ``replica`` try in turn until one of them starts."""
        while replica.next_start_ps() == now_ps:
            slot = replica.next_ready()
            if slot is None:
                return
            slot.ready_ps = None
            step = schedule_step(replica, slot, self.limits.max_num_batched_tokens)
            if step.rows:
                self._launch(replica, slot, step, now_ps)
            if step.preempted:
                replica.wake(now_ps, but=slot)

    def _launch(self, replica: Replica, slot: Slot, step: Step, now_ps: int) -> None:
        measures = self.prices.measure(step, replica.pool.used, self.limits.sram_blocks)
        end_ps = self.prices.cross(replica, measures, now_ps)
        slot.in_flight = step
        heappush(self.in_flight, (end_ps, replica.number, slot.number))
        for request in step.rows:
            if request.first_scheduled_ps == NEVER:
                request.first_scheduled_ps = now_ps
        self.ledger.step(now_ps, end_ps, replica, slot, measures)
