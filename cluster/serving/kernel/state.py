"""What the kernel remembers: structured arrays whose every field is int64, nothing else."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import Records
from cluster.serving.interface import IntervalKind
from corsair_common.names import Status
from corsair_common.units import PS_PER_DAY, Integers

NONE = -1
"""No request, no block, no replica."""
FOREVER = int(np.iinfo(np.int64).max)
"""Later than everything."""
LAST_PS = 106 * PS_PER_DAY
"""No step may end after this: int64 picoseconds are nearly used up."""

IDLE, READY, FLIGHT = 0, 1, 2
"""What a slot is doing."""
FINISH, START = 0, 1
"""What a replica does next; of equal times finishes come first, arrivals lie between the two."""
RUNNING, DONE, LATE, STUCK = 0, 1, 2, 3
"""How things stand after a window."""
SNAPSHOT_PS = 10**11
"""vLLM's coordinator publishes the load of its engines at most every 100 ms (DESIGN.md)."""
READING, DECODING, LOST = (int(kind) for kind in IntervalKind)
NO_MORE, READ_ON, READ_OUT, GONE = 0, 1, 2, 3
"""What a slot has done with a half-read prompt: refused it and all others; given it a chunk; given
it its last chunk and taken it in; preempted it."""
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
    "recording",  # whether intervals are written
    "router",
    "closed_loop",
    "prefix_caching",
    "ahead",  # whether KV from the far memory is fetched ahead of use
    "barren_limit",  # steps of a replica without any output after which something is wrong
    # where the run stands
    "now_ps",
    "end_ps",
    "sent",  # requests that have arrived, refused ones included
    "due",  # closed loop: requests that arrive now
    "routed",
    "last_replica",
    "snapshot_ps",  # when the load of replicas is looked at next
    "intervals",  # rows written into the buffer
    "done",
    "tokens",
    "status",
    # scratch of the step being scheduled
    "budget",
    "bit",  # marks the rows of this batch, 1 or 2
    "preempted",
    "fed_back",  # whether a row waits for a token of the batch before (asynchronous)
    "finished",
    "prompts",  # requests whose prompt has tokens in it; what follows is set with the first
    "newcomers",  # requests admitted for the first time
    "reading",  # half-read prompts with a chunk in it
    "prompt_request",
    "prefill",
    "read_out",  # prompts whose last chunk it holds
    "serial",  # number of the step, so that a price class is worked out once
)

REQUEST = _record(
    "arrival_ps",
    "prompt",
    "goal",  # prompt + output
    "carried",  # tokens whose KV has come with it; 0 once it has been admitted
    "known",  # prompt + done output; kept here while the request is no member
    "emitted_ps",  # its last token, likewise
    "choice",  # replica drawn for it
    "first_key",
    "key_count",
    "answer_key",  # of its first full block beyond those
    "flights",  # batches in flight that hold it although it was preempted (bits)
    "emits",  # those of them at whose end it emits
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

MEMBER = _record(
    "request",
    "order",  # age: with one stage the order of admission, with several the number
    "prompt",
    "computed",
    "known",
    "goal",
    "capacity",  # tokens that its blocks in layers with full context can hold
    "chunk",  # length of its last chunk: how far windows reach back
    "review",  # computed tokens at which its blocks have to be looked at
    "named",  # leading blocks whose keys are settled
    "flights",  # batches in flight that hold it, as bits (asynchronous scheduling only)
    "emits",  # batches in flight at whose end it emits, as bits
    "emitted_ps",
    "seat",  # row of ``tables``
    "first_row",  # step of the replica at which it was admitted
    "read_row",  # step that held the last chunk of its prompt
)

SLOT = _record(
    "state",
    "at_ps",  # ready time, or when the oldest batch in flight is finished
    "finished_ps",  # end of the batch before
    "seats",
    "members",
    "flights",  # batches in flight
    "turn",  # which of ``ends_ps`` the next batch takes
)

STAGE = _record("free_ps", "price_class")

REPLICA = _record(
    "heap",  # which replica stands at this place of the heap; no property of this one
    "place",  # where this one stands in it
    "event_ps",
    "event",
    "event_slot",
    "return_ps",
    "outstanding",
    "running",  # members of its slots and half-read prompts
    "half",  # half-read prompts
    "queued",
    "head",
    "tail",
    "admitted",
    "steps",
    "used",  # KV in use, in units of the first constraint
    "short_for",  # the oldest running request while it has been left out, else NONE
    "stalled",  # whether a slot may be idle although it has members
    "stale",  # preempted requests with batches in flight
    "free_seats",
    "seen_waiting",  # as of the last snapshot, and what was routed here since
    "seen_running",
    "seen_used",
    "barren",
    "free_head",
    "free_tail",
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

WORK = _record("serial", "work_ps")

LAYERS = _record(
    "window",
    "clocks_per_query",
    "seen",  # most 64-token blocks that one decode row sees
)
"""A kind of layers."""


class State(NamedTuple):
    """Everything, in arrays that the kernel may write; r replicas of p slots and p stages."""

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
    """[r, p]"""
    members: Records
    """[r, p, seats of a slot] what each slot decodes, oldest first"""
    half_read: Records
    """[r, 1 or max_num_seqs] prompts that are not read to their end, in order of admission"""
    scratch: Records
    """[2] members that are being put together"""
    stale: Integers
    """[r, 2 max_num_seqs] requests whose batches in flight outlast their preemption"""
    windows: Integers
    """[k] tokens that a kind of layers sees, 0: all"""
    units: Integers
    """[m, k] room that a block takes, by constraint"""
    room: Integers
    """[m]"""
    held: Integers
    """[r, k] blocks in use"""
    pool: Records
    """[r, blocks], or [r, 1] without prefix caching"""
    tables: Integers
    """[seat, blocks of the longest request]: the names of the blocks that a member holds"""
    free_seats: Integers
    """[r, max_num_seqs] rows of ``tables`` that nobody has"""
    keys: Integers
    """Prefix keys of all requests"""
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
    intervals: Records
    """[buffer]"""
