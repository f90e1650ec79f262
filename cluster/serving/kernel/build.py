"""The kernel's records at the start of a run, copied from the engine's inputs."""

import numpy as np
import numpy.typing as npt

from cluster.perf_model.attention import ATTENTION, WIDTH, row_blocks
from cluster.perf_model.tables import PHASE, PriceTables, Records, alike_attention
from cluster.scenario.routers import DRAWN, ROUTERS, WEIGHTS
from cluster.serving.interface import Arrivals, Limits
from cluster.serving.kernel.state import (
    BLOCK,
    CHUNK,
    CONTROL,
    FOREVER,
    LAYERS,
    MEMBER,
    NONE,
    RATE,
    REPLICA,
    REQUEST,
    SLOT,
    SNAPSHOT_PS,
    STAGE,
    TIER,
    TURN,
    WORK,
    State,
)
from corsair_common.pages import zeros
from corsair_common.units import NEVER, Integers
from results.histogram import BINS

PHASES = 1 << 14
"""Rows of the buffer of phases; at least four for every running request."""

ROWS_AT_ONCE = 1 << 13
"""Requests that are laid out together, so that they fit a core's own cache."""


def build(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> State:
    """Create the initial state of a run.

    All arrays are owned, writable and contiguous, so that the kernel is compiled for one type only.
    """
    max_members = -(-limits.max_num_seqs // prices.stages)
    capacity = limits.capacity
    per_replica = np.arange(prices.replicas * limits.max_num_seqs)
    prompts = limits.max_num_seqs if limits.long_prefill_token_threshold else 1
    return State(
        control=_control(arrivals, prices, limits),
        requests=_requests(arrivals, limits),
        replicas=_replicas(prices, limits),
        slots=_slots(prices, max_members),
        ends_ps=np.zeros((prices.replicas, prices.stages, 2), np.int64),
        steps=np.zeros((prices.replicas, prices.stages, 2), np.int64),
        stages=_stages(prices, limits),
        members=np.zeros((prices.replicas, prices.stages, max_members), MEMBER),
        partial_prefills=np.zeros((prices.replicas, prompts), MEMBER),
        scratch=np.zeros(2, MEMBER),
        stale=np.zeros((prices.replicas, 2 * limits.max_num_seqs), np.int64),
        windows=np.array(capacity.windows, np.int64),
        units=np.array(capacity.block_units, np.int64, order="C"),
        room=np.array(capacity.room_units, np.int64),
        held=np.zeros((prices.replicas, len(capacity.windows)), np.int64),
        pool=_pool(prices, limits),
        tables=_tables(arrivals, prices, limits),
        free_rows=per_replica.reshape(prices.replicas, -1).copy(),
        keys=np.array(arrivals.keys if limits.prefix_caching else [], np.int64),
        turns=_turns(arrivals),
        due_heap=_due_heap(arrivals),
        router_weights=_router_weights(limits),
        prompt_uses=_prompt_uses(arrivals, prices, limits),
        rates=_rates(prices, limits),
        attention=np.array(prices.attention, order="C").view(ATTENTION),
        kinds=_kinds(prices),
        far_block_ps=np.array(prices.far_block_ps, np.float64, order="C"),
        sums=np.zeros(len(prices.kinds) * WIDTH, np.int64),
        works=_works(prices),
        itl_count=np.zeros(BINS, np.int64),
        draws=np.array(limits.speculation.accepted if limits.speculation else [0], np.int64),
        accepted_count=np.zeros(limits.drafts + 1 if limits.drafts else 0, np.int64),
        phases=np.zeros(max(PHASES, 5 * limits.max_num_seqs), PHASE),
        marks=np.zeros((prices.replicas, prices.stages, prices.stages), np.int64),
        rows=np.zeros((prices.replicas, prices.stages), np.int64),
        **_tiers(arrivals, prices, limits),
        handed=np.zeros(1, np.int64),
        chunks=np.zeros(1, CHUNK),
    )


def _tiers(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> dict[str, Records]:
    """Empty tiers of every replica, none larger than all blocks that there can be."""
    tiers = np.zeros(max(1, len(limits.kv_tiers)), TIER)
    full = (arrivals.prompt_tokens + arrivals.output_tokens - 1) // limits.block_size
    every = max(1, arrivals.key_count + int(full.sum()))
    most = max((min(each.blocks, every) for each in limits.kv_tiers), default=1)
    lists = np.zeros((prices.replicas, len(tiers), limits.most_loads + 1), REPLICA)
    lists["free_head"][:, :, 1:] = lists["free_tail"][:, :, 1:] = NONE
    pool = np.zeros((prices.replicas, len(tiers), most), BLOCK)
    pool["key"] = pool["chain"] = pool["bucket"] = NONE
    pool["before"], pool["after"] = np.arange(most) - 1, np.arange(most) + 1
    for tier, each in enumerate(limits.kv_tiers):
        tiers[tier]["block_ps"], tiers[tier]["latency_ps"] = each.block_ps, each.latency_ps
        last = min(each.blocks, every) - 1
        pool["after"][:, tier, last] = NONE
        lists["free_tail"][:, tier, 0] = last
    return {
        "tiers": tiers,
        "tier_pool": pool.reshape(-1, most),
        "tier_lists": lists.reshape(-1, limits.most_loads + 1),
        "tier_free_ps": np.zeros((prices.replicas, len(tiers)), np.int64),
    }


def hands_over(state: State, limits: Limits, how: int) -> State:
    """The state of a prefill pool: AT_ONCE or BY_LAYER.

    Blocks of requests whose KV is still to be sent have rows of ``tables`` beyond the running ones.
    """
    state.control["hands_over"] = how
    rows = limits.max_num_seqs
    if limits.prefix_caching:
        rows += min(limits.blocks, len(state.requests))
    replicas = len(state.replicas)
    state.replicas["free_rows"] = rows
    return state._replace(
        handed=np.zeros(max(1, len(state.requests)), np.int64),
        chunks=np.zeros(4 * (limits.max_num_seqs + 2) * (state.slots.shape[1] + 1), CHUNK),
        free_rows=np.arange(replicas * rows).reshape(replicas, rows),
        tables=np.zeros((replicas * rows, state.tables.shape[1]), np.int64)
        if limits.prefix_caching
        else state.tables,
    )


def takes_over(state: State) -> State:
    """The state of a decode pool: requests arrive when they are received."""
    state.control["fed"] = state.control["sessions"] = 1
    state.control["due"] = 0
    return state._replace(due_heap=np.zeros(max(1, len(state.requests)), np.int64))


def _control(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> Records:
    control = np.zeros(1, CONTROL)
    requests = len(arrivals.arrival_ps)
    control["requests"], control["replicas"] = requests, prices.replicas
    for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "max_model_len"):
        control[name] = getattr(limits, name)
    control["sram_units"] = limits.capacity.sram_units
    control["router"] = ROUTERS.index(limits.router)
    control["threshold"] = limits.long_prefill_token_threshold
    control["asynchronous"], control["host_ps"] = limits.async_scheduling, prices.host_ps
    control["closed_loop"] = limits.concurrency > 0
    for name in ("drafts", "lookahead", "draft_slots"):
        control[name] = getattr(limits, name)
    control["draft_stages"], control["draft_apart"] = prices.draft_stages, prices.draft_apart
    control["draft_kind"] = len(prices.kinds) - prices.draft_kinds
    control["sessions"] = len(arrivals.previous) > 0
    # Batches in flight overlap in asynchronous scheduling; in a closed loop or sessions on several
    # replicas the next arrival is not known.
    waits = limits.concurrency > 0 or len(arrivals.previous) > 0
    unlike = limits.async_scheduling or limits.drafts  # whose accepted tokens are drawn
    control["repeating"] = not (unlike or (waits and prices.replicas > 1))
    control["due"] = min(limits.concurrency, requests)
    if len(arrivals.previous):
        control["due"] = np.count_nonzero(arrivals.previous == NEVER)
    control["last_replica"], control["snapshot_ps"] = NONE, SNAPSHOT_PS
    control["prefix_caching"] = limits.prefix_caching
    control["tiers"] = len(limits.kv_tiers)
    control["most_loads"] = limits.most_loads
    control["write_through"] = limits.kv_tiers != () and limits.kv_write == "through"
    control["ahead"] = prices.ahead
    control["barren_limit"] = 1000 + 8 * limits.max_num_seqs * (_longest(arrivals, limits) + 1)
    return control


def _longest(arrivals: Arrivals, limits: Limits) -> int:
    """Peak tokens of any accepted request for which blocks are allocated."""
    goals = arrivals.prompt_tokens + arrivals.output_tokens
    own = int(goals[goals <= limits.max_model_len].max(initial=1)) - 1
    return min(own + limits.drafts + limits.lookahead, max(own, limits.max_model_len))


def _requests(arrivals: Arrivals, limits: Limits) -> Records:
    requests = zeros(len(arrivals.arrival_ps), REQUEST)
    blank = np.zeros(1, REQUEST)
    for name in ("next", "replica"):
        blank[name] = NONE
    for name in ("first_scheduled_ps", "first_token_ps", "finish_ps", "emitted_ps"):
        blank[name] = NEVER
    for first in range(0, len(requests), ROWS_AT_ONCE):
        these = slice(first, first + ROWS_AT_ONCE)
        rows, prompt = requests[these], arrivals.prompt_tokens[these]
        rows[:] = blank
        if not limits.concurrency:  # a user's first is at 0; later ones are set at an answer's end
            rows["arrival_ps"] = arrivals.arrival_ps[these]
        rows["prompt"] = rows["known"] = prompt
        rows["goal"] = prompt + arrivals.output_tokens[these]
    if len(arrivals.carried_tokens):
        requests["carried"] = arrivals.carried_tokens
    if len(arrivals.first_draw):
        requests["draw"] = arrivals.first_draw
    if limits.router in DRAWN:
        requests["choice"] = arrivals.router_choice
    if limits.prefix_caching:
        requests["first_key"] = arrivals.key_offsets[:-1]
        requests["key_count"] = np.diff(arrivals.key_offsets)
        full = (requests["goal"] - 1) // limits.block_size
        requests["answer_key"] = arrivals.key_count + np.cumsum(full) - full
    return requests


def _turns(arrivals: Arrivals) -> Records:
    """Each request linked to those that follow it, the lowest number first."""
    previous = arrivals.previous
    linked = np.zeros(max(1, len(previous)), TURN)
    linked["follower"] = linked["sibling"] = NONE
    if len(previous):
        linked["delay_ps"] = arrivals.delay_ps
    turns = np.flatnonzero(previous != NEVER)
    turns = turns[np.argsort(previous[turns], kind="stable")]
    parents = previous[turns]
    first = np.diff(parents, prepend=NONE) != 0
    linked["follower"][parents[first]] = turns[first]
    later = np.flatnonzero(~first)
    linked["sibling"][turns[later - 1]] = turns[later]
    return linked


def _due_heap(arrivals: Arrivals) -> Integers:
    """A sorted row is a heap; there is room for all requests."""
    if not len(arrivals.previous):
        return np.zeros(1, np.int64)
    heap = np.zeros(len(arrivals.previous), np.int64)
    first = np.flatnonzero(arrivals.previous == NEVER)
    heap[: len(first)] = first
    return heap


def _replicas(prices: PriceTables, limits: Limits) -> Records:
    replicas = np.zeros(prices.replicas, REPLICA)
    replicas["heap"] = replicas["place"] = np.arange(prices.replicas)
    replicas["event_ps"] = FOREVER
    replicas["return_ps"] = prices.return_ps
    for name in ("short_for", "head", "tail", "last_slot", "loading"):
        replicas[name] = NONE
    replicas["load_ps"] = FOREVER
    replicas["free_tail"] = limits.blocks - 1
    replicas["free_rows"] = limits.max_num_seqs
    return replicas


def _slots(prices: PriceTables, max_members: int) -> Records:
    slots = np.zeros((prices.replicas, prices.stages), SLOT)
    slots["max_members"] = max_members
    slots["finished_ps"] = NEVER
    return slots


def _kinds(prices: PriceTables) -> Records:
    kinds = np.zeros(len(prices.kinds), LAYERS)
    for name in ("window", "clocks_per_query", "clocks_per_pass", "picked"):
        kinds[name] = prices.kinds[name]
    kinds["seen"] = row_blocks(prices.kinds)
    return kinds


def _works(prices: PriceTables) -> Records:
    works = np.zeros(len(prices.linear_ps), WORK)
    works["alike"] = alike_attention(prices)
    works["drafts"][prices.stage_class[:, prices.stages :]] = 1
    return works


def _stages(prices: PriceTables, limits: Limits) -> Records:
    stages = np.zeros(prices.stage_class.shape, STAGE)
    stages["free_ps"] = limits.ready_ps
    stages["price_class"] = prices.stage_class
    return stages


def _pool(prices: PriceTables, limits: Limits) -> Records:
    blocks = limits.blocks if limits.prefix_caching else 1
    pool = np.zeros((prices.replicas, blocks), BLOCK)
    pool["key"] = pool["chain"] = pool["bucket"] = NONE
    pool["before"] = np.arange(blocks) - 1
    pool["after"] = np.arange(blocks) + 1
    pool["after"][:, -1] = NONE
    return pool


def _tables(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> Integers:
    """A row of the longest request per member; untouched pages need no memory."""
    if not limits.prefix_caching:
        return np.zeros((1, 1), np.int64)
    longest = -(-_longest(arrivals, limits) // limits.block_size)
    return np.zeros(
        (prices.replicas * limits.max_num_seqs, max(1, min(longest, limits.blocks))), np.int64
    )


def _router_weights(limits: Limits) -> npt.NDArray[np.float64]:
    weights = limits.router_weights or WEIGHTS.get(limits.router, ())
    return np.array(weights, np.float64)


def _prompt_uses(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> Integers:
    """Untouched pages need no memory."""
    if limits.router != "kv_overlap" or not limits.prefix_caching:
        return np.zeros((1, 1), np.int64)
    return np.zeros((prices.replicas, max(1, arrivals.key_count)), np.int64)


def _rates(prices: PriceTables, limits: Limits) -> Records:
    """One row per token count; a step emits at most as many rows as it has tokens."""
    columns = limits.max_num_batched_tokens + 1
    rates = np.zeros((len(prices.linear_ps), columns), RATE)
    rates["work_ps"] = prices.linear_ps[:, :columns] + prices.collective_ps[:, :columns]
    rates["floor_ps"] = prices.floor_ps[:, :columns]
    rates["send_ps"] = prices.send_ps[:, :columns]
    heads = min(columns, prices.head_ps.shape[1])
    rates["head_ps"][:, :heads] = prices.head_ps[:, :heads]
    return rates
