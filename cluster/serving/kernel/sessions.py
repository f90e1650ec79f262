"""Arrivals of sessions: a turn arrives when its previous one has ended, and its delay after that.

Turns whose arrival is known are in ``due_heap``, a binary heap by (arrival, number).
"""

from cluster.compiled import called, inlined
from cluster.serving.kernel.state import LAST_PS, NONE, State


@inlined
def arrives_before(state: State, one: int, other: int) -> bool:
    """Whether request ``one`` arrives before ``other``."""
    first_ps, other_ps = state.requests[one]["arrival_ps"], state.requests[other]["arrival_ps"]
    return bool(first_ps < other_ps or (first_ps == other_ps and one < other))


@inlined
def push_due(state: State, number: int) -> None:
    """Add a request whose arrival is known."""
    heap, place = state.due_heap, state.control[0]["due"]
    state.control[0]["due"] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not arrives_before(state, number, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = number


@called
def pop_due(state: State) -> int:
    """Remove the request that arrives next; there is one."""
    heap = state.due_heap
    first = heap[0]
    state.control[0]["due"] -= 1
    size = state.control[0]["due"]
    moving, place, child = heap[size], 0, 1
    while child < size:
        if child + 1 < size and arrives_before(state, heap[child + 1], heap[child]):
            child += 1
        if not arrives_before(state, heap[child], moving):
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = moving
    return int(first)


@called
def send_followers(state: State, number: int, end_ps: int) -> None:
    """The turns that follow a request, which has ended, arrive their delays later.

    None arrives before its own ``arrival_ps``; a time past LAST_PS is cut to just after it.
    """
    next_turn = state.requests[number]["follower"]
    while next_turn != NONE:
        turn = state.requests[next_turn]
        delay_ps = min(turn["delay_ps"], max(0, LAST_PS + 1 - end_ps))
        turn["arrival_ps"] = max(turn["arrival_ps"], end_ps + delay_ps)
        push_due(state, next_turn)
        next_turn = turn["sibling"]
