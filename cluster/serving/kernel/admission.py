"""Admission from the head of a replica's queue into the current step."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.serving.kernel.block_pool import (
    block_key,
    blocks_after,
    claim,
    grow,
    has_room,
    hold_tokens,
    look_up,
    name_full,
    reach,
    shared,
)
from cluster.serving.kernel.block_tiers import loads_until, tier_with, touch, wait_for_load
from cluster.serving.kernel.queues import chunk_of, join, leave_queue, note, schedule_chunk
from cluster.serving.kernel.state import NONE, READING, State


@inlined
def admit(state: State, r: int, s: int) -> None:
    """Admit requests from the head of the queue while their whole sequences have room.

    Those whose blocks are counted already may pass others that lack some.
    """
    control, replica = state.control[0], state.replicas[r]
    control["ran"] = control["budget"] < control["max_num_batched_tokens"]
    with_blocks = replica["short_for"] != NONE
    while (
        control["budget"] > control["draft_slots"] and replica["running"] < control["max_num_seqs"]
    ):
        number = replica["head"]
        before = NONE
        while number != NONE and (
            state.requests[number]["flights"] != 0
            or (with_blocks and state.requests[number]["reserved"] == 0)
        ):
            before = number  # batches in flight from before its preemption must end first
            number = state.requests[number]["next"]
        if number == NONE:
            return
        if not try_admit(state, r, s, number, before):
            if with_blocks or replica["holding"] == 0:
                return
            with_blocks = True


@inlined
def try_admit(state: State, r: int, s: int, number: int, before: int) -> bool:
    """Admit request ``number``, behind ``before`` in the queue, with its first chunk if
    possible."""
    control, replica, request = state.control[0], state.replicas[r], state.requests[number]
    slot = state.slots[r, s]
    row = state.free_rows[r, replica["free_rows"] - 1]
    pool, table = state.pool[r], state.tables[row % len(state.tables)]
    hits = look_up(state, r, request, row) if control["prefix_caching"] else 0
    reserved = request["reserved"]
    if control["tiers"] > 0 and reserved + request["carried"] == 0:
        found = further_hits(state, r, request, hits)
        if found > 0:
            return load(state, r, number, before, hits, found)
    start = max(hits * control["block_size"], request["carried"])
    rest = request["known"] - start
    tokens = chunk_of(state, r, rest)
    last = tokens == rest
    if rest == 1 and pads(control, start):
        tokens = 1 + control["drafts"]
        if tokens > control["budget"] - control["draft_slots"]:
            return False
    most = max(request["known"], reach(control, start + tokens))
    if reserved == 0 and not can_admit(state, r, most, shared(pool, table, hits)):
        return False
    if last and slot["members"] == slot["max_members"]:
        return False
    leave_queue(state, r, number, before)
    if reserved > 0:
        hold_tokens(state, r, reserved, -1)
        request["reserved"] = 0
        replica["holding"] -= 1
    replica["free_rows"] -= 1
    replica["running"] += 1
    claim(state, r, table, hits)
    partial = state.partial_prefills[r, replica["partial"]] if not last else state.scratch[0]
    partial["table_row"] = row
    begin_member(state, r, partial, number, hits)
    if request["preemptions"] == 0:
        request["cached_tokens"] = max(hits * control["block_size"], request["loaded"])
        control["admitted"] += 1
    unpack(state, r, partial, request)
    grow(state, r, partial, blocks_after(state, partial, tokens), tokens)
    schedule_chunk(state, r, partial, tokens, last)
    if last:
        join(state, r, s, partial)
    else:
        replica["partial"] += 1
    return True


@called
def further_hits(state: State, r: int, request: Any, hits: int) -> int:
    """Number of blocks behind the cached ``hits`` that are in tiers."""
    limit: int = (request["known"] - 1) // state.control[0]["block_size"]
    found = hits
    while found < limit and tier_with(state, r, block_key(state, request, found)) != NONE:
        found += 1
    return found - hits


@called
def load(state: State, r: int, number: int, before: int, hits: int, found: int) -> bool:
    """Load ``found`` blocks behind the cached ``hits`` of a request in the queue.

    Its whole sequence must be available, and is reserved meanwhile; it is queued again once all of
    them are there. Tiers load at the same time, each one request after another.
    """
    control, request = state.control[0], state.requests[number]
    if not can_admit(state, r, request["known"], 0):
        return False
    leave_queue(state, r, number, before)
    loaded_ps = control["now_ps"]
    for tier in range(control["tiers"]):
        blocks = 0
        for i in range(hits, hits + found):
            key = block_key(state, request, i)
            if tier_with(state, r, key) == tier:
                touch(state, r, tier, key)
                blocks += 1
        if blocks > 0:
            loaded_ps = max(loaded_ps, loads_until(state, r, tier, blocks))
    hold_tokens(state, r, request["known"], 1)
    request["reserved"] = request["known"]
    request["carried"] = (hits + found) * control["block_size"]
    if request["preemptions"] == 0:
        request["loaded"] = request["carried"]
    wait_for_load(state, r, number, loaded_ps)
    return True


@inlined
def pads(control: Any, start: int) -> bool:
    """Whether a request with one token left, of ``start`` and one, is padded to a row with drafts.

    vLLM does so for its CUDA graphs in a step without chunks of prompts admitted before.
    """
    return bool(
        control["drafts"] > 0
        and control["continued"] == 0
        and (control["ran"] or start > 0)
        and start + 2 + control["drafts"] <= control["max_model_len"]
        and 1 + control["drafts"] + control["draft_slots"] <= control["max_num_batched_tokens"]
    )


@inlined
def begin_member(state: State, r: int, member: Any, number: int, hits: int) -> None:
    """Fill the record of an admitted request with ``hits`` cached blocks."""
    control, replica, request = state.control[0], state.replicas[r], state.requests[number]
    member["request"], member["named"] = number, hits
    member["order"] = replica["admitted"] if state.slots.shape[1] == 1 else request["age"]
    replica["admitted"] += 1
    member["prompt"], member["goal"] = request["prompt"], request["goal"]
    member["known"] = request["known"]
    member["computed"] = member["capacity"] = hits * control["block_size"]
    member["chunk"] = member["flights"] = member["emits"] = 0
    member["emitted_ps"] = request["emitted_ps"]
    member["first_row"] = replica["steps"]
    note(state, r, number, NONE, replica["steps"], READING)


@inlined
def can_admit(state: State, r: int, tokens: int, hits: int) -> bool:
    """Whether all blocks of a sequence are available, ``hits`` of which are already in use."""
    control = state.control[0]
    block_size = control["block_size"]
    member = state.scratch[1]
    member["capacity"], member["chunk"] = hits * block_size, 0
    blocks = (tokens + block_size - 1) // block_size
    return has_room(state, r, member, blocks, control["max_num_batched_tokens"])


@inlined
def unpack(state: State, r: int, member: Any, request: Any) -> None:
    """Store the KV that arrived with ``request``, beyond its cached part, in blocks: only once."""
    carried = request["carried"]
    request["carried"] = 0
    more = carried - member["computed"]
    if more <= 0:
        return
    grow(state, r, member, blocks_after(state, member, more), more)
    member["computed"] = carried
    if state.control[0]["prefix_caching"]:
        name_full(state, r, member, carried)
