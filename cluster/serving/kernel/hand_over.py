"""Hand-over of requests between pools: blocks that are counted before a request's KV arrives, and
kept after its prefill until its KV has been sent."""

from cluster.compiled import called, inlined
from cluster.scenario import routers
from cluster.serving.kernel.admission import can_admit
from cluster.serving.kernel.arrive import choose_replica, take_snapshot, wake
from cluster.serving.kernel.block_pool import hold_tokens, release
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.sessions import push_due
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
    if state.control[0]["max_num_seqs"] == 1 and replica["used"] > 0:
        return False  # the one that runs could lack a block of one that waits for its place
    if not can_admit(state, r, tokens, 0):
        return False
    hold_tokens(state, r, tokens, 1)
    return True


@called
def receive(state: State, number: int, r: int, now_ps: int) -> None:
    """Let a request, whose blocks are counted at replica ``r``, arrive there with its KV."""
    request = state.requests[number]
    request["arrival_ps"], request["choice"] = now_ps, r
    request["reserved"] = request["prompt"]
    push_due(state.control[0], state.requests, state.due_heap, number)


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
