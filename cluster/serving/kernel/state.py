"""The kernel's state: structured arrays with int64 fields only."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import Records
from cluster.serving.interface import Phase
from corsair_common.names import Status
from corsair_common.units import PS_PER_DAY, Integers

NONE = -1
"""No request, no block, no replica."""
FOREVER = int(np.iinfo(np.int64).max)
"""Later than any event."""
LAST_PS = 106 * PS_PER_DAY
"""No step may end after this, near the end of int64 picoseconds."""

IDLE, READY, FLIGHT = 0, 1, 2
"""State of a slot."""
FINISH, START = 0, 1
"""Next event of a replica; at equal times finishes are first, arrivals between the two."""
RUNNING, DONE, LATE, STUCK = 0, 1, 2, 3
"""Status after a window."""
SNAPSHOT_PS = 10**11
"""vLLM's coordinator publishes the load of its engines at most every 100 ms (DESIGN.md)."""
WAITING, READING, DECODING, FINISHED, LOST = (int(kind) for kind in Phase)
AT_ONCE, BY_LAYER = 1, 2
"""How a prefill pool hands KV over: when the prompt ends, or as its chunks are computed."""
NO_MORE, READ_ON, READ_OUT, GONE = 0, 1, 2, 3
"""Outcome for a partial prefill: refused with all others; scheduled a chunk; scheduled its last
chunk and moved to decode; preempted."""
COMPLETED, TOO_LONG, NO_ROOM = int(Status.COMPLETED), int(Status.TOO_LONG), int(Status.NO_ROOM)


def _record(*names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names])


CONTROL = _record(
    # settings
    "requests",
    "replicas",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "sram_units",
    "max_model_len",
    "threshold",  # long_prefill_token_threshold
    "asynchronous",
    "host_ps",
    "recording",  # whether phases are written
    "repeating",  # whether cycles that recur are applied at once
    "router",
    "closed_loop",
    "sessions",  # whether turns wait for others
    "prefix_caching",
    "tiers",  # of KV below the blocks
    "most_loads",  # to which they count the loads of a key
    "write_through",  # whether they receive what is computed, not what is evicted
    "ahead",  # whether KV from the far memory is fetched ahead of use
    "barren_limit",  # steps of a replica without output that indicate a deadlock
    "drafts",  # most drafts that a row verifies; 0: no speculation
    "lookahead",  # tokens beyond a row for which KV is allocated
    "draft_slots",  # additional budget of each row
    "draft_stages",  # 1: the last price class of a replica is that of drafting
    "draft_kind",  # the first kind of layers of the draft, or the number of all kinds
    "draft_apart",  # whether drafting has cards of its own
    "hands_over",  # of a prefill pool: AT_ONCE or BY_LAYER; else 0
    "fed",  # of a decode pool: requests come routed, one by one, with blocks reserved
    # progress of the run
    "now_ps",
    "until_ps",  # no start from then on, nothing later
    "end_ps",
    "sent",  # requests that have arrived, refused ones included
    "due",  # closed loop: requests that arrive now; sessions: size of ``due_heap``
    "routed",
    "last_replica",
    "snapshot_ps",  # time of the next snapshot of loads
    "phases",  # rows written into the buffer
    "done",
    "tokens",
    "draft_tokens",  # drafts verified
    "status",
    "handed",  # requests of ``handed``
    "chunks",  # of ``chunks``
    # scratch of the step being scheduled
    "budget",
    "bit",  # bit of this batch in ``flights``, 1 or 2
    "slots_spent",  # budget that is not of tokens
    "verified",  # drafts in it, and tokens of padding
    "continued",  # chunks of prompts that were admitted before
    "ran",  # whether it had rows when admission began
    "preempted",
    "fed_back",  # whether a row waits for a token of the previous batch (asynchronous)
    "finished",
    "prompts",  # requests with prompt tokens in it; the next fields are set with the first
    "admitted",  # requests admitted for the first time
    "reading",  # partial prefills with a chunk in it
    "prompt_request",
    "prefill",
    "read_out",  # prompts with their last chunk in it
    "serial",  # number of the step, so that a price class is computed once
)

