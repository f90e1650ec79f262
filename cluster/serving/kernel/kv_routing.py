"""Routers that look for a request's cached prefix at each replica, and what they keep of prompts.

``kv_overlap`` keeps, as Dynamo's router does, for each replica the prompt tokens that are still to
be computed (``prefill_tokens``) and the blocks of the prompts of its unfinished requests, shared
ones once (``prompt_blocks``, with the number of these prompts per key in ``prompt_uses``).
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.scenario import routers
from cluster.serving.kernel.block_lists import find
from cluster.serving.kernel.state import FOREVER, NONE, State
from corsair_common.units import Integers

overlap_cost = inlined(routers.overlap_cost)
prefix_score = inlined(routers.prefix_score)
queue_score = inlined(routers.queue_score)


@called
def route_by_prefix(state: State, number: int) -> int:
    """Route a request; ties go to the first replica at or after the next in round robin."""
    control, count = state.control[0], len(state.replicas)
    shortest, longest = FOREVER, 0
    for r in range(count):
        shortest = min(shortest, state.replicas[r]["queued"])
        longest = max(longest, state.replicas[r]["queued"])
    best, least, found = NONE, 0.0, 0
    for i in range(count):
        r = (control["last_replica"] + 1 + i) % count
        cached = cached_blocks(state, r, number)
        if control["router"] == routers.KV_OVERLAP:
            cost = cost_of(state, r, number, cached)
        else:
            cost = -score_of(state, r, number, cached, shortest, longest)
        if best == NONE or cost < least:
            best, least, found = r, cost, cached
    if control["router"] == routers.KV_OVERLAP:
        request = state.requests[number]
        request["prefill_tokens"] = request["prompt"] - found * control["block_size"]
        state.replicas[best]["prefill_tokens"] += request["prefill_tokens"]
        count_prompt(state, best, number, 1)
    return int(best)


@inlined
def keyed_blocks(control: Any, request: Any) -> int:
    """Full blocks of the prompt that have keys."""
    return int(min(request["key_count"], request["prompt"] // control["block_size"]))


@inlined
def cached_blocks(state: State, r: int, number: int) -> int:
    """Leading blocks of the request's prompt that replica ``r`` has."""
    request, pool = state.requests[number], state.pool[r]
    blocks = keyed_blocks(state.control[0], request)
    cached = 0
    while cached < blocks and find(pool, state.keys[request["first_key"] + cached]) != NONE:
        cached += 1
    return cached


@inlined
def cost_of(state: State, r: int, number: int, cached: int) -> float:
    """Dynamo's cost of the request at replica ``r``, which has so many blocks of its prompt."""
    block_size = state.control[0]["block_size"]
    request, replica = state.requests[number], state.replicas[r]
    tokens = replica["prefill_tokens"] + request["prompt"] - cached * block_size
    keyed = keyed_blocks(state.control[0], request)
    blocks = replica["prompt_blocks"] + request["prompt"] // block_size - keyed
    for i in range(keyed):
        blocks += state.prompt_uses[r, state.keys[request["first_key"] + i]] == 0
    return float(overlap_cost(state.router_weights[0], tokens, block_size, blocks))


@inlined
def score_of(state: State, r: int, number: int, cached: int, shortest: int, longest: int) -> float:
    """llm-d's weighted score of replica ``r``, added up in the order of its configuration."""
    weights, replica = state.router_weights, state.replicas[r]
    blocks = state.requests[number]["prompt"] // state.control[0]["block_size"]
    score = queue_score(replica["queued"], shortest, longest) * weights[1]
    score += (1.0 - replica["used"] / state.room[0]) * weights[2]
    return float(score + prefix_score(cached, blocks) * weights[0])


@inlined
def count_prompt(state: State, r: int, number: int, uses: int) -> None:
    """Add (1) or remove (-1) the blocks of the request's prompt at replica ``r``."""
    count_blocks(
        state.requests[number],
        state.replicas[r],
        state.keys,
        state.prompt_uses[r % len(state.prompt_uses)],
        state.control[0]["block_size"],
        uses,
    )


@called
def count_blocks(
    request: Any, replica: Any, keys: Integers, prompt_uses: Integers, block_size: int, uses: int
) -> None:
    """The same, of ``prompt_uses`` of one replica."""
    blocks = request["prompt"] // block_size
    keyed = min(request["key_count"], blocks)
    change = blocks - keyed
    for i in range(keyed):
        key = keys[request["first_key"] + i]
        before = prompt_uses[key]
        prompt_uses[key] = before + uses
        change += min(before, before + uses) == 0
    replica["prompt_blocks"] += uses * change
