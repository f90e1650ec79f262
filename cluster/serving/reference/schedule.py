"""Putting a step together: who takes how many tokens, who is preempted, who is admitted."""

from cluster.serving.problem import NEVER
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request


def schedule_step(replica: Replica, slot: Slot, budget: int) -> Step:
    """The next step of ``slot``: decodes, then prefill chunks, then newcomers.

    A step without rows is not to be started.
    """
    step = Step(budget)
    decoding = [member for member in slot.members if member.decoding]
    prefilling = [member for member in slot.members if not member.decoding]
    for member in decoding + prefilling:
        if step.budget and member in slot.members:  # it may have been preempted meanwhile
            _extend(replica, slot, step, member)
    if not step.preempted and replica.short_for is None:
        _admit(replica, slot, step)
    return step


def _extend(replica: Replica, slot: Slot, step: Step, member: Request) -> None:
    """Give a running member its tokens, at the cost of younger ones where blocks are short."""
    tokens = min(member.remaining, step.budget)
    needed = replica.pool.blocks_for(member.computed + tokens) - len(member.blocks)
    while not replica.pool.has_room(needed, hits=[]):
        youngest = slot.members[-1]
        if youngest is member and replica.is_oldest(member):
            replica.short_for = member
            return
        _preempt(replica, slot, youngest)
        step.preempted = True
        if youngest is member:
            return
    if replica.short_for is member:
        replica.short_for = None
    _give(replica, step, member, tokens)


def _preempt(replica: Replica, slot: Slot, member: Request) -> None:
    """Send ``member`` back to the queue without its KV; it has no tokens in this step yet."""
    replica.pool.release(member)
    slot.members.remove(member)
    slot.queue.appendleft(member)
    member.computed = 0
    member.preemptions += 1


def _admit(replica: Replica, slot: Slot, step: Step) -> None:
    """Seat requests from the queue, first come first served, if all they know has room."""
    pool = replica.pool
    while slot.queue and len(slot.members) < slot.seats and step.budget:
        request = slot.queue[0]
        hits = pool.cached_prefix(request)
        target = pool.blocks_for(request.known)
        if not pool.has_room(target - len(hits) + replica.owed, hits):
            return
        slot.members.append(slot.queue.popleft())
        request.target_blocks = target
        pool.share(request, hits)
        if request.cached_tokens == NEVER:
            request.cached_tokens = request.computed
        if request.carried > request.computed:
            pool.compute(request, request.carried - request.computed)
        request.carried = 0
        _give(replica, step, request, min(request.remaining, step.budget))


def _give(replica: Replica, step: Step, member: Request, tokens: int) -> None:
    if member.decoding:
        step.decoding.add(member)
    replica.pool.compute(member, tokens)
    step.rows[member] = tokens
    step.budget -= tokens
