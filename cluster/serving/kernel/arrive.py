"""Arrival of a request: admission limits and routing."""

from cluster.compiled import called, inlined
from cluster.scenario import routers
from cluster.serving.kernel.block_pool import fits_empty, reach
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.kv_routing import route_by_prefix
from cluster.serving.kernel.queues import enqueue
from cluster.serving.kernel.sessions import pop_due
from cluster.serving.kernel.state import (
    FOREVER,
    IDLE,
    NO_ROOM,
    READY,
    SNAPSHOT_PS,
    TOO_LONG,
    State,
)
from cluster.serving.kernel.step import send_next

chosen_blindly = inlined(routers.chosen_blindly)
first_of_ties = inlined(routers.first_of_ties)
finds_prefixes = inlined(routers.finds_prefixes)
load = inlined(routers.load)


@inlined
def next_arrival_ps(state: State) -> int:
    """When the next request arrives."""
    control = state.control[0]
    if control["sessions"]:
        if control["due"] == 0:
            return FOREVER
        due_ps = state.requests[state.due_heap[0]]["arrival_ps"]
        return int(max(control["now_ps"], due_ps))  # its turn before may have ended earlier
    if control["sent"] == control["requests"]:
        return FOREVER
    if control["closed_loop"]:
        return int(control["now_ps"]) if control["due"] > 0 else FOREVER
    return int(state.requests[control["sent"]]["arrival_ps"])


@inlined
def arrive(state: State) -> None:
    """Process the arrival of the next request."""
    control = state.control[0]
    number = control["sent"]
    if control["sessions"]:
        number = pop_due(control, state.requests, state.due_heap)
    request = state.requests[number]
    request["age"] = control["sent"]
    control["sent"] += 1
    if control["closed_loop"]:
        control["due"] -= 1
    if request["goal"] > control["max_model_len"]:
        refuse(state, number, TOO_LONG)
    elif not fits_empty(state, reach(control, request["goal"] - 1 + control["drafts"])):
        refuse(state, number, NO_ROOM)
    else:
        r = request["choice"]
        if control["fed"]:
            state.replicas[r]["pulling"] -= 1
            state.replicas[r]["holding"] += 1
        else:
            if finds_prefixes(control["router"]):
                r = route_by_prefix(state, number)
            else:
                r = choose_replica(state, r)
            control["routed"] += 1
            control["last_replica"] = r
            state.replicas[r]["seen_waiting"] += 1
        request["replica"] = r
        state.replicas[r]["outstanding"] += 1
        enqueue(state, r, number)
        wake(state, r)
        reschedule(state, r)


@inlined
def refuse(state: State, number: int, status: int) -> None:
    """Refuse a request that can never run; it is done at once."""
    request = state.requests[number]
    request["status"] = status
    state.control[0]["done"] += 1
    send_next(state, number, request["arrival_ps"])


@inlined
def wake(state: State, r: int) -> None:
    """Every idle slot of the replica with work is ready now."""
    replica = state.replicas[r]
    prompts = replica["queued"] + replica["partial"]
    replica["stalled"] = 0
    for s in range(state.slots.shape[1]):
        slot = state.slots[r, s]
        if slot["state"] == IDLE and slot["members"] + prompts > 0:
            slot["state"] = READY
            slot["at_ps"] = state.control[0]["now_ps"]
            replica["busy_slots"] = max(replica["busy_slots"], s + 1)


@inlined
def choose_replica(state: State, drawn: int) -> int:
    """Route a request; ties go to the first replica at or after the next in round robin."""
    control, count = state.control[0], len(state.replicas)
    router, routed = control["router"], control["routed"]
    blind = chosen_blindly(router, routed, drawn, count)
    if blind >= 0:
        return int(blind)
    turn = first_of_ties(router, routed, control["last_replica"], count)
    best = turn
    least = load_of(state, best)
    for i in range(1, count):
        r = (turn + i) % count
        of_r = load_of(state, r)
        if of_r < least:
            best = r
            least = of_r
    return int(best)


@inlined
def load_of(state: State, r: int) -> float:
    """The router's load of a replica."""
    replica = state.replicas[r]
    return load(
        state.control[0]["router"],
        replica["outstanding"] + replica["pulling"],
        replica["used"],
        replica["seen_waiting"],
        replica["seen_running"],
        replica["seen_used"],
        state.room[0],
    )


@called
def take_snapshot(state: State, now_ps: int) -> None:
    """Record the load of all replicas at the last whole 100 ms before ``now_ps``."""
    state.control[0]["snapshot_ps"] = (now_ps // SNAPSHOT_PS + 1) * SNAPSHOT_PS
    for r in range(len(state.replicas)):
        replica = state.replicas[r]
        replica["seen_waiting"] = replica["queued"]
        replica["seen_running"] = replica["running"]
        replica["seen_used"] = replica["used"]
