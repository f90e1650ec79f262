"""Newcomers: who is taken from the head of a replica's queue into the step being scheduled."""

from typing import Any

from cluster.compiled import inlined
from cluster.serving.kernel.block_pool import (
    blocks_after,
    claim,
    grow,
    has_room,
    look_up,
    name_full,
    shared,
)
from cluster.serving.kernel.queues import chunk_of, give_chunk, join, leave_queue
from cluster.serving.kernel.state import NONE, State


@inlined
def admit(state: State, r: int, s: int) -> None:
    """Take requests from the head of the queue, as long as all that they know has room."""
    control, replica = state.control[0], state.replicas[r]
    while control["budget"] > 0 and replica["running"] < control["max_num_seqs"]:
        number = replica["head"]
        before = NONE
        while number != NONE and state.requests[number]["flights"] != 0:
            before = number  # what is in flight from before its preemption comes first
            number = state.requests[number]["next"]
        if number == NONE or not take_in(state, r, s, number, before):
            return


@inlined
def take_in(state: State, r: int, s: int, number: int, before: int) -> bool:
    """Let request ``number``, behind ``before`` in the queue, take its first chunk, if it can."""
    control, replica, request = state.control[0], state.replicas[r], state.requests[number]
    slot = state.slots[r, s]
    row = state.free_seats[r, replica["free_seats"] - 1]
    pool, table = state.pool[r], state.tables[row % len(state.tables)]
    hits = look_up(state, r, request, row) if control["prefix_caching"] else 0
    if not can_admit(state, r, request["known"], shared(pool, table, hits)):
        return False
    start = max(hits * control["block_size"], request["carried"])
    rest = request["known"] - start
    tokens = chunk_of(state, r, rest)
    if tokens == rest and slot["members"] == slot["seats"]:
        return False
    leave_queue(state, r, number, before)
    replica["free_seats"] -= 1
    replica["running"] += 1
    claim(state, r, table, hits)
    half = state.half_read[r, replica["half"]] if tokens < rest else state.scratch[0]
    half["seat"] = row
    begin_member(state, r, half, number, hits)
    if request["preemptions"] == 0:
        request["cached_tokens"] = hits * control["block_size"]
        control["newcomers"] += 1
    unpack(state, r, half, request)
    grow(state, r, half, blocks_after(state, half, tokens), tokens)
    give_chunk(state, r, half, tokens, tokens == rest)
    if tokens < rest:
        replica["half"] += 1
    else:
        join(state, r, s, half)
    return True


@inlined
def begin_member(state: State, r: int, member: Any, number: int, hits: int) -> None:
    """Fill the record of a request that is admitted with ``hits`` blocks of its prefix."""
    control, replica, request = state.control[0], state.replicas[r], state.requests[number]
    member["request"], member["named"] = number, hits
    member["order"] = replica["admitted"] if state.slots.shape[1] == 1 else number
    replica["admitted"] += 1
    member["prompt"], member["goal"] = request["prompt"], request["goal"]
    member["known"] = request["known"]
    member["computed"] = member["capacity"] = hits * control["block_size"]
    member["chunk"] = member["flights"] = member["emits"] = 0
    member["emitted_ps"] = request["emitted_ps"]
    member["first_row"] = replica["steps"]


@inlined
def can_admit(state: State, r: int, tokens: int, hits: int) -> bool:
    """Whether all blocks of a sequence can be had, ``hits`` of which others hold already."""
    control = state.control[0]
    block_size = control["block_size"]
    member = state.scratch[1]
    member["capacity"], member["chunk"] = hits * block_size, 0
    blocks = (tokens + block_size - 1) // block_size
    return has_room(state, r, member, blocks, control["max_num_batched_tokens"])


@inlined
def unpack(state: State, r: int, member: Any, request: Any) -> None:
    """Put the KV that has come with ``request``, beyond what is cached, into blocks: only once."""
    carried = request["carried"]
    request["carried"] = 0
    more = carried - member["computed"]
    if more <= 0:
        return
    grow(state, r, member, blocks_after(state, member, more), more)
    member["computed"] = carried
    if state.control[0]["prefix_caching"]:
        name_full(state, r, member, carried)
