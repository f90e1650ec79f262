"""Arrivals of sessions: a turn arrives when its previous one has ended, and its delay after that.

Turns whose arrival is known are in ``State.due_heap``, a binary heap by (arrival, number).
Functions take the arrays that they need: a call with the whole state takes longer to compile.
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.tables import Records
from cluster.serving.kernel.state import LAST_PS, NONE
from corsair_common.units import Integers


@inlined
def arrives_before(requests: Records, one: int, other: int) -> bool:
    """Whether request ``one`` arrives before ``other``."""
    first_ps, other_ps = requests[one]["arrival_ps"], requests[other]["arrival_ps"]
    return bool(first_ps < other_ps or (first_ps == other_ps and one < other))


@inlined
def push_due(control: Any, requests: Records, heap: Integers, number: int) -> None:
    """Add a request whose arrival is known."""
    place = control["due"]
    control["due"] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not arrives_before(requests, number, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = number


@called
def pop_due(control: Any, requests: Records, heap: Integers) -> int:
    """Remove the request that arrives next; there is one."""
    first = heap[0]
    control["due"] -= 1
    size = control["due"]
    moving, place, child = heap[size], 0, 1
    while child < size:
        if child + 1 < size and arrives_before(requests, heap[child + 1], heap[child]):
            child += 1
        if not arrives_before(requests, heap[child], moving):
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = moving
    return int(first)


@called
def send_followers(
    control: Any, requests: Records, turns: Records, heap: Integers, number: int, end_ps: int
) -> None:
    """The turns that follow a request, which has ended, arrive their delays later.

    None arrives before its own ``arrival_ps``; a time past LAST_PS is cut to just after it.
    """
    next_turn = turns[number]["follower"]
    while next_turn != NONE:
        request, turn = requests[next_turn], turns[next_turn]
        delay_ps = min(turn["delay_ps"], max(0, LAST_PS + 1 - end_ps))
        request["arrival_ps"] = max(request["arrival_ps"], end_ps + delay_ps)
        push_due(control, requests, heap, next_turn)
        next_turn = turn["sibling"]
