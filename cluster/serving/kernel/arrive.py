"""A request arrives: is it possible at all, which replica takes it, which slot."""

from cluster.compiled import inlined
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.state import (
    FOREVER,
    IDLE,
    LEAST_KV,
    LEAST_OUTSTANDING,
    NO_ROOM,
    NONE,
    RANDOM,
    READY,
    TOO_LONG,
    State,
)


@inlined
def next_arrival_ps(state: State) -> int:
    """When the next request arrives."""
    control = state.control[0]
    if control["sent"] == control["requests"]:
        return FOREVER
    if control["closed_loop"]:
        return int(control["now_ps"]) if control["due"] > 0 else FOREVER
    return int(state.requests[control["sent"]]["arrival_ps"])


@inlined
def arrive(state: State) -> None:
    """Let the next request arrive now."""
    control = state.control[0]
    number = control["sent"]
    request = state.requests[number]
    control["sent"] += 1
    if control["closed_loop"]:
        control["due"] -= 1
        request["arrival_ps"] = control["now_ps"]
    most = (request["goal"] - 1 + control["block_size"] - 1) // control["block_size"]
    if request["goal"] > control["max_model_len"]:
        refuse(state, number, TOO_LONG)
    elif most > control["blocks"]:
        refuse(state, number, NO_ROOM)
    else:
        r = choose_replica(state, request["choice"])
        request["replica"] = r
        state.replicas[r]["outstanding"] += 1
        enqueue(state, r, choose_slot(state, r), number)


@inlined
def refuse(state: State, number: int, status: int) -> None:
    """A request that can never run is done at once."""
    control = state.control[0]
    state.requests[number]["status"] = status
    control["done"] += 1
    control["due"] += control["closed_loop"]


@inlined
def choose_replica(state: State, drawn: int) -> int:
    """Ask the router; ties go to the lowest replica."""
    control, replicas = state.control[0], state.replicas
    if control["router"] == RANDOM:
        return drawn
    best = 0
    if control["router"] == LEAST_OUTSTANDING:
        for r in range(1, len(replicas)):
            if replicas[r]["outstanding"] < replicas[best]["outstanding"]:
                best = r
    elif control["router"] == LEAST_KV:
        for r in range(1, len(replicas)):
            if replicas[r]["used_blocks"] < replicas[best]["used_blocks"]:
                best = r
    else:
        best = control["next_replica"]
        control["next_replica"] = (best + 1) % len(replicas)
    return best


@inlined
def choose_slot(state: State, r: int) -> int:
    """The slot with the fewest unfinished requests among those with seats; ties to the lowest."""
    best = 0  # the first slot has seats if any has
    for s in range(1, state.slots.shape[1]):
        slot, leader = state.slots[r, s], state.slots[r, best]
        load = slot["members"] + slot["queued"]
        if slot["seats"] > 0 and load < leader["members"] + leader["queued"]:
            best = s
    return best


@inlined
def enqueue(state: State, r: int, s: int, number: int) -> None:
    """Append the request to the slot's queue and wake the slot if it is idle."""
    slot = state.slots[r, s]
    state.requests[number]["next"], state.requests[number]["slot"] = NONE, s
    if slot["queued"] == 0:
        slot["head"] = number
    else:
        state.requests[slot["tail"]]["next"] = number
    slot["tail"] = number
    slot["queued"] += 1
    if slot["state"] == IDLE:
        slot["state"] = READY
        slot["at_ps"] = state.control[0]["now_ps"]
        reschedule(state, r)
