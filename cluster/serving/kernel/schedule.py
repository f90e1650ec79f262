"""Schedules the next step of a slot: its decodes and chunks of partial prefills."""

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH
from cluster.perf_model.tables import DECODE_BLOCKS
from cluster.serving.kernel.admission import admit
from cluster.serving.kernel.block_pool import (
    blocks_after,
    grow,
    has_room,
    name_full,
    plan_review,
)
from cluster.serving.kernel.measure import add_row, count_decode, count_drafted
from cluster.serving.kernel.queues import chunk_of, join, preempt, schedule_chunk
from cluster.serving.kernel.state import (
    FOREVER,
    GONE,
    NO_MORE,
    NONE,
    READ_ON,
    READ_OUT,
    State,
)
from cluster.serving.kernel.verified import draw_accepted


@inlined
def schedule(state: State, r: int, s: int) -> None:
    """Fill the next step of slot ``s`` of replica ``r``; its measures are in the control record."""
    control, replica = state.control[0], state.replicas[r]
    begin(state, r, s)
    open_for_prompts = True
    if control["threshold"] > 0 and state.slots.shape[1] == 1:
        open_for_prompts = continue_by_age(state, r, s)
    else:
        if control["drafts"] > 0:
            verify(state, r, s, 0, FOREVER)
        else:
            continue_decoding(state, r, s, 0, FOREVER)
        h = 0
        slots = control["draft_slots"]
        while open_for_prompts and h < replica["partial"] and control["budget"] > slots:
            outcome = continue_prefill(state, r, s, h)
            open_for_prompts = outcome != NO_MORE
            h += outcome == READ_ON
    short = replica["short_for"] != NONE and replica["holding"] == 0
    if open_for_prompts and control["preempted"] == 0 and not short:
        admit(state, r, s)


@inlined
def begin(state: State, r: int, s: int) -> None:
    """Start an empty step."""
    control = state.control[0]
    control["budget"] = control["max_num_batched_tokens"]
    control["bit"] = 1 + state.slots[r, s]["turn"]
    control["preempted"] = control["fed_back"] = control["finished"] = 0
    state.sums[:] = 0
    control["prompts"] = control["admitted"] = control["reading"] = 0
    control["slots_spent"] = control["verified"] = 0


@called
def continue_by_age(state: State, r: int, s: int) -> bool:
    """With one stage and a threshold: decodes and partial prefills in order of admission."""
    replica, slot, rows = state.replicas[r], state.slots[r, s], state.members[r, s]
    open_for_prompts = True
    slots = state.control[0]["draft_slots"]
    place = h = 0
    while h < replica["partial"] and state.control[0]["budget"] > slots:
        last = place
        while (
            last < slot["members"] and rows[last]["order"] < state.partial_prefills[r, h]["order"]
        ):
            last += 1
        decode_some(state, r, s, place, last)
        place = last
        if h >= replica["partial"] or state.control[0]["budget"] <= slots:
            break
        outcome = continue_prefill(state, r, s, h) if open_for_prompts else NO_MORE
        open_for_prompts = outcome != NO_MORE
        h += outcome in (READ_ON, NO_MORE)
        place += outcome == READ_OUT  # it has moved there
    decode_some(state, r, s, place, FOREVER)
    return open_for_prompts


@called
def decode_some(state: State, r: int, s: int, first: int, last: int) -> None:
    """``continue_decoding`` or ``verify``, compiled once as a call, for rare callers."""
    if state.control[0]["drafts"] > 0:
        verify(state, r, s, first, last)
    else:
        continue_decoding(state, r, s, first, last)


@inlined
def continue_decoding(state: State, r: int, s: int, first: int, last: int) -> None:
    """One token for each decode of ``members[first:last]`` while budget is left."""
    control, slot, rows = state.control[0], state.slots[r, s], state.members[r, s]
    bit, caching, asynchronous = control["bit"], control["prefix_caching"], control["asynchronous"]
    kinds = len(state.kinds)
    budget = control["budget"]
    finished = seen = fed_back = 0
    place = first
    while place < slot["members"] and place < last and budget > 0:
        member = rows[place]
        emits = bit
        computed = member["computed"] + 1
        if asynchronous and member["emits"] != 0:  # its previous token is not yet computed
            emits |= member["emits"]
            if computed == member["goal"]:
                place += 1
                continue
        if member["computed"] >= member["review"]:
            wants = computed > member["capacity"] or member["chunk"] > 1
            if wants and not secure(state, r, s, place, 1):
                break  # it was the youngest
            member["computed"] = computed
            if caching:
                name_full(state, r, member, computed - (emits != bit))
            plan_review(state, member)
        member["computed"] = computed
        fed_back |= emits ^ bit
        member["emits"] = emits
        blocks = (computed + BLOCK_TOKENS - 1) >> 6
        seen += blocks
        for kind in range(1, kinds):  # kind 0 has full context
            state.sums[kind * WIDTH + DECODE_BLOCKS] += min(blocks, state.kinds[kind]["seen"])
        finished += computed + 1 == member["goal"]
        budget -= 1
        place += 1
    for left_out in range(place, slot["members"] if slot["lag"] > 0 else 0):
        rows[left_out]["emits"] = 0  # of a calm batch that has ended
    state.sums[DECODE_BLOCKS] += seen
    control["finished"] += finished
    control["budget"] = budget
    control["fed_back"] |= fed_back


