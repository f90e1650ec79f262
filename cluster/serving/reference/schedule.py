"""Putting a step together: who takes how many tokens, who is preempted, who is admitted."""

from bisect import insort

from cluster.serving.interface import Limits
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request
from corsair_common.units import NEVER


def age(request: Request) -> int:
    """The oldest running request has the least."""
    return request.order


class Scheduler:
    """The next step of a slot: decodes, then chunks of half-read prompts, then newcomers."""

    def __init__(self, replica: Replica, slot: Slot, limits: Limits) -> None:
        self.replica = replica
        self.slot = slot
        self.one_stage = len(replica.slots) == 1
        self.step = Step(replica.steps, limits.max_num_batched_tokens)
        threshold = limits.long_prefill_token_threshold
        alone = replica.unfinished == 1
        self.most_of_a_prompt = threshold if threshold and not alone else 2**62
        self.lost: list[tuple[Request, int]] = []
        """Requests that were preempted, and the slots in which they were decoding (or -1)."""

    def compose(self) -> Step:
        """Schedule tokens; a step without rows is not to be started."""
        going_on = [member for member in self.slot.members if not member.complete]
        half_read = list(self.replica.half_read)
        order = going_on + half_read
        if self.one_stage:  # as vLLM: in the order of admission
            order.sort(key=age)
        open_for_prompts = True
        for request in order:
            if request in half_read:
                if open_for_prompts and request in self.replica.half_read and self.step.budget:
                    open_for_prompts = self._read_on(request)
            elif request in self.slot.members and self.step.budget:
                self._decode(request)
        if open_for_prompts and not self.step.preempted and self.replica.short_for is None:
            self._admit()
        return self.step

    def _decode(self, member: Request) -> None:
        """Give a decoding request its token, at the cost of younger ones where blocks are short."""
        replica = self.replica
        while not replica.pool.can_extend(member, 1):
            victim = self._youngest()
            if victim is member and replica.is_oldest(member):
                replica.short_for = member
                return
            self._preempt(victim)
            if victim is member:
                return
        if replica.short_for is member:
            replica.short_for = None
        self._give(member, 1)

    def _read_on(self, request: Request) -> bool:
        """Give a half-read prompt its next chunk; false if the slot takes no more of prompts."""
        replica = self.replica
        tokens = self._chunk(request)
        last = tokens == request.remaining
        if last and len(self.slot.members) == self.slot.seats:
            return False
        while not replica.pool.can_extend(request, tokens):
            victim = self._youngest() if self.one_stage else replica.half_read[-1]
            self._preempt(victim)
            if victim is request:
                return True
        if last:
            replica.half_read.remove(request)
            request.read_row = self.step.number
            insort(self.slot.members, request, key=age)
        self._give(request, tokens)
        return True

    def _chunk(self, request: Request) -> int:
        return min(request.remaining, self.step.budget, self.most_of_a_prompt)

    def _youngest(self) -> Request:
        """Who is preempted first of the half-read prompts and the slot's own decodes."""
        candidates = self.slot.members + self.replica.half_read
        if self.one_stage:
            return max(candidates, key=age)
        return candidates[-1]  # a half-read prompt counts as younger than every decode

    def _preempt(self, victim: Request) -> None:
        """Send ``victim`` back to the queue without its KV."""
        slot = -1
        if victim in self.slot.members:
            self.slot.members.remove(victim)
            slot = self.slot.number
        else:
            self.replica.half_read.remove(victim)
        self.lost.append((victim, slot))
        self.replica.pool.release(victim)
        self.replica.enqueue(victim)
        victim.computed = 0
        victim.preemptions += 1
        self.step.preempted = True

    def _admit(self) -> None:
        """Take requests from the head of the queue, if all that they know has room."""
        replica, pool, slot = self.replica, self.replica.pool, self.slot
        while self.step.budget and len(replica.running) < replica.max_num_seqs:
            # what is still in flight from before its preemption comes first (asynchronous only)
            request = next((each for each in replica.queue if not each.flights), None)
            if request is None:
                return
            hits = pool.cached_prefix(request)
            if not pool.can_admit(request, hits):
                return
            start = max(len(hits) * pool.block_size, request.carried)
            tokens = min(request.known - start, self.step.budget, self.most_of_a_prompt)
            last = tokens == request.known - start
            if last and len(slot.members) == slot.seats:
                return
            replica.queue.remove(request)
            pool.share(request, hits)
            if request.cached_tokens == NEVER:
                request.cached_tokens = request.computed
            if request.carried > request.computed:
                pool.compute(request, request.carried - request.computed)
            request.carried = 0
            request.first_row = self.step.number
            request.order = replica.admitted if self.one_stage else request.number
            replica.admitted += 1
            if last:
                request.read_row = self.step.number
                insort(slot.members, request, key=age)
            else:
                replica.half_read.append(request)
            self._give(request, tokens)

    def _give(self, request: Request, tokens: int) -> None:
        """Schedule tokens whose blocks can be had."""
        step = self.step
        if request.decoding:
            step.decoding.add(request)
        else:
            step.prompts.append(request)
        if tokens == request.remaining:
            step.emitting.append(request)
        self.replica.pool.compute(request, tokens)
        step.rows[request] = tokens
        step.budget -= tokens
