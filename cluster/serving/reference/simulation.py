"""The event loop: finishes, then arrivals, then starts, at each time."""

from collections import deque
from heapq import heappop, heappush

import numpy as np

from cluster.perf_model.tables import PriceTables
from cluster.serving.interface import (
    Arrivals,
    Limits,
    Observer,
    OnLog,
    OnSteps,
    Phase,
    Served,
)
from cluster.serving.reference.prices import Prices
from cluster.serving.reference.recorder import Recorder
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request, read_requests
from cluster.serving.reference.router import Router
from cluster.serving.reference.schedule import Scheduler, age
from corsair_common.names import Status
from corsair_common.units import NEVER, PS_PER_DAY, Integers

LAST_PS = 106 * PS_PER_DAY
"""No run lasts longer; later arrivals are cut to just after it."""


def serve_reference(
    arrivals: Arrivals,
    prices: PriceTables,
    limits: Limits,
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
    on_cycles: OnSteps | None = None,
    on_log: OnLog | None = None,
) -> Served:
    """Serve all requests; return their times. ``on_cycles`` receives every step, too."""
    recorder = Recorder((on_steps, on_cycles), on_log, observer, limits.drafts)
    simulation = Simulation(arrivals, prices, limits, recorder)
    if observer is not None:
        observer.started(len(simulation.requests))
    simulation.run()
    if observer is not None:
        observer.finished()
    return simulation.served()


