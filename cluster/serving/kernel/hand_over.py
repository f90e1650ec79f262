"""Hand-over of requests between pools: blocks that are counted before a request's KV arrives, and
kept after its prefill until its KV has been sent."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.scenario import routers
from cluster.serving.kernel.admission import can_admit
from cluster.serving.kernel.arrive import choose_replica, take_snapshot, wake
from cluster.serving.kernel.block_pool import hold_tokens, release
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.state import NONE, State

needs_snapshots = inlined(routers.needs_snapshots)


@inlined
def look(state: State, now_ps: int) -> None:
    """Take a snapshot of the replicas' loads, if it is time."""
    if needs_snapshots(state.control[0]["router"]) and now_ps >= state.control[0]["snapshot_ps"]:
        take_snapshot(state, now_ps)


@called
def route(state: State, drawn: int) -> int:
    """Choose the replica of the decode pool for a request whose KV comes later."""
    control = state.control[0]
    r = choose_replica(state, drawn)
    control["routed"] += 1
    control["last_replica"] = r
    state.replicas[r]["pulling"] += 1
    state.replicas[r]["seen_waiting"] += 1
    return r


@called
def reserve(state: State, r: int, tokens: int) -> bool:
    """Count the blocks of a prompt at replica ``r`` if there is room for all of it.

    Requests that were preempted, or compute their prompts again, come first, and one that lacks a
    block.
    """
    replica = state.replicas[r]
    first = replica["queued"] - replica["holding"] + replica["partial"]
    if first > 0 or replica["short_for"] != NONE:
        return False
    if not can_admit(state, r, tokens, 0):
        return False
    hold_tokens(state, r, tokens, 1)
    return True


@called
def receive(state: State, request: Any, r: int, now_ps: int) -> int:
    """Let a request, whose blocks are counted at replica ``r``, arrive there with its KV; return
    its number."""
    control = state.control[0]
    number: int = control["requests"]
    state.requests[number] = request
    own = state.requests[number]
    own["arrival_ps"], own["choice"] = now_ps, r
    own["reserved"] = own["prompt"]
    control["requests"] += 1
    return number


@called
def let_go(state: State, number: int, now_ps: int) -> None:
    """Free the blocks of a request of the prefill pool: its KV has been sent."""
    request = state.requests[number]
    r = request["replica"]
    if request["kept"] > 0:
        member = state.scratch[1]
        member["capacity"], member["chunk"] = request["kept"], request["kept_chunk"]
        member["table_row"] = request["kept_row"]
        request["kept"] = 0
        release(state, r, member)
    state.control[0]["now_ps"] = now_ps
    wake(state, r)
    reschedule(state, r)
