"""The event queue: a binary heap of replicas by (time, kind of event, number)."""

from cluster.compiled import inlined
from cluster.serving.kernel.state import FINISH, FLIGHT, FOREVER, IDLE, NONE, READY, START, State


@inlined
def reschedule(state: State, r: int) -> None:
    """Recompute the next event of replica ``r`` and restore the heap."""
    replica, finish_ps, ready_ps = state.replicas[r], FOREVER, FOREVER
    finishing = ready = NONE
    while replica["busy_slots"] > 0 and state.slots[r, replica["busy_slots"] - 1]["state"] == IDLE:
        replica["busy_slots"] -= 1
    for s in range(replica["busy_slots"]):
        slot = state.slots[r, s]
        at_ps = slot["at_ps"]
        if slot["state"] == FLIGHT and at_ps < finish_ps:
            finish_ps = at_ps
            finishing = s
        elif slot["state"] == READY and at_ps < ready_ps:
            ready_ps = at_ps
            ready = s
    if replica["load_ps"] < finish_ps:
        finish_ps, finishing = replica["load_ps"], NONE
    start_ps = ready_ps
    if state.control[0]["asynchronous"] == 0:  # else a step is scheduled while stage 0 is busy
        start_ps = max(ready_ps, state.stages[r, 0]["free_ps"])
    finishes = finish_ps <= start_ps
    replica["event"] = FINISH if finishes else START
    replica["event_ps"] = min(finish_ps, start_ps)
    replica["event_slot"] = finishing if finishes else ready
    sink(state, rise(state, replica["place"]))


@inlined
def earlier(state: State, one: int, other: int) -> bool:
    """Whether the event of replica ``one`` is before that of ``other``."""
    a, b = state.replicas[one], state.replicas[other]
    if a["event_ps"] != b["event_ps"]:
        return bool(a["event_ps"] < b["event_ps"])
    if a["event"] != b["event"]:
        return bool(a["event"] < b["event"])
    return one < other


@inlined
def rise(state: State, place: int) -> int:
    """Sift the replica at this heap position up; return its new position."""
    replicas = state.replicas
    moving = replicas[place]["heap"]
    while place > 0:
        parent = (place - 1) >> 1
        above = replicas[parent]["heap"]
        if not earlier(state, moving, above):
            break
        replicas[place]["heap"] = above
        replicas[above]["place"] = place
        place = parent
    replicas[place]["heap"] = moving
    replicas[moving]["place"] = place
    return place


@inlined
def sink(state: State, place: int) -> None:
    """Sift the replica at this heap position down."""
    replicas = state.replicas
    moving = replicas[place]["heap"]
    child = 2 * place + 1
    while child < len(replicas):
        if child + 1 < len(replicas) and earlier(
            state, replicas[child + 1]["heap"], replicas[child]["heap"]
        ):
            child += 1
        below = replicas[child]["heap"]
        if not earlier(state, below, moving):
            break
        replicas[place]["heap"] = below
        replicas[below]["place"] = place
        place = child
        child = 2 * place + 1
    replicas[place]["heap"] = moving
    replicas[moving]["place"] = place