REQUEST = _record(
    "arrival_ps",
    "age",  # its place in the order of arrivals
    "prompt",
    "goal",  # prompt + output
    "carried",  # tokens whose KV arrived with it; 0 after its admission
    "reserved",  # tokens of its blocks that are counted before its admission
    "loaded",  # tokens of its prefix that were found with the help of tiers
    "loaded_ps",  # when these are there
    "kept",  # tokens of its blocks that are kept after its end, until its KV has been sent
    "kept_chunk",
    "kept_row",
    "known",  # prompt + done output; stored here while the request is no member
    "emitted_ps",  # its last token, likewise
    "choice",  # replica drawn for it
    "first_key",
    "key_count",
    "answer_key",  # key of its first full block beyond the prompt
    "prefill_tokens",  # to compute as of its routing, until its first token (kv_overlap only)
    "flights",  # batches in flight with its tokens from before a preemption (bits)
    "emits",  # those of them that emit a token of it
    "draw",  # of its next verification
    "drafts",  # that its row in flight verifies, and
    "accepted",  # those of them that are right
    "next",  # behind it in its queue
    "replica",
    "slot",
    "first_scheduled_ps",
    "first_token_ps",
    "finish_ps",
    "preemptions",
    "cached_tokens",
    "status",
)

TURN = _record(
    "delay_ps",  # from the end of the turn before
    "follower",  # first turn that waits for this one, or NONE
    "sibling",  # the next one that waits for the same
)
"""A request of a session."""

MEMBER = _record(
    # read or written in every step
    "computed",
    "review",  # computed tokens at which its blocks are checked next
    "goal",
    "emits",  # batches in flight that emit a token of it, as bits
    "known",
    "emitted_ps",
    "prompt",
    "capacity",  # tokens that fit its blocks in layers with full context
    # the others
    "request",
    "order",  # age: with one stage the order of admission, with several that of arrival
    "chunk",  # length of its last chunk: extent of windows
    "named",  # leading blocks with final keys
    "flights",  # batches in flight with its tokens, as bits (asynchronous scheduling only)
    "table_row",  # row of ``tables``
    "first_row",  # step of the replica at which it was admitted
)
"""``known`` and ``emitted_ps`` lag behind those of the slot by its ``lag``."""

SLOT = _record(
    "state",
    "at_ps",  # ready time, or when the oldest batch in flight is finished
    "finished_ps",  # end of the batch before
    "max_members",
    "members",
    "flights",  # batches in flight
    "turn",  # index in ``ends_ps`` of the next batch
    "even",  # whether every member had a token at ``finished_ps``
    "calm",  # whether each has one more of the batch in flight, none of them its first or last
    "lag",  # ends of such batches that are not yet written into its members
    "ready_ps",  # when its last step could start
    "slack_ps",  # least time from a free stage to that step; below 0: it waited
    "before",  # slot of the replica's step before that one, or NONE
    "drafted_ps",  # when drafts from cards of their own are back
    "marked",  # whether ``marks`` has its step of this log
)

STAGE = _record("free_ps", "price_class")

REPLICA = _record(
    "heap",  # replica at this heap position; no property of this one
    "place",  # heap position of this replica
    "event_ps",
    "event",
    "event_slot",
    "return_ps",
    "outstanding",
    "pulling",  # routed here, not arrived
    "pending",  # of those, that wait for blocks
    "freed",  # whether a step has ended since then
    "loading",  # the request whose blocks from a tier are there first, or NONE
    "load_ps",  # when, or FOREVER
    "holding",  # queued requests with reserved blocks
    "running",  # members of its slots and partial prefills
    "partial",  # partial prefills
    "queued",
    "head",
    "tail",
    "admitted",
    "steps",
    "used",  # KV in use, in units of the first constraint
    "short_for",  # the oldest running request while it lacks a block, else NONE
    "stalled",  # whether a slot may be idle although it has members
    "stale",  # preempted requests with batches in flight
    "free_rows",
    "prefill_tokens",  # of prompts routed here without a first token (kv_overlap only)
    "prompt_blocks",  # of the prompts of unfinished requests, shared ones once (likewise)
    "seen_waiting",  # as of the last snapshot, and what was routed here since
    "seen_running",
    "seen_used",
    "barren",
    "free_head",
    "free_tail",
    "busy_slots",  # all behind these are idle
    "last_slot",  # of its last step, or NONE
)