class Simulation:
    """All replicas, the requests that have not arrived, and the steps in flight."""

    def __init__(
        self, arrivals: Arrivals, prices: PriceTables, limits: Limits, recorder: Recorder
    ) -> None:
        self.limits = limits
        self.asynchronous = limits.async_scheduling
        self.prices = Prices(prices)
        self.recorder = recorder
        self.replicas = [
            Replica(number, prices.stages, limits) for number in range(prices.replicas)
        ]
        for replica in self.replicas:
            replica.pool.tiers.share(self.replicas[0].pool.tiers)
        self.router = Router(limits.router, self.replicas, limits.router_weights)
        self.requests = read_requests(
            arrivals, prefix_caching=limits.prefix_caching, block_size=limits.block_size
        )
        waiting = {turn.number for each in self.requests for turn in each.followers}
        self.due = [
            (each.arrival_ps, each.number) for each in self.requests if each.number not in waiting
        ]
        """A heap of requests with a known arrival time."""
        self.arrived = 0
        self.unsent: deque[Request] = deque()
        """Requests of a closed loop that wait for the end of another."""
        self.pooled = False
        """Whether requests come routed, with their KV (a decode pool)."""
        self.keeps_blocks = False
        """Whether blocks are kept when a request ends (a prefill pool)."""
        self.ended: list[Request] = []
        """Those that have ended and not been taken over."""
        self.chunks: list[tuple[Request, int, int, int, int]] = []
        """Chunks of the step just launched: request, first token, one past the last, and the
        step's start and end."""
        if limits.concurrency:
            self.due, self.unsent = [], deque(self.requests)
            for _ in range(limits.concurrency):
                self._send_user(0)

    def run(self) -> None:
        now_ps = 0
        while (next_ps := self.next_event_ps(now_ps)) is not None:
            now_ps = next_ps
            self.router.look(now_ps)
            self.finish_steps(now_ps)
            self.receive_arrivals(now_ps)
            self.start_one(now_ps)  # its consequences are processed before the next replica
            self.recorder.look(now_ps)
        self.recorder.look(now_ps, last=True)

    def start_one(self, now_ps: int) -> bool:
        """Start a step of the first replica that can; whether there was one."""
        for replica in self.replicas:
            if replica.next_start_ps(asynchronous=self.asynchronous) == now_ps:
                self._start_step(replica, now_ps)
                return True
        return False

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
            itl_count=self.recorder.itl_count,
            end_ps=self.recorder.end_ps,
            accepted_count=self.recorder.accepted_count,
            draft_tokens=self.recorder.draft_tokens,
        )

    def next_event_ps(self, now_ps: int) -> int | None:
        times = [replica.next_start_ps(asynchronous=self.asynchronous) for replica in self.replicas]
        times += [slot.finish_ps for replica in self.replicas for slot in replica.slots]
        times += [each.loaded_ps for replica in self.replicas for each in replica.loading]
        if self.due:  # a user's request may have ended while its engine was busy
            times.append(max(now_ps, self.due[0][0]))
        return min((time for time in times if time is not None), default=None)

    # finishes -----------------------------------------------------------------------------------

    def finish_steps(self, now_ps: int) -> list[Replica]:
        """End the steps that end now; return their replicas."""
        ended = []
        for replica in self.replicas:
            for slot in replica.slots:
                if slot.finish_ps == now_ps:
                    self._finish_step(replica, slot, now_ps)
                    ended.append(replica)
            for request in sorted(replica.loading, key=lambda each: each.age):
                if request.loaded_ps == now_ps:
                    replica.loading.remove(request)
                    replica.enqueue(request)
                    replica.wake(now_ps)
                    ended.append(replica)
        return ended

    def _finish_step(self, replica: Replica, slot: Slot, now_ps: int) -> None:
        step = slot.in_flight.popleft()
        slot.finish_ps = None
        for request in step.rows:
            request.flights.discard(step.number)
        for request in sorted(step.emitting, key=age):
            request.emits.discard(step.number)
            self._emit(request, step)
            late = self.asynchronous or self.limits.speculation is not None
            if late and request in slot.members:  # its tokens are known only now
                replica.pool.name_full(request, request.known - 1)
            if request.done_output == request.output:
                self._leave(request, replica, step)
        if self.asynchronous or self._waits_for_return(replica, slot, step.end_ps):
            back_ps = step.end_ps + self.prices.return_ps[replica.number]
            slot.ready_ps = max(now_ps, back_ps, step.drafted_ps)
        replica.wake(now_ps)

    def _waits_for_return(self, replica: Replica, slot: Slot, end_ps: int) -> bool:
        """Whether the slot's next step waits for the return of its tokens.

        With one stage it does if there is any work (always with asynchronous scheduling); with
        several stages only a slot with decodes does.
        """
        if slot.members:
            return True
        if len(replica.slots) > 1:
            return False
        waiting = bool(replica.queue) and replica.queue[0].arrival_ps < end_ps
        return waiting or bool(replica.partial_prefills)

    def _emit(self, request: Request, step: Step) -> None:
        end_ps, tokens = step.end_ps, step.emits(request)
        if request in step.drafts:
            drafts, accepted = step.drafts[request], step.accepted[request]
            self.recorder.verified(drafts, accepted)
        request.done_output += tokens
        if request in step.drafts or request in step.padded:  # overwritten; blocks stay
            request.computed = request.known - 1
        if request.first_token_ps == NEVER:
            request.first_token_ps = end_ps
            self.router.computed(request)
            self.recorder.tokens_out(tokens, end_ps, None)
        else:
            self.recorder.tokens_out(tokens, end_ps, request.last_token_ps)
        request.last_token_ps = end_ps

    def _leave(self, request: Request, replica: Replica, step: Step) -> None:
        request.finish_ps = step.end_ps
        self.router.finished(request)
        slot = replica.slots[request.slot]
        if request in slot.members:
            slot.members.remove(request)
            if not self.keeps_blocks:
                replica.pool.release(request)
        else:  # it was preempted while its last token was pending
            replica.queue.remove(request)
        self.recorder.phase(request, slot.number, step.number, Phase.FINISHED)
        self.recorder.done += 1
        self.ended.append(request)
        self._send_next(request, step.end_ps)

    # arrivals -----------------------------------------------------------------------------------

    def _send_next(self, ended: Request, end_ps: int) -> None:
        """Send the user's next request (closed loop), or the turns that follow ``ended``."""
        self._send_user(end_ps)
        for turn in ended.followers:
            delay_ps = min(turn.delay_ps, max(0, LAST_PS + 1 - end_ps))
            turn.arrival_ps = max(turn.arrival_ps, end_ps + delay_ps)
            heappush(self.due, (turn.arrival_ps, turn.number))

    def _send_user(self, now_ps: int) -> None:
        if self.unsent:
            request = self.unsent.popleft()
            request.arrival_ps = now_ps
            # In order of their numbers, even if an engine's step ended before it was processed.
            last_ps = self.due[-1][0] if self.due else now_ps
            heappush(self.due, (max(now_ps, last_ps), request.number))

    def receive_arrivals(self, now_ps: int) -> None:
        """Route the requests that arrive now, or refuse them."""
        while self.due and self.due[0][0] <= now_ps:
            request = self.requests[heappop(self.due)[1]]
            request.age, self.arrived = self.arrived, self.arrived + 1
            request.status = self._judge(request)
            if self.pooled:
                replica = self.replicas[request.replica]
                replica.pulling -= 1
                replica.enqueue(request)
                self.recorder.phase(request, -1, replica.steps, Phase.WAITING)
                replica.wake(now_ps)
            elif request.status == Status.COMPLETED:
                replica = self.router.choose(request)
                request.replica = replica.number
                replica.enqueue(request)
                self.recorder.phase(request, -1, replica.steps, Phase.WAITING)
                replica.wake(now_ps)
            else:
                self.recorder.done += 1
                self._send_next(request, request.arrival_ps)

    def _judge(self, request: Request) -> Status:
        if request.prompt + request.output > self.limits.max_model_len:
            return Status.TOO_LONG
        if not self.replicas[0].pool.fits_empty(request):
            return Status.NO_ROOM
        return Status.COMPLETED

    # starts -------------------------------------------------------------------------------------

    def _start_step(self, replica: Replica, now_ps: int) -> None:
        """Schedule the ready slots of ``replica`` in turn until one of them starts a step."""
        while replica.next_start_ps(asynchronous=self.asynchronous) == now_ps:
            slot = replica.next_ready()
            if slot is None:
                return
            slot.ready_ps = None
            scheduler = Scheduler(replica, slot, self.limits, now_ps)
            step = scheduler.compose()
            if step.rows:
                self._launch(replica, slot, step, now_ps)
            else:
                self.chunks += [(*chunk, now_ps, now_ps) for chunk in step.chunks]
            if self.asynchronous:
                self._go_on_ahead(slot, step, now_ps)
            elif slot.in_flight:
                slot.finish_ps = slot.in_flight[0].end_ps
            for request, in_slot, row, kind in scheduler.phases:
                self.recorder.phase(request, in_slot, row, kind)
            if step.preempted:
                replica.wake(now_ps, but=slot)
            if step.rows:
                return

    def _go_on_ahead(self, slot: Slot, step: Step, now_ps: int) -> None:
        """With fewer than two batches in flight schedule another at once, unless this was empty."""
        if step.rows and len(slot.in_flight) < 2:
            slot.ready_ps = now_ps
        elif slot.in_flight:
            slot.finish_ps = max(now_ps, slot.in_flight[0].end_ps)

    def _launch(self, replica: Replica, slot: Slot, step: Step, now_ps: int) -> None:
        measures = self.prices.measure(step, replica.pool)
        there_ps = max(
            [now_ps + self.prices.host_ps, *(request.last_back_ps for request in step.rows)]
        )
        start_ps, step.end_ps, step.drafted_ps = self.prices.cross(replica, measures, there_ps)
        slot.in_flight.append(step)
        self.chunks += [(*chunk, start_ps, step.end_ps) for chunk in step.chunks]
        replica.steps += 1
        for request in step.rows:
            if request in slot.members:
                request.slot = slot.number
            if request.first_scheduled_ps == NEVER:
                request.first_scheduled_ps = start_ps
            if self.asynchronous:
                request.flights.add(step.number)
        for request in step.emitting:
            request.emits.add(step.number)
            if self.asynchronous:
                request.last_back_ps = step.end_ps + self.prices.return_ps[replica.number]
        self.recorder.step(start_ps, step, replica, slot, measures)
