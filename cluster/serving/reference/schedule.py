"""Schedules a step: token budget, preemption, admission."""

from bisect import insort

from cluster.serving.interface import Limits, Phase
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request
from corsair_common.units import NEVER


def age(request: Request) -> int:
    """Sort key of age; the oldest running request has the lowest."""
    return request.order


class Scheduler:
    """Schedules the next step of a slot: decodes, chunks of partial prefills, then admissions."""

    def __init__(self, replica: Replica, slot: Slot, limits: Limits, now_ps: int) -> None:
        self.now_ps = now_ps
        self.replica = replica
        self.slot = slot
        self.one_stage = len(replica.slots) == 1
        self.step = Step(replica.steps, limits.max_num_batched_tokens)
        threshold = limits.long_prefill_token_threshold
        alone = replica.unfinished == 1
        self.most_of_a_row = threshold if threshold and not alone else 2**62
        self.limits = limits
        self.continued = False
        """Whether the step has a chunk of a prompt that was admitted before."""
        self.phases: list[tuple[Request, int, int, Phase]] = []
        """Requests that enter a phase, with slots (or -1) and steps."""

    def compose(self) -> Step:
        """Schedule tokens; a step without rows must not start."""
        going_on = [member for member in self.slot.members if not member.complete]
        partial_prefills = list(self.replica.partial_prefills)
        order = going_on + partial_prefills
        if self.one_stage:  # as in vLLM: in the order of admission
            order.sort(key=age)
        open_for_prompts = True
        for request in order:
            if request in partial_prefills:
                if open_for_prompts and request in self.replica.partial_prefills and self.open:
                    open_for_prompts = self._continue_prefill(request)
            elif request in self.slot.members and self.open:
                self._decode(request)
        if open_for_prompts and not self.step.preempted:
            self._admit()
        return self.step

    @property
    def open(self) -> bool:
        """Whether there is budget for one more row."""
        return self.step.budget > self.limits.draft_slots

    def _decode(self, member: Request) -> None:
        """Schedule a decode and its drafts; preempt younger requests if it lacks a block."""
        replica = self.replica
        room = self.limits.max_model_len - member.computed - 1 if self.limits.drafts else 1
        tokens = min(self._chunk(1 + self.limits.drafts), room)
        while not replica.pool.can_extend(member, tokens):
            victim = self._youngest()
            if victim is member and replica.is_oldest(member):
                replica.short_for = member
                return
            self._preempt(victim)
            if victim is member:
                return
        if replica.short_for is member:
            replica.short_for = None
        if tokens > 1:
            self._verify(member, tokens - 1)
        self._give(member, tokens)

    def _verify(self, member: Request, drafts: int) -> None:
        """Have the step verify these drafts, as many of which are right as was drawn."""
        speculation = self.limits.speculation
        assert speculation is not None
        drawn = int(speculation.accepted[member.draw % len(speculation.accepted)])
        member.draw += 1
        self.step.drafts[member] = drafts
        self.step.accepted[member] = min(drawn, drafts)

    def _continue_prefill(self, request: Request) -> bool:
        """Schedule the next chunk of a partial prefill; false ends prefills of this step."""
        replica = self.replica
        tokens = self._chunk(request.remaining)
        last = tokens == request.remaining
        if last and len(self.slot.members) == self.slot.max_members:
            return False
        while not replica.pool.can_extend(request, tokens):
            victim = self._youngest() if self.one_stage else replica.partial_prefills[-1]
            self._preempt(victim)
            if victim is request:
                return True
        self.continued = True
        if last:
            replica.partial_prefills.remove(request)
            insort(self.slot.members, request, key=age)
            self._enter(request, Phase.DECODING)
        self._give(request, tokens)
        return True

    def _chunk(self, rest: int) -> int:
        """Tokens of a row that has ``rest`` to compute."""
        return min(rest, self.step.budget - self.limits.draft_slots, self.most_of_a_row)

    def _youngest(self) -> Request:
        """The first victim among partial prefills and the slot's own decodes."""
        candidates = self.slot.members + self.replica.partial_prefills
        if self.one_stage:
            return max(candidates, key=age)
        return candidates[-1]  # a partial prefills counts as younger than every decode

    def _preempt(self, victim: Request) -> None:
        """Return ``victim`` to the queue without its KV."""
        slot = -1
        if victim in self.slot.members:
            self.slot.members.remove(victim)
            slot = self.slot.number
        else:
            self.replica.partial_prefills.remove(victim)
        self.phases.append((victim, slot, self.step.number - 1, Phase.LOST))
        self.phases.append((victim, -1, self.step.number, Phase.WAITING))
        self.step.chunks.append((victim, 0, 0))
        if self.replica.short_for is victim:
            self.replica.short_for = None
        self.replica.pool.release(victim)
        self.replica.enqueue(victim)
        victim.computed = 0
        victim.preemptions += 1
        self.step.preempted = True

    def _admit(self) -> None:
        """Admit requests from the head of the queue while their whole sequences fit."""
        replica, pool, slot = self.replica, self.replica.pool, self.slot
        ran = bool(self.step.rows)
        with_blocks = replica.short_for is not None  # only those whose blocks are counted already
        while self.open and len(replica.running) < replica.max_num_seqs:
            # batches in flight from before its preemption must end first (asynchronous only)
            waiting = [each for each in replica.queue if not each.flights]
            request = next((each for each in waiting if each.reserved or not with_blocks), None)
            if request is None:
                return
            hits = pool.cached_prefix(request)
            below = [] if request.reserved or request.carried else pool.found_below(request, hits)
            if below and pool.can_admit(request, []):
                self._load(request, len(hits), below)
                continue
            start = max(len(hits) * pool.block_size, request.carried)
            tokens = self._chunk(request.known - start)
            last = tokens == request.known - start
            padding = self._padding(request.known - start, start, ran=ran)
            full = last and len(slot.members) == slot.max_members
            full |= tokens + padding > self.step.budget - self.limits.draft_slots
            if below or full or not pool.can_admit(request, hits, start + tokens + padding):
                if with_blocks or not any(each.reserved for each in replica.queue):
                    return
                with_blocks = True
                continue
            replica.queue.remove(request)
            self._reuse(request, hits)
            self._enter(request, Phase.READING)
            request.order = replica.admitted if self.one_stage else request.age
            replica.admitted += 1
            if last:
                insort(slot.members, request, key=age)
                self._enter(request, Phase.DECODING)
            else:
                replica.partial_prefills.append(request)
            if padding:
                self.step.padded[request] = padding
            self._give(request, tokens + padding, admitted=True)

    def _reuse(self, request: Request, hits: list[int]) -> None:
        """Start ``request`` with its cached blocks, and those that were carried or loaded."""
        pool = self.replica.pool
        if request.reserved:
            pool.reserve(request.reserved, -1)
            request.reserved = 0
        pool.share(request, hits)
        if request.cached_tokens == NEVER:
            request.cached_tokens = max(request.computed, request.loaded)
        if request.carried > request.computed:
            pool.compute(request, request.carried - request.computed)
        request.carried = 0

    def _padding(self, rest: int, start: int, *, ran: bool) -> int:
        """Tokens by which vLLM pads a row of one token to one with drafts, for its CUDA graphs.

        Only in a step without chunks of prompts that were admitted before.
        """
        drafts, limits = self.limits.drafts, self.limits
        fits = start + 2 + drafts <= limits.max_model_len
        fits &= 1 + drafts + limits.draft_slots <= limits.max_num_batched_tokens
        return drafts if rest == 1 and not self.continued and (ran or start > 0) and fits else 0

    def _load(self, request: Request, hits: int, found: list[int]) -> None:
        """Load blocks behind the ``hits`` of a request in the queue; it is queued again when they
        are there, and all of its sequence is reserved meanwhile."""
        replica, pool = self.replica, self.replica.pool
        replica.queue.remove(request)
        request.loaded_ps = self.now_ps
        for tier, own in enumerate(self.limits.kv_tiers):
            blocks = [hits + i for i, where in enumerate(found) if where == tier]
            for block in blocks:
                pool.tiers.touch(tier, request.key(block))
            if blocks:
                began_ps = max(self.now_ps, replica.tier_free_ps[tier])
                end_ps = replica.tier_free_ps[tier] = began_ps + len(blocks) * own.block_ps
                request.loaded_ps = max(request.loaded_ps, end_ps + own.latency_ps)
        pool.reserve(request.known)
        request.reserved = request.known
        request.carried = (hits + len(found)) * pool.block_size
        if not request.preemptions:
            request.loaded = request.carried
        replica.loading.append(request)

    def _enter(self, request: Request, kind: Phase) -> None:
        slot = self.slot.number if kind == Phase.DECODING else -1
        self.phases.append((request, slot, self.step.number, kind))

    def _give(self, request: Request, tokens: int, *, admitted: bool = False) -> None:
        """Schedule tokens, whose blocks are available."""
        step = self.step
        if request.decoding:
            step.decoding.add(request)
        else:
            step.prompts.append(request)
        if tokens >= request.remaining:
            step.emitting.append(request)
        self.replica.pool.compute(request, tokens)
        first = 0 if admitted else request.computed - tokens
        step.chunks.append((request, first, request.computed))
        step.rows[request] = tokens
        step.budget -= tokens + self.limits.draft_slots
