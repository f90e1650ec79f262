"""KV tiers below a replica's blocks: what these lose, by key, the least recently used first out.

A tier is a pool whose blocks are all in its list, in the order of their last use.
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.serving.kernel.block_lists import append, carry, find, forget, unlink
from cluster.serving.kernel.state import FOREVER, NONE, State


@inlined
def evict(state: State, r: int, key: int) -> None:
    """Keep ``key``, which a block of replica ``r`` has lost, in the tiers below, unless it was
    written there when it was computed or another block has it."""
    if state.control[0]["write_through"] == 0 and find(state.pool[r], key) == NONE:
        store(state, r, key)


@called
def store(state: State, r: int, key: int) -> None:
    """Keep ``key`` in the first tier of replica ``r``.

    Each tier passes on what it drops for it; the last one loses it.
    """
    tiers = state.control[0]["tiers"]
    for tier in range(r * tiers, (r + 1) * tiers):
        own, pool = state.tier_lists[tier], state.tier_pool[tier]
        block = find(pool, key)
        dropped = NONE
        if block == NONE:
            block = own["free_head"]
            dropped = pool[block]["key"]
            forget(pool, block)
            carry(pool, block, key)
        unlink(own, pool, block)
        append(own, pool, block)
        if dropped == NONE:
            return
        key = dropped


@inlined
def tier_with(state: State, r: int, key: int) -> int:
    """The first tier of replica ``r`` with ``key``, or NONE."""
    tiers = state.control[0]["tiers"]
    for tier in range(tiers):
        if find(state.tier_pool[r * tiers + tier], key) != NONE:
            return tier
    return NONE


@inlined
def touch(state: State, r: int, tier: int, key: int) -> None:
    """Count the use of ``key`` in a tier that has it."""
    place = r * state.control[0]["tiers"] + tier
    own, pool = state.tier_lists[place], state.tier_pool[place]
    block = find(pool, key)
    unlink(own, pool, block)
    append(own, pool, block)


@inlined
def loads_until(state: State, r: int, tier: int, blocks: int) -> int:
    """Load blocks from a tier behind its other loads; when they are there."""
    own = state.tiers[tier]
    now_ps = max(state.control[0]["now_ps"], state.tier_free_ps[r, tier])
    end_ps = now_ps + blocks * own["block_ps"]
    state.tier_free_ps[r, tier] = end_ps
    return int(end_ps + own["latency_ps"])


@called
def wait_for_load(state: State, r: int, number: int, loaded_ps: int) -> None:
    """Add a request to those whose blocks are loaded, by time, then age."""
    replica, requests = state.replicas[r], state.requests
    requests[number]["loaded_ps"] = loaded_ps
    before, after = NONE, replica["loading"]
    while after != NONE and (
        requests[after]["loaded_ps"] < loaded_ps
        or (
            requests[after]["loaded_ps"] == loaded_ps
            and requests[after]["age"] < requests[number]["age"]
        )
    ):
        before, after = after, requests[after]["next"]
    requests[number]["next"] = after
    if before == NONE:
        replica["loading"], replica["load_ps"] = number, loaded_ps
    else:
        requests[before]["next"] = number


@inlined
def take_loaded(state: State, r: int) -> int:
    """The request whose blocks have been loaded first; it is no longer among those that wait."""
    replica: Any = state.replicas[r]
    number = replica["loading"]
    after = state.requests[number]["next"]
    replica["loading"] = after
    replica["load_ps"] = FOREVER
    if after != NONE:
        replica["load_ps"] = state.requests[after]["loaded_ps"]
    return int(number)
