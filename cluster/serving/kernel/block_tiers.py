"""KV tiers below a replica's blocks: what these lose, by key.

A tier is a pool whose blocks are all in the list of their loads, in the order of their last use.
With LRU there is one list.
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

    Each tier passes on what it drops for it, with its loads; the last one loses it.
    """
    tiers, loads = state.control[0]["tiers"], 0
    for tier in range(r * tiers, (r + 1) * tiers):
        lists, pool = state.tier_lists[tier], state.tier_pool[tier]
        block = find(pool, key)
        dropped = NONE
        if block == NONE:
            least = 0
            while lists[least]["free_head"] == NONE:
                least += 1
            block = lists[least]["free_head"]
            dropped = pool[block]["key"]
            forget(pool, block)
            carry(pool, block, key)
        had = pool[block]["references"]
        use(lists, pool, block, loads if dropped != NONE else max(loads, had))
        if dropped == NONE:
            return
        key, loads = dropped, had


@inlined
def use(lists: Any, pool: Any, block: int, loads: int) -> None:
    """Make ``block`` the last used of those with so many loads."""
    unlink(lists[pool[block]["references"]], pool, block)
    pool[block]["references"] = loads
    append(lists[loads], pool, block)


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
    """Count a load of ``key`` from a tier that has it."""
    control = state.control[0]
    place = r * control["tiers"] + tier
    pool = state.tier_pool[place]
    block = find(pool, key)
    loads = min(pool[block]["references"] + 1, control["most_loads"])
    use(state.tier_lists[place], pool, block, loads)


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
