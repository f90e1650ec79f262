"""Pieces of work and KV blocks, added to the sums of their time bins."""

from typing import Any

import numpy as np

from cluster.compiled import compiled

# From the end: columns of a price, of a row of attention, of a head, of the sums.
TOTAL, FLOOR, SEND = -3, -2, -1
ATTENTION, FETCH = -2, -1
HEAD = -1
SENT, TOKENS, STEPS, BLOCK_NS, PEAK = -5, -4, -3, -2, -1

STAGE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "price_class",
            "drafts",  # 1: of drafting, on the cards of the stage before
            "attention",  # index of its rows of attention
            "ahead",  # 1 if KV from the far memory is fetched ahead of use
            "free_ps",  # end of its last work
            "bin",  # of that end
            "edge_ps",  # end of that bin; 0 before the window, or to find the bin again
            "first",  # first stage of the replica with its price class, which has for all of them:
            "work_ps",  # of the present step
            "waited_ps",
            "send_ps",
            "attends",  # first stage of the replica with its attention
            # at stage 0, of the replica:
            "pending",  # whether there is work that is in no bin yet
            "counted",  # steps of so many tokens and emitting rows whose prices are to be added
            "tokens",
            "emitted",
            "drafting",
            "start_ps",  # of the present step at this stage
            "kv_since_ps",  # time of the last change of the replica's KV blocks
            "kv_blocks",
            "kv_bin",
            "kv_edge_ps",
        )
    ]
)
"""State of a stage between log windows; the KV of a replica is in its stage 0."""


@compiled
def wait_ps(price: Any, attended: Any, ahead: int) -> int:
    """Time that a step's layers wait for LPDDR beyond their busy time.

    KV that is not fetched ahead is read first; prefetched KV streams in parallel, as weights do.
    """
    busy_ps = price[TOTAL] + attended[ATTENTION]
    if ahead == 0:
        return int(max(attended[FETCH], price[FLOOR] - busy_ps))
    return int(max(0, price[FLOOR] + attended[FETCH] - busy_ps))


@compiled
def add_work(  # noqa: PLR0913 - a compiled function takes arrays
    out: Any, price: Any, last: Any, attended: Any, waited_ps: int, width: int, far: int, times: int
) -> None:
    """Add one piece of work, ``times`` over, to ``out``, a row of the sums."""
    bounds = len(attended) - width - 2
    for i in range(bounds + width):
        out[i] += times * attended[i]
    own = out[bounds:]
    for i in range(len(last) - 1):
        own[i] += times * (price[i] + last[i])
    own[far] += times * waited_ps


@compiled
def split_work(  # noqa: PLR0913 - a compiled function takes arrays
    sums: Any,
    stage: Any,
    work: Any,
    attended: int,
    width: int,
    start_ps: int,
    end_ps: int,
    bin_ps: int,
) -> None:
    """Add a piece of work that crosses an edge to ``sums[1 + bin]``, from the stage's bin on.

    ``work`` is the whole as one row of the sums; it begins with the columns of attention, whose
    number is ``attended`` including its last two.
    """
    whole_ps, before_ps, b = end_ps - start_ps, 0, stage["bin"]
    loads, bounds = attended - 2, attended - 2 - width
    sums[1 + b, TOKENS] += work[TOKENS]
    sums[1 + b, STEPS] += work[STEPS]
    while before_ps < whole_ps:
        until_ps = min((b + 1) * bin_ps, end_ps) - start_ps
        taken = total = 0
        for i in range(len(work) + SENT):
            if bounds <= i < loads:
                total += work[i]
                share = _part(total, until_ps, whole_ps) - _part(total, before_ps, whole_ps)
                sums[1 + b, i] += share - taken
                taken = share
            elif work[i] != 0:
                share = _part(work[i], until_ps, whole_ps) - _part(work[i], before_ps, whole_ps)
                sums[1 + b, i] += share
        before_ps = until_ps
        b += 1
    sums[b, SENT] += work[SENT]
    stage["bin"], stage["edge_ps"] = b - 1, b * bin_ps


@compiled
def _part(total: int, until_ps: int, work_ps: int) -> int:
    """Part of ``total`` in the first ``until_ps`` of ``work_ps``: an integer, non-decreasing.

    The product overflows int64 beyond 3 ms, so it is computed in float64, whose rounding is
    monotonic; both ends, and ``total == work_ps``, are exact.
    """
    if until_ps >= work_ps:
        return total
    if until_ps == 0:
        return 0
    if total == work_ps:
        return until_ps
    share = int(total * (until_ps / work_ps))
    return min(share, until_ps) if total < work_ps else share


@compiled
def add_kv_blocks(stages: Any, sums: Any, now_ps: int, bin_ps: int) -> None:
    """Add the KV blocks in use at a replica until now, or until the end of its last step."""
    first = stages[0]
    at_ps, blocks = first["kv_since_ps"], first["kv_blocks"]
    until_ps = min(now_ps, stages[len(stages) - 1]["free_ps"])
    while at_ps < until_ps:
        if at_ps >= first["kv_edge_ps"]:
            first["kv_bin"] = at_ps // bin_ps
            first["kv_edge_ps"] = (first["kv_bin"] + 1) * bin_ps
        part_ps = min(first["kv_edge_ps"], until_ps)
        row = sums[1 + first["kv_bin"]]
        row[BLOCK_NS] += blocks * (part_ps // 1000 - at_ps // 1000)
        row[PEAK] = max(row[PEAK], blocks)
        at_ps = part_ps
    first["kv_since_ps"] = now_ps


@compiled
def add_kv_cycles(
    stages: Any, sums: Any, rows: Any, done: int, cycles: int, begin_ps: int, bin_ps: int
) -> None:
    """``add_kv_blocks`` at the starts of all steps of ``cycles`` repetitions, after ``done``."""
    last_stage, last = stages[len(stages) - 1], rows[len(rows) - 1]
    ended_ps, end = last_stage["free_ps"], done + cycles - 1
    idle = 0  # whether there is a time without a step in flight between two starts
    before, earlier = last, 1  # the step in front is of the cycle before
    for j in range(len(rows)):
        for cycle in (done, end):
            start_ps = rows[j]["start_ps"] + cycle * rows[j]["period_ps"]
            idle |= start_ps > before["end_ps"] + (cycle - earlier) * before["period_ps"]
        before, earlier = rows[j], 0
    if not idle:
        last_stage["free_ps"] = last["start_ps"] + end * last["period_ps"] - begin_ps
        add_kv_blocks(stages, sums, last_stage["free_ps"], bin_ps)
    else:
        for cycle in range(done, done + cycles):
            for j in range(len(rows)):
                later_ps = cycle * rows[j]["period_ps"] - begin_ps
                add_kv_blocks(stages, sums, rows[j]["start_ps"] + later_ps, bin_ps)
                last_stage["free_ps"] = rows[j]["end_ps"] + later_ps
    last_stage["free_ps"] = ended_ps
