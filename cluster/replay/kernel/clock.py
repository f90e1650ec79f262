"""The next leg to enter or leave: a binary heap of slots by (time, number)."""

from cluster.compiled import inlined
from cluster.replay.kernel.state import NONE, State


@inlined
def schedule(state: State, s: int, event_ps: int) -> None:
    """Let the leg of slot ``s`` act at ``event_ps``, whether it stands in the heap or not."""
    control, slot = state.control[0], state.slots[s]
    if slot["place"] == NONE:
        slot["place"] = control["queued"]
        control["queued"] += 1
    slot["event_ps"] = event_ps
    sink(state, rise(state, s, slot["place"]), s)


@inlined
def take_first(state: State) -> int:
    """Take the slot that acts first out of the heap."""
    control, slots = state.control[0], state.slots
    first = slots[0]["heap"]
    control["queued"] -= 1
    last = slots[control["queued"]]["heap"]
    slots[first]["place"] = NONE
    if last != first:
        sink(state, 0, last)
    return int(first)


@inlined
def earlier(state: State, one: int, other: int) -> bool:
    """Whether slot ``one`` acts before ``other``."""
    a, b = state.slots[one]["event_ps"], state.slots[other]["event_ps"]
    return bool(a < b or (a == b and one < other))


@inlined
def rise(state: State, moving: int, place: int) -> int:
    """Find how far up from ``place`` the slot belongs, making room; return where."""
    slots = state.slots
    while place > 0:
        parent = (place - 1) >> 1
        above = slots[parent]["heap"]
        if not earlier(state, moving, above):
            break
        slots[place]["heap"] = above
        slots[above]["place"] = place
        place = parent
    return place


@inlined
def sink(state: State, place: int, moving: int) -> None:
    """Put the slot where it belongs, at ``place`` or below."""
    slots, queued = state.slots, state.control[0]["queued"]
    child = 2 * place + 1
    while child < queued:
        if child + 1 < queued and earlier(state, slots[child + 1]["heap"], slots[child]["heap"]):
            child += 1
        below = slots[child]["heap"]
        if not earlier(state, below, moving):
            break
        slots[place]["heap"] = below
        slots[below]["place"] = place
        place = child
        child = 2 * place + 1
    slots[place]["heap"] = moving
    slots[moving]["place"] = place
