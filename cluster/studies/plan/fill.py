"""Compiled: the columns of many candidates of one shape, which differ in seats and token budget."""

from typing import Any

from cluster.compiled import called, compiled
from cluster.studies.plan.cycle import REPLICAS, RETURN_PS, STAGES
from cluster.studies.plan.energy import request_j
from cluster.studies.plan.memory import BLOCK, BLOCK_PARTS, FREE, LACKS, TAIL_PARTS, TAILS
from cluster.studies.plan.solve import FULLEST, full_rate, latency

FITS, SRAM, LPDDR, KV, RATE = range(5)
"""What becomes of a candidate: scored, or why not: a stage's SRAM or LPDDR is too small, the
longest request does not fit the KV pool, or requests come faster than it can serve them."""

LOAD, OFFERED, USERS = range(3)
"""How the demand is meant: part of what a candidate can do, requests a second of the whole cluster,
or users of a closed loop."""

HEADROOM, BLOCKS, TTFT_PS, TPOT_PS, RATE_PER_PS, CAPACITY_PER_PS, INSIDE, JOULES = range(8)
"""Columns of ``out``. Rates are those of all replicas, INSIDE (requests) that of one; JOULES are
those of one request."""
COLUMNS = 8

MEAN_BLOCKS, MOST_BLOCKS, DEMAND, KIND = range(4)
"""Places of ``asked``: KV blocks of a request at its end, on the mean and at most; the demand."""


@called
def pool(memory: Any, max_num_seqs: int, row: Any) -> int:
    """Write KV blocks and headroom of one candidate; return FITS, SRAM or LPDDR."""
    fewest = -1
    for stage in range(memory.shape[0]):
        if memory[stage, LACKS] > 0:
            return LPDDR
    for stage in range(memory.shape[0]):
        tail = (memory[stage, TAILS] * max_num_seqs + memory[stage, TAIL_PARTS] - 1) // memory[
            stage, TAIL_PARTS
        ]
        free = memory[stage, FREE] - tail
        if free <= 0:
            return SRAM
        blocks = free * memory[stage, BLOCK_PARTS] // memory[stage, BLOCK]
        fewest = blocks if fewest < 0 else min(fewest, blocks)
    if fewest < 1:
        return SRAM
    left = -1
    for stage in range(memory.shape[0]):
        tail = (memory[stage, TAILS] * max_num_seqs + memory[stage, TAIL_PARTS] - 1) // memory[
            stage, TAIL_PARTS
        ]
        kept = (fewest * memory[stage, BLOCK] + memory[stage, BLOCK_PARTS] - 1) // memory[
            stage, BLOCK_PARTS
        ]
        over = memory[stage, FREE] - tail - kept
        left = over if left < 0 else min(left, over)
    row[BLOCKS], row[HEADROOM] = fewest, left
    return FITS


@called
def speed(
    laid: Any,
    asked: Any,
    seats: float,
    budget: float,
    row: Any,
) -> int:
    """Write what one candidate that fits is like; FITS, or RATE where it cannot keep up."""
    replicas = laid.facts[REPLICAS]
    users = asked[DEMAND] / replicas
    if asked[KIND] == USERS:
        seats = min(seats, users)
    most, cycle, filling, fill_ps = full_rate(laid, budget, seats)
    row[CAPACITY_PER_PS] = most * replicas
    if asked[KIND] == USERS:
        waiting = max(0.0, users - seats) / most
        row[TTFT_PS] = waiting + cycle / 2.0 + fill_ps - laid.facts[RETURN_PS]
        row[TPOT_PS], row[RATE_PER_PS], row[INSIDE] = cycle, most * replicas, seats
        row[JOULES] = request_j(laid, most, cycle, budget)
        return FITS
    rate = asked[DEMAND] * most if asked[KIND] == LOAD else users
    if rate > FULLEST * most:
        return RATE
    ttft, tpot, inside = latency(
        laid,
        budget,
        seats,
        rate,
        most,
        cycle,
        filling * rate / most,
    )
    row[TTFT_PS], row[TPOT_PS], row[INSIDE] = ttft, tpot, inside
    row[RATE_PER_PS] = rate * replicas
    row[JOULES] = request_j(laid, rate, tpot, budget)
    return FITS


@compiled
def check(memory: Any, asked: Any, max_num_seqs: Any, status: Any, out: Any) -> None:
    """Write blocks and headroom of each candidate of ``out[n, 8]``; ``status[n]`` is FITS or why
    not."""
    for place in range(len(max_num_seqs)):
        status[place] = pool(memory, max_num_seqs[place], out[place])
        if status[place] == FITS and out[place, BLOCKS] < asked[MOST_BLOCKS]:
            status[place] = KV


@compiled
def fill(
    laid: Any,
    asked: Any,
    max_num_seqs: Any,
    budgets: Any,
    status: Any,
    out: Any,
) -> None:
    """Complete the rows of ``out[n, 8]`` whose status is FITS; it becomes RATE for some."""
    for place in range(len(max_num_seqs)):
        if status[place] == FITS:
            row, budget = out[place], float(budgets[place])
            seats = min(float(max_num_seqs[place]), row[BLOCKS] / asked[MEAN_BLOCKS])
            seats = min(seats, budget * laid.facts[STAGES])
            status[place] = speed(laid, asked, seats, budget, row)
