"""The loop: at each time ends and arrivals, then transfers, then starts."""

from collections import deque
from heapq import heappush

import numpy as np

from cluster.disaggregated.loop import OnProgress, OnWindow, PoolsServed, Problem
from cluster.disaggregated.reference.messages import Network, Sending
from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.tables import Records
from cluster.replay.reference.simulation import bin_width_ps, link_loads
from cluster.serving.interface import OnLog
from cluster.serving.reference.recorder import Recorder
from cluster.serving.reference.request import Request
from cluster.serving.reference.simulation import Simulation
from corsair_common.units import NEVER, Integers


def serve_pools_reference(
    problems: tuple[Problem, Problem],
    plan: TransferPlan,
    *,
    most_bins: int,
    on_window: OnWindow,
    on_progress: OnProgress | None = None,
    stepwise: bool = False,
    recording: bool = False,
) -> PoolsServed:
    """As ``serve_pools``."""
    del on_progress, stepwise, recording
    loop = PoolsLoop(problems, plan, on_window)
    loop.run()
    assert all(request.finish_ps != NEVER for request in loop.answers), "nothing advances"
    return loop.served(most_bins)


class PoolsLoop:
    """Both pools, and the transfers between them."""

    def __init__(
        self, problems: tuple[Problem, Problem], plan: TransferPlan, on_window: OnWindow
    ) -> None:
        self.plan = plan
        self.on_window = on_window
        self.prefill, self.decode = (
            Simulation(*problem, Recorder((), self._writer(pool), None))
            for pool, problem in enumerate(problems)
        )
        self.prefill.keeps_blocks = self.decode.pooled = True
        self.answers = self.decode.requests
        self.row_of = {request: row for row, request in enumerate(self.prefill.requests)}
        self.decode.due.clear()
        self.network = Network(plan)
        count = len(self.answers)
        self.waiting: list[deque[int]] = [deque() for _ in self.decode.replicas]
        """Requests that wait for blocks, by replica."""
        self.target, self.sendings = [NEVER] * count, [0] * count
        self.pulled_ps, self.received_ps = [NEVER] * count, [NEVER] * count
        self.sent_bytes, self.handed = [0] * count, [False] * count
        self.coming: list[Sending] = []
        self.moving: list[Sending] = []
        self.arriving: list[tuple[int, int]] = []
        """Time, request."""

    def run(self) -> None:
        now_ps = 0
        while (next_ps := self._next_ps(now_ps)) is not None:
            now_ps = next_ps
            self._events(now_ps)
            if not self._more(now_ps) and not self._start_prefill(now_ps):
                self.decode.start_one(now_ps)
            for pool in (self.prefill, self.decode):
                pool.recorder.look(now_ps)
        for pool in (self.prefill, self.decode):
            pool.recorder.look(now_ps, last=True)

    def served(self, most_bins: int) -> PoolsServed:
        """The outcome as columns."""
        flows, count = self.network.fabric.flows, len(self.plan.resources.name)
        end_ps = max((flow.leave_ps or 0 for flow in flows), default=0)
        bin_ps = bin_width_ps(end_ps, most_bins)
        return PoolsServed(
            pools=(self.prefill.served(), self.decode.served()),
            source=_column([request.replica for request in self.prefill.requests]),
            target=_column(self.target),
            pulled_ps=_column(self.pulled_ps),
            received_ps=_column(self.received_ps),
            sent_bytes=_column(self.sent_bytes),
            alone_ps=np.full(len(self.answers), NEVER),
            bin_ps=bin_ps,
            loads=link_loads(flows, count, end_ps, bin_ps),
        )

    # times --------------------------------------------------------------------------------------

    def _next_ps(self, now_ps: int) -> int | None:
        times = [pool.next_event_ps(now_ps) for pool in (self.prefill, self.decode)]
        times.append(self._next_transfer_ps())
        return min((time for time in times if time is not None), default=None)

    def _next_transfer_ps(self) -> int | None:
        times = [sending.origin_ps for sending in self.coming]
        times += [time_ps for time_ps, _ in self.arriving]
        times += [sending.origin_ps for sending in self.moving if sending.left == 0]
        message_ps = self.network.next_ps()
        return min([*times, *([] if message_ps is None else [message_ps])], default=None)

    def _more(self, now_ps: int) -> bool:
        """Whether anything but a start is left at this time."""
        arrives = bool(self.decode.due) and self.decode.due[0][0] <= now_ps
        return arrives or self._next_transfer_ps() == now_ps

    # events -------------------------------------------------------------------------------------

    def _events(self, now_ps: int) -> None:
        for pool in (self.prefill, self.decode):
            pool.router.look(now_ps)
        self.prefill.finish_steps(now_ps)
        self.prefill.receive_arrivals(now_ps)
        ended = {replica.number for replica in self.decode.finish_steps(now_ps)}
        self.decode.receive_arrivals(now_ps)
        for number in sorted(ended):
            self._pull(number, now_ps)
        if self._next_transfer_ps() == now_ps:
            self._move(now_ps)
        handed = sorted(self.row_of[request] for request in self.prefill.ended)
        self.prefill.ended.clear()
        for row in handed:
            self._hand_over(row, now_ps)

    def _start_prefill(self, now_ps: int) -> bool:
        started = self.prefill.start_one(now_ps)
        if self.plan.layerwise:
            for request, *chunk in self.prefill.chunks:
                self._follow(request, tuple(chunk), now_ps)
        self.prefill.chunks.clear()
        return started

    def _move(self, now_ps: int) -> None:
        """Ends of transfers, then arrivals, then beginnings, each in the order of requests."""
        self.network.act(now_ps)
        for sending in sorted(self.moving, key=lambda each: each.request):
            if sending.left == 0:
                self._end(sending, now_ps)
        for time_ps, row in sorted(self.arriving, key=lambda each: each[1]):
            if time_ps == now_ps:
                self.arriving.remove((time_ps, row))
                self._receive(row, now_ps)
        for sending in sorted(self.coming, key=lambda each: each.request):
            if sending.origin_ps == now_ps:
                self.coming.remove(sending)
                self.moving.append(sending)
                row = sending.request
                source = self.prefill.requests[row].replica
                way = source * len(self.waiting) + self.target[row]
                prompt = self.answers[row].prompt
                self.sent_bytes[row] += self.network.send(sending, way, prompt)

    def _end(self, sending: Sending, now_ps: int) -> None:
        row = sending.request
        self.moving.remove(sending)
        self.network.places.remove(sending.place)
        self.sendings[row] -= 1
        if self.sendings[row] == 0 and self.handed[row]:
            self._sent(row, now_ps)

    def _sent(self, row: int, now_ps: int) -> None:
        """Its blocks of the prefill pool are free; the software hands it over."""
        request = self.prefill.requests[row]
        replica = self.prefill.replicas[request.replica]
        replica.pool.release(request)
        replica.wake(now_ps)
        self.arriving.append((now_ps + int(self.plan.after_ps[row]), row))

    def _receive(self, row: int, now_ps: int) -> None:
        request = self.answers[row]
        request.arrival_ps = now_ps
        request.replica, request.reserved = self.target[row], request.prompt
        self.received_ps[row] = now_ps
        heappush(self.decode.due, (now_ps, row))

    def _hand_over(self, row: int, now_ps: int) -> None:
        self.handed[row] = True
        if self.pulled_ps[row] != NEVER:
            if self.sendings[row] == 0:
                self._sent(row, now_ps)
            return
        number = self._target(row)
        self.waiting[number].append(row)
        self._pull(number, now_ps)

    def _target(self, row: int) -> int:
        """The replica of the decode pool, chosen once."""
        if self.target[row] == NEVER:
            replica = self.decode.router.choose(self.answers[row])
            replica.pulling += 1
            self.target[row] = replica.number
        return self.target[row]

    def _pull(self, number: int, now_ps: int) -> None:
        """Start the transfers that wait for a replica, in order, as far as there are blocks."""
        waiting = self.waiting[number]
        while waiting and self._reserve(number, waiting[0], now_ps):
            row = waiting.popleft()
            self.sendings[row] += 1
            origin_ps = now_ps + int(self.plan.before_ps[row])
            self.coming.append(
                Sending(request=row, origin_ps=origin_ps, tokens=self.answers[row].prompt)
            )

    def _reserve(self, number: int, row: int, now_ps: int) -> bool:
        """Count the blocks of a prompt if none that lacks blocks comes first."""
        replica, request = self.decode.replicas[number], self.answers[row]
        first = [each for each in replica.queue if not each.reserved] + replica.partial_prefills
        if first or replica.short_for or not replica.pool.can_admit(request, []):
            return False
        if replica.max_num_seqs == 1 and replica.pool.used:
            return False
        replica.pool.reserve(request.prompt)
        self.pulled_ps[row] = now_ps
        return True

    def _follow(self, request: Request, chunk: tuple[int, ...], now_ps: int) -> None:
        """Let the KV of a chunk follow its layers, if blocks were there for the first one."""
        row, (first, tokens, start_ps, end_ps) = self.row_of[request], chunk
        number = self._target(row)
        if not tokens:  # preempted
            if self.pulled_ps[row] != NEVER:
                self.pulled_ps[row] = NEVER
                self.decode.replicas[number].pool.reserve(request.prompt, -1)
                self._pull(number, now_ps)
            return
        if not first and self.pulled_ps[row] == NEVER and not self.waiting[number]:
            self._reserve(number, row, now_ps)
        if self.pulled_ps[row] == NEVER:
            return
        self.sendings[row] += 1
        self.coming.append(
            Sending(
                request=row,
                origin_ps=start_ps + int(self.plan.before_ps[row]),
                first=first,
                tokens=tokens,
                whole=tokens == request.prompt,
                spent_ps=end_ps - start_ps,
            )
        )

    def _writer(self, pool: int) -> OnLog:
        def write(window: Records, phases: Records) -> None:
            self.on_window(pool, window, phases)

        return write


def _column(values: list[int]) -> Integers:
    return np.array(values, np.int64)
