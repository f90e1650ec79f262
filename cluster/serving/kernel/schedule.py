"""Which member of a slot takes how many tokens in the next step: the rules' three phases."""

from typing import Any

from cluster.compiled import inlined
from cluster.serving.kernel.pool import claim, grow, look_up, name_filled, release, unreferenced
from cluster.serving.kernel.state import NONE, State
from cluster.serving.problem import NEVER


@inlined
def schedule(state: State, r: int, s: int) -> None:
    """Fill the next step of slot ``s`` of replica ``r``: ``scheduled`` and ``computed`` of members.

    Leaves the budget that is left and the number of preempted members in the control record.
    """
    control = state.control[0]
    control["preempted"] = 0
    control["budget"] = control["max_num_batched_tokens"]
    continue_decoding(state, r, s)
    if control["budget"] > 0:
        continue_prefilling(state, r, s)
    if control["preempted"] == 0 and state.replicas[r]["short_for"] == NONE:
        admit(state, r, s)


@inlined
def continue_decoding(state: State, r: int, s: int) -> None:
    """Phase 1: one token for each decoding member while budget is left."""
    control, slot, rows = state.control[0], state.slots[r, s], state.members[r, s]
    budget = control["budget"]
    place = 0
    while place < slot["members"] and budget > 0:
        member = rows[place]
        if member["known"] - member["computed"] == 1 and member["known"] > member["prompt"]:
            if member["computed"] == member["capacity"]:
                if not secure(state, r, s, place, 1):
                    break  # it was the youngest
                settle_shortage(state.replicas[r], member)
            member["computed"] += 1
            member["scheduled"] = 1
            budget -= 1
        place += 1
    control["budget"] = budget


@inlined
def continue_prefilling(state: State, r: int, s: int) -> None:
    """Phase 2: the next chunk of the youngest member, the only one that can be prefilling."""
    control, slot = state.control[0], state.slots[r, s]
    place = slot["members"] - 1
    if place < 0:
        return
    member = state.members[r, s, place]
    rest = member["known"] - member["computed"]
    if rest > 1 or member["known"] == member["prompt"]:
        tokens = min(rest, control["budget"])
        if secure(state, r, s, place, missing_blocks(control, member, tokens)):
            take_chunk(state, r, member, tokens)
            settle_shortage(state.replicas[r], member)


@inlined
def admit(state: State, r: int, s: int) -> None:
    """Phase 3: requests from the head of the queue, as long as all their blocks can be had."""
    control, slot = state.control[0], state.slots[r, s]
    while slot["queued"] > 0 and slot["members"] < slot["seats"] and control["budget"] > 0:
        request = state.requests[slot["head"]]
        member = state.members[r, s, slot["members"]]
        hits = 0
        if control["prefix_caching"]:
            hits = look_up(state, r, request, member["seat"])
        if not seat(state, r, member, slot["head"], hits):
            return
        if request["first_scheduled_ps"] == NEVER:
            request["first_scheduled_ps"] = control["now_ps"]
            request["cached_tokens"] = hits * control["block_size"]
        slot["head"] = request["next"]
        slot["queued"] -= 1
        slot["members"] += 1


@inlined
def seat(state: State, r: int, member: Any, number: int, hits: int) -> bool:
    """Let request ``number`` take its first tokens in a free seat.

    ``hits`` blocks of its prefix are cached and named in the seat's table. False if the blocks of
    its whole sequence are not to be had beside what the running members are owed.
    """
    control, replica, request = state.control[0], state.replicas[r], state.requests[number]
    pool, table = state.pool[r], state.tables[member["seat"]]
    member["known"] = request["known"]
    member["computed"] = member["capacity"] = hits * control["block_size"]
    rest = member["known"] - member["computed"]
    whole = missing_blocks(control, member, rest)
    free = control["blocks"] - replica["used_blocks"] - replica["owed"]
    if whole > free - unreferenced(pool, table, hits):
        return False
    claim(replica, pool, table, hits)
    member["owed"] = whole
    replica["owed"] += whole
    member["request"] = number
    member["prompt"] = request["prompt"]
    member["goal"] = request["goal"]
    member["emitted_ps"] = request["emitted_ps"]
    unpack(state, r, member, request)
    tokens = min(member["known"] - member["computed"], control["budget"])
    grow(state, r, member, missing_blocks(control, member, tokens))
    take_chunk(state, r, member, tokens)
    return True


@inlined
def unpack(state: State, r: int, member: Any, request: Any) -> None:
    """Put the KV that has come with ``request``, beyond what is cached, into blocks: only once."""
    control = state.control[0]
    before, carried = member["computed"], request["carried"]
    request["carried"] = 0
    if carried <= before:
        return
    grow(state, r, member, missing_blocks(control, member, carried - before))
    member["computed"] = carried
    if control["prefix_caching"]:
        name_filled(state, r, member, before)


@inlined
def take_chunk(state: State, r: int, member: Any, tokens: int) -> None:
    """Schedule ``tokens`` tokens, whose blocks are there."""
    control = state.control[0]
    before = member["computed"]
    member["computed"] = before + tokens
    member["scheduled"] = tokens
    control["budget"] -= tokens
    if control["prefix_caching"]:
        name_filled(state, r, member, before)


@inlined
def missing_blocks(control: Any, member: Any, tokens: int) -> int:
    """Blocks that ``member`` needs besides its own to take ``tokens`` more."""
    over = member["computed"] + tokens - member["capacity"]
    if over <= 0:
        return 0
    missing: int = (over + control["block_size"] - 1) // control["block_size"]
    return missing


@inlined
def secure(state: State, r: int, s: int, place: int, count: int) -> bool:
    """Give the member at ``place`` ``count`` more blocks, at the cost of the youngest ones.

    False if it was the youngest itself: it is preempted, or left out where it is the oldest.
    """
    control, replica, slot = state.control[0], state.replicas[r], state.slots[r, s]
    member = state.members[r, s, place]
    while count > control["blocks"] - replica["used_blocks"]:
        if slot["members"] - 1 == place and member["request"] == oldest(state, r):
            replica["short_for"] = member["request"]
            return False
        preempt(state, r, s)
        if slot["members"] == place:
            return False
    if count > 0:
        grow(state, r, member, count)
    return True


@inlined
def settle_shortage(replica: Any, member: Any) -> None:
    """The member takes tokens: if the replica was short for it, it is no longer."""
    if replica["short_for"] == member["request"]:
        replica["short_for"] = NONE


@inlined
def oldest(state: State, r: int) -> int:
    """The lowest-numbered running member of the replica; there is one."""
    lowest = NONE
    for s in range(state.slots.shape[1]):
        if state.slots[r, s]["members"] > 0:
            first = state.members[r, s, 0]["request"]
            if lowest == NONE or first < lowest:
                lowest = first
    return lowest


@inlined
def preempt(state: State, r: int, s: int) -> None:
    """Send the youngest member of the slot, which has no tokens yet, back to its queue's front."""
    control, slot = state.control[0], state.slots[r, s]
    slot["members"] -= 1
    member = state.members[r, s, slot["members"]]
    control["preempted"] += 1
    release(state, r, member)
    request = state.requests[member["request"]]
    request["known"] = member["known"]
    request["emitted_ps"] = member["emitted_ps"]
    request["preemptions"] += 1
    request["next"] = slot["head"] if slot["queued"] > 0 else NONE
    slot["head"] = member["request"]
    if slot["queued"] == 0:
        slot["tail"] = member["request"]
    slot["queued"] += 1
