"""Moves requests between a replica's queue, its partial prefills, and its slots."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.serving.kernel.block_pool import name_full, plan_review, release
from cluster.serving.kernel.measure import (
    add_row,
    begin_prompts,
    count_chunk,
    count_decode,
    count_drafted,
)
from cluster.serving.kernel.state import BY_LAYER, DECODING, LOST, NONE, WAITING, State


@inlined
def enqueue(state: State, r: int, number: int) -> None:
    """Insert a request into the queue, where it waits from now on."""
    note(state, r, number, NONE, state.replicas[r]["steps"], WAITING)
    queue_by_age(state, r, number)


@inlined
def queue_by_age(state: State, r: int, number: int) -> None:
    """Insert a request into the queue by its age."""
    replica, requests = state.replicas[r], state.requests
    age = requests[number]["age"]
    replica["queued"] += 1
    before = replica["tail"]
    if before == NONE or requests[before]["age"] < age:
        requests[number]["next"] = NONE
        replica["tail"] = number
    else:
        before = NONE
        after = replica["head"]
        while requests[after]["age"] < age:
            before = after
            after = requests[after]["next"]
        requests[number]["next"] = after
    if before == NONE:
        replica["head"] = number
    else:
        requests[before]["next"] = number


@inlined
def leave_queue(state: State, r: int, number: int, before: int) -> None:
    """Remove a request, behind ``before`` (or NONE), from the queue."""
    replica, requests = state.replicas[r], state.requests
    after = requests[number]["next"]
    if before == NONE:
        replica["head"] = after
    else:
        requests[before]["next"] = after
    if after == NONE:
        replica["tail"] = before
    replica["queued"] -= 1


@called
def show_lag(state: State, r: int, s: int) -> None:
    """Write the ends of calm batches into the members of a slot."""
    slot = state.slots[r, s]
    for place in range(slot["members"] if slot["lag"] > 0 else 0):
        member = state.members[r, s, place]
        member["known"] += slot["lag"]
        member["emitted_ps"] = slot["finished_ps"]
    slot["lag"] = 0


@inlined
def join(state: State, r: int, s: int, member: Any) -> None:
    """Insert ``member`` by age into those of slot ``s``."""
    show_lag(state, r, s)
    slot, rows = state.slots[r, s], state.members[r, s]
    slot["even"] = 0
    place = slot["members"]
    while place > 0 and rows[place - 1]["order"] > member["order"]:
        rows[place] = rows[place - 1]
        place -= 1
    rows[place] = member
    slot["members"] += 1
    state.requests[member["request"]]["slot"] = s
    note(state, r, member["request"], s, state.replicas[r]["steps"], DECODING)


@inlined
def schedule_chunk(state: State, r: int, member: Any, tokens: int, last: bool) -> None:
    """Schedule ``tokens`` tokens of a prompt with allocated blocks; after the last it emits."""
    control = state.control[0]
    member["computed"] += tokens
    computed, known = member["computed"], member["known"]
    control["budget"] -= tokens + control["draft_slots"]
    control["slots_spent"] += control["draft_slots"]
    finishes = last and known + 1 == member["goal"]
    padded = max(0, computed - known)
    control["verified"] += padded
    if last and tokens - padded == 1 and known > member["prompt"]:  # but for one all was cached
        if padded > 0:
            control["finished"] += finishes
            add_row(state, computed, tokens)
            count_drafted(state, computed)
        else:
            count_decode(state, computed, int(finishes))
    else:
        if control["prompts"] == 0:
            begin_prompts(control, member["request"])
        count_chunk(state, computed, tokens, last, finishes)
        control["prefill"] -= padded
    if control["prefix_caching"]:
        name_full(state, r, member, computed - padded)
    plan_review(state, member)
    if last:
        member["emits"] |= control["bit"]
    else:
        control["reading"] += 1
    member["flights"] |= control["bit"] * control["asynchronous"]
    if control["hands_over"] == BY_LAYER:
        note_chunk(state, r, member, tokens, last)


@called
def note_chunk(state: State, r: int, member: Any, tokens: int, last: bool) -> None:
    """Note a chunk for the transfer of its KV; the launch of the step adds its times."""
    control = state.control[0]
    chunk = state.chunks[control["chunks"]]
    chunk["request"], chunk["last"] = member["request"], last
    chunk["tokens"] = member["computed"] if tokens > 0 else 0
    admitted = member["first_row"] == state.replicas[r]["steps"]
    chunk["first"] = 0 if admitted else member["computed"] - tokens
    control["chunks"] += 1
    control["until_ps"] = control["now_ps"]


@called
def preempt(state: State, r: int, s: int, reads: bool) -> None:
    """Preempt the youngest partial prefill, or decode of slot ``s``."""
    control, replica, slot = state.control[0], state.replicas[r], state.slots[r, s]
    where = NONE
    if reads:
        replica["partial"] -= 1
        member = state.partial_prefills[r, replica["partial"]]
    else:
        where = s
        show_lag(state, r, s)
        slot["members"] -= 1
        member = state.members[r, s, slot["members"]]
    number = member["request"]
    request = state.requests[number]
    control["preempted"] += 1
    if replica["short_for"] == number:
        replica["short_for"] = NONE
    if control["hands_over"] == BY_LAYER:
        note_chunk(state, r, member, 0, False)
    replica["running"] -= 1
    release(state, r, member)
    note(state, r, number, where, replica["steps"] - 1, LOST)
    request["known"] = member["known"]
    request["emitted_ps"] = member["emitted_ps"]
    request["preemptions"] += 1
    flights = (member["flights"] | member["emits"]) * control["asynchronous"]
    if flights != 0:
        request["flights"], request["emits"] = flights, member["emits"]
        state.stale[r, replica["stale"]] = number
        replica["stale"] += 1
    enqueue(state, r, number)


@inlined
def note(state: State, r: int, number: int, slot: int, row: int, kind: int) -> None:
    """Write a phase of a request to the buffer, which has room for a whole step's."""
    control = state.control[0]
    if control["recording"] == 0:
        return
    phase = state.phases[control["phases"]]
    phase["request"], phase["replica"], phase["slot"] = number, r, slot
    phase["row"], phase["kind"] = row, kind
    control["phases"] += 1


@inlined
def chunk_of(state: State, r: int, rest: int) -> int:
    """Tokens of a row in this step that has ``rest`` to compute."""
    control = state.control[0]
    tokens = min(rest, control["budget"] - control["draft_slots"])
    if control["threshold"] > 0 and state.replicas[r]["outstanding"] > 1:
        tokens = min(tokens, control["threshold"])
    return int(tokens)