@called
def verify(state: State, r: int, s: int, first: int, last: int) -> None:
    """One token and its drafts for each decode of ``members[first:last]`` while budget is left."""
    control, slot, rows = state.control[0], state.slots[r, s], state.members[r, s]
    place = first
    while place < slot["members"] and place < last and control["budget"] > control["draft_slots"]:
        member = rows[place]
        request = state.requests[member["request"]]
        tokens = chunk_of(state, r, 1 + control["drafts"])
        tokens = min(tokens, control["max_model_len"] - member["computed"] - 1)
        if not secure(state, r, s, place, tokens):
            return  # it was the youngest
        member["computed"] += tokens
        member["emits"] = control["bit"]
        draw_accepted(state, request, tokens - 1)
        out = min(1 + request["accepted"], member["goal"] - member["known"])
        finishes = int(member["known"] + out == member["goal"])
        if tokens == 1:
            count_decode(state, member["computed"], finishes)
        else:
            control["finished"] += finishes
            add_row(state, member["computed"], tokens)
            count_drafted(state, member["computed"])
        if control["prefix_caching"]:
            name_full(state, r, member, min(member["computed"], member["known"]))
        control["verified"] += tokens - 1
        control["budget"] -= tokens + control["draft_slots"]
        control["slots_spent"] += control["draft_slots"]
        place += 1


@called
def secure(state: State, r: int, s: int, place: int, tokens: int) -> bool:
    """Make room for ``tokens`` of the decode at ``place`` by preempting the youngest ones.

    False if it was the youngest itself: it is preempted, or left out if it is the oldest.
    """
    replica, slot = state.replicas[r], state.slots[r, s]
    member = state.members[r, s, place]
    while not has_room(state, r, member, blocks_after(state, member, tokens), tokens):
        if youngest_reads(state, r, s):
            preempt(state, r, s, True)
            continue
        if slot["members"] - 1 == place and member["request"] == oldest(state, r):
            replica["short_for"] = member["request"]
            return False
        preempt(state, r, s, False)
        if slot["members"] == place:
            return False
    grow(state, r, member, blocks_after(state, member, tokens), tokens)
    if replica["short_for"] == member["request"]:
        replica["short_for"] = NONE
    return True


@inlined
def youngest_reads(state: State, r: int, s: int) -> bool:
    """Whether a partial prefill is preempted before the slot's decodes.

    It is younger than the decodes; only with one stage and a threshold it may be older.
    """
    partial, members = state.replicas[r]["partial"], state.slots[r, s]["members"]
    if partial == 0:
        return False
    if state.slots.shape[1] > 1 or members == 0:
        return True
    last = state.partial_prefills[r, partial - 1]["order"]
    return bool(last > state.members[r, s, members - 1]["order"])


@inlined
def oldest(state: State, r: int) -> int:
    """The running request of the replica that arrived first; there is one."""
    first = NONE
    for s in range(state.slots.shape[1]):
        for place in range(state.slots[r, s]["members"]):
            first = older(state, first, state.members[r, s, place]["request"])
    for h in range(state.replicas[r]["partial"]):
        first = older(state, first, state.partial_prefills[r, h]["request"])
    return first


@inlined
def older(state: State, one: int, other: int) -> int:
    """Which of two requests, the first of which may be NONE, arrived first."""
    if one != NONE and state.requests[one]["age"] < state.requests[other]["age"]:
        return one
    return other


@called
def continue_prefill(state: State, r: int, s: int, h: int) -> int:
    """Schedule the next chunk of partial prefill ``h``; return the outcome."""
    replica, slot = state.replicas[r], state.slots[r, s]
    partial = state.partial_prefills[r, h]
    rest = partial["known"] - partial["computed"]
    tokens = chunk_of(state, r, rest)
    if tokens == rest and slot["members"] == slot["max_members"]:
        return NO_MORE
    while not has_room(state, r, partial, blocks_after(state, partial, tokens), tokens):
        reads = youngest_reads(state, r, s)
        preempt(state, r, s, reads)
        if reads and replica["partial"] == h:
            return GONE
    grow(state, r, partial, blocks_after(state, partial, tokens), tokens)
    schedule_chunk(state, r, partial, tokens, tokens == rest)
    if tokens < rest:
        return READ_ON
    join(state, r, s, partial)
    for later in range(h + 1, replica["partial"]):
        state.partial_prefills[r, later - 1] = state.partial_prefills[r, later]
    replica["partial"] -= 1
    return READ_OUT
