"""Arrival of a request: admission limits and routing."""

from cluster.compiled import called, inlined
from cluster.serving.kernel.block_pool import fits_empty
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.queues import enqueue
from cluster.serving.kernel.state import (
    FOREVER,
    IDLE,
    LEAST_KV,
    NO_ROOM,
    RANDOM,
    READY,
    ROUND_ROBIN,
    SNAPSHOT_PS,
    TOO_LONG,
    VLLM_DP,
    State,
)
from cluster.serving.kernel.step import send_next


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
    """Process the arrival of the next request."""
    control = state.control[0]
    number = control["sent"]
    request = state.requests[number]
    control["sent"] += 1
    if control["closed_loop"]:
        control["due"] -= 1
    if request["goal"] > control["max_model_len"]:
        refuse(state, number, TOO_LONG)
    elif not fits_empty(state, request["goal"] - 1):
        refuse(state, number, NO_ROOM)
    else:
        r = choose_replica(state, request["choice"])
        control["routed"] += 1
        control["last_replica"] = r
        request["replica"] = r
        state.replicas[r]["outstanding"] += 1
        state.replicas[r]["seen_waiting"] += 1
        enqueue(state, r, number)
        wake(state, r)
        reschedule(state, r)


@inlined
def refuse(state: State, number: int, status: int) -> None:
    """Refuse a request that can never run; it is done at once."""
    request = state.requests[number]
    request["status"] = status
    state.control[0]["done"] += 1
    send_next(state, request["arrival_ps"])


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


@inlined
def choose_replica(state: State, drawn: int) -> int:
    """Route a request; ties go to the first replica at or after the next in round robin."""
    control, count = state.control[0], len(state.replicas)
    if control["router"] == RANDOM:
        return drawn
    turn = control["last_replica"] + 1
    if control["router"] in (ROUND_ROBIN, VLLM_DP):
        turn = control["routed"]
    best = turn % count
    if control["router"] == ROUND_ROBIN:
        return int(best)
    least = load_of(state, best)
    for i in range(1, count):
        r = (turn + i) % count
        load = load_of(state, r)
        if load < least:
            best = r
            least = load
    return int(best)


@inlined
def load_of(state: State, r: int) -> float:
    """The router's load of a replica (integers far below 2**53, so exact)."""
    router, replica = state.control[0]["router"], state.replicas[r]
    if router == LEAST_KV:
        return float(replica["used"])
    if router == VLLM_DP:  # in vLLM's order of floating-point operations: rounding decides ties
        room, waiting = state.room[0], replica["seen_waiting"]
        use = 1.0 - (room - replica["seen_used"]) / room
        busy = max(replica["outstanding"], waiting + replica["seen_running"])
        return float(busy + waiting * 6.0 * max(0.0, use - 0.5))
    return float(replica["outstanding"])


@called
def take_snapshot(state: State, now_ps: int) -> None:
    """Record the load of all replicas at the last whole 100 ms before ``now_ps``."""
    state.control[0]["snapshot_ps"] = (now_ps // SNAPSHOT_PS + 1) * SNAPSHOT_PS
    for r in range(len(state.replicas)):
        replica = state.replicas[r]
        replica["seen_waiting"] = replica["queued"]
        replica["seen_running"] = replica["running"]
        replica["seen_used"] = replica["used"]
