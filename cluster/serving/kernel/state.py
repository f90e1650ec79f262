"""What the kernel remembers: structured arrays whose every field is int64, nothing else."""

from typing import NamedTuple

import numpy as np

from cluster.machine.tables import Integers, Records
from cluster.serving.problem import Status

NONE = -1
"""No request, no block, no replica."""
FOREVER = int(np.iinfo(np.int64).max)
"""Later than everything."""
LAST_PS = 106 * 86_400 * 10**12
"""No step may end after this: int64 picoseconds are nearly used up."""

IDLE, READY, FLIGHT = 0, 1, 2
"""What a slot is doing."""
FINISH, START = 0, 1
"""What a replica does next; of equal times finishes come first, arrivals lie between the two."""
RUNNING, DONE, LATE, STUCK = 0, 1, 2, 3
"""How things stand after a window."""
ROUND_ROBIN, RANDOM, LEAST_OUTSTANDING, LEAST_KV = 0, 1, 2, 3
"""Routers, in the order of ``cluster.serving.problem.ROUTERS``."""
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
    "blocks",
    "sram_blocks",
    "max_model_len",
    "router",
    "closed_loop",
    "prefix_caching",
    "clocks_per_query",
    "window_tokens",
    "barren_limit",  # steps of a replica without any output after which something is wrong
    # where the run stands
    "now_ps",
    "end_ps",
    "sent",  # requests that have arrived, refused ones included
    "due",  # closed loop: requests that arrive now
    "next_replica",
    "done",
    "tokens",
    "status",
    # scratch of the step being scheduled
    "budget",
    "preempted",
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
    "prompt",
    "computed",
    "known",
    "goal",
    "capacity",  # tokens that its blocks can hold
    "owed",  # blocks that its sequence as of its admission still lacks
    "scheduled",  # tokens of the step in flight
    "emitted_ps",
    "seat",  # row of ``tables``; members beyond the last one hold the free seats
)

SLOT = _record(
    "state",
    "at_ps",  # ready time, or finish of the step in flight
    "finished_ps",  # finish of the step before
    "seats",
    "members",
    "queued",
    "head",
    "tail",
)

STAGE = _record("free_ps", "price_class")

REPLICA = _record(
    "heap",  # which replica stands at this place of the heap; no property of this one
    "place",  # where this one stands in it
    "event_ps",
    "event",
    "return_ps",
    "outstanding",
    "used_blocks",
    "owed",  # sum over its members
    "short_for",  # the oldest member while it has been left out, else NONE
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
    stages: Records
    """[r, p]"""
    members: Records
    """[r, p, seats of the largest slot]"""
    pool: Records
    """[r, blocks], or [r, 1] without prefix caching"""
    tables: Integers
    """[seat, blocks of the longest request]: the names of the blocks that a member holds"""
    keys: Integers
    """Prefix keys of all requests"""
    rates: Records
    """[price class, tokens]"""
    attention: Records
    """[price class, 2]"""
    works: Records
    """[price class]"""
    itl_count: Integers
    """[bins]"""