BLOCK = _record(
    "key",
    "references",
    "before",
    "after",
    "chain",  # next block of the same bucket
    "bucket",  # first block of the bucket of this number; no property of this block
)

RATE = _record("work_ps", "floor_ps", "send_ps", "head_ps")
"""One price class at one count: of scheduled tokens, or of emitting rows for ``head_ps``."""

WORK = _record(
    "drafts",  # whether this is a class of drafting
    "serial",
    "work_ps",
    "alike",  # first price class with its attention and far memory, which has for all of them:
    "priced",  # serial of the step
    "attention_ps",
    "fetch_ps",
)

TIER = _record("block_ps", "latency_ps")
"""Time to load a block from it."""

CHUNK = _record("request", "first", "tokens", "last", "start_ps", "end_ps")
"""A chunk of a prompt in a step, from its ``first`` token, 0 after an admission, up to ``tokens``;
or without tokens a preemption."""

LAYERS = _record(
    "window",
    "clocks_per_query",
    "clocks_per_pass",
    "picked",
    "seen",  # most 64-token blocks that one decode row reads
)
"""A kind of layers."""


class State(NamedTuple):
    """The state, in arrays that the kernel may write; r replicas of p slots and p stages."""

    control: Records
    """[1]"""
    requests: Records
    """[n]"""
    replicas: Records
    """[r]"""
    slots: Records
    """[r, p]"""
    ends_ps: Integers
    """[r, p, 2] ends of the batches in flight"""
    steps: Integers
    """[r, p, 2] their numbers among the steps of the replica"""
    stages: Records
    """[r, p], behind them those of drafts"""
    members: Records
    """[r, p, max_members] what each slot decodes, oldest first"""
    partial_prefills: Records
    """[r, 1 or max_num_seqs] partial prefills, in order of admission"""
    scratch: Records
    """[2] scratch for members under construction"""
    stale: Integers
    """[r, 2 max_num_seqs] requests whose batches in flight outlast their preemption"""
    windows: Integers
    """[k] window of a kind of layers in tokens, 0: full context, STATE: one block"""
    units: Integers
    """[m, k] units of a block, by constraint"""
    room: Integers
    """[m]"""
    held: Integers
    """[r, k] blocks in use"""
    pool: Records
    """[r, blocks], or [r, 1] without prefix caching"""
    tables: Integers
    """[table_row, blocks of the longest request]: block table of a member"""
    free_rows: Integers
    """[r, max_num_seqs] free rows of ``tables``"""
    keys: Integers
    """Prefix keys of all requests"""
    turns: Records
    """[n], or [1] without sessions"""
    due_heap: Integers
    """Likewise: requests that are due, the first ``control.due`` of them"""
    router_weights: npt.NDArray[np.float64]
    """[weight] in the order of ``routers.WEIGHTS``"""
    prompt_uses: Integers
    """[r, key] unfinished requests with this block in the prompt, or [1, 1] (kv_overlap only)"""
    rates: Records
    """[price class, tokens]"""
    attention: Records
    """[price class, op]"""
    kinds: Records
    """[kind]"""
    far_block_ps: npt.NDArray[np.float64]
    """[price class, kind]"""
    sums: Integers
    """[kind x MEASURES] of the step being scheduled"""
    works: Records
    """[price class]"""
    itl_count: Integers
    """[bins]"""
    draws: Integers
    """[draws] accepted drafts of a verification"""
    accepted_count: Integers
    """[k + 1] verifications by accepted drafts"""
    phases: Records
    """[buffer]"""
    marks: Integers
    """[r, p, p] when a slot's last step left each stage"""
    rows: Integers
    """[r, p] row of the log with the last step of the slot"""
    tiers: Records
    """[tier]"""
    tier_pool: Records
    """[(replica, tier), blocks of the largest], whose ``references`` are loads"""
    tier_lists: Records
    """[(replica, tier), loads] dtype REPLICA, for the ends of the list of blocks with these"""
    tier_free_ps: Integers
    """[r, tier] when its loads have ended"""
    handed: Integers
    """[n] requests that have ended, in that order (of a prefill pool)"""
    chunks: Records
    """[buffer] of the step just launched (of a prefill pool that sends by layer)"""
