"""Compiled: scores of candidates of one shape that differ in max_num_seqs and token budget."""

from typing import Any

from cluster.compiled import called, compiled
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.columns import PROMPT_J, ROW_J
from cluster.studies.plan.fixed_point import full_rate, latency, max_prefilling
from cluster.studies.plan.memory import (
    BLOCK,
    BLOCK_PARTS,
    FREE,
    LACKS,
    TAIL_PARTS,
    TAILS,
    UNIT,
    UNIT_PARTS,
    UNITS,
)
from cluster.studies.plan.mixed_cycle import prompt_of
from cluster.studies.plan.step_tables import place_of
from cluster.studies.plan.steps import DECODES, REPLICAS, RETURN_PS, STAGES, STATIC_J

FITS, SRAM, LPDDR, KV, RATE = range(5)
"""Status of a candidate: scored, or infeasible: a stage's SRAM or LPDDR is too small, the longest
request does not fit the KV pool, or the arrival rate exceeds its capacity."""

LOAD, OFFERED, USERS = range(3)
"""Kind of demand: a fraction of a candidate's capacity, requests a second of the whole cluster, or
users of a closed loop."""

HEADROOM, BLOCKS, TTFT_PS, TPOT_PS, RATE_PER_PS, CAPACITY_PER_PS, INSIDE, JOULES = range(8)
"""Columns of ``out``. Rates are those of all replicas, INSIDE (requests) that of one; JOULES are
those of one request."""
FILLING = 8
"""Requests of a replica in prefill at full concurrency."""
SEQUENCES = 9
"""Requests of mean final length that the KV of a replica has room for."""
COLUMNS = 10

DEMAND, KIND = range(2)
"""Elements of the array ``requested``: amount and kind of the demand."""


@called
def _free(stage: Any, max_num_seqs: int) -> Any:
    """SRAM bytes of a stage for KV blocks."""
    tail = (stage[TAILS] * max_num_seqs + stage[TAIL_PARTS] - 1) // stage[TAIL_PARTS]
    return stage[FREE] - tail


@called
def pool(memory: Any, max_num_seqs: int, row: Any) -> int:
    """Write KV blocks and headroom of one candidate; return FITS, SRAM or LPDDR."""
    fewest = -1
    for stage in range(memory.shape[0]):
        if memory[stage, LACKS] > 0:
            return LPDDR
    for stage in range(memory.shape[0]):
        free = _free(memory[stage], max_num_seqs)
        if free <= 0 or _room(memory[stage], free) < memory[stage, UNITS:].sum():
            return SRAM
        blocks = free * memory[stage, BLOCK_PARTS] // memory[stage, BLOCK]
        fewest = blocks if fewest < 0 else min(fewest, blocks)
    left = -1
    for stage in range(memory.shape[0]):
        used = (fewest * memory[stage, BLOCK] + memory[stage, BLOCK_PARTS] - 1) // memory[
            stage, BLOCK_PARTS
        ]
        over = _free(memory[stage], max_num_seqs) - used
        left = over if left < 0 else min(left, over)
    row[BLOCKS], row[HEADROOM] = fewest, left
    return FITS


@called
def _room(stage: Any, free: Any) -> Any:
    """Units that fit in ``free`` bytes."""
    return free * stage[UNIT_PARTS] // stage[UNIT]


@called
def hold(memory: Any, max_num_seqs: int, held: tuple[Any, Any], row: Any) -> int:
    """Write how many requests fit in the KV of one candidate; FITS, or KV if one is too long.

    ``held`` are blocks of each kind: the mean of requests at their ends, and the peak of the
    longest.
    """
    mean, most = held
    for stage in range(memory.shape[0]):
        room = _room(memory[stage], _free(memory[stage], max_num_seqs))
        taken, longest = 0.0, 0
        for kind in range(len(mean)):
            taken += memory[stage, UNITS + kind] * mean[kind]
            longest += memory[stage, UNITS + kind] * most[kind]
        if longest > room:
            return KV
        sequences = room / taken
        row[SEQUENCES] = sequences if stage == 0 else min(row[SEQUENCES], sequences)
    return FITS


@called
def request_j(inputs: Any, budget: int, rate: float, decoding: float) -> float:
    """Joules of one request at ``rate`` per picosecond and ``decoding`` decodes, including its
    share of the cards' static power. A decoding row costs its share of its step; a chunk costs the
    increase of its step."""
    mean = decoding / inputs.facts[STAGES]
    # rows are distributed to slots at random, so most rows are in slots above the mean
    rows = mean + (1.0 - 1.0 / inputs.facts[STAGES]) * min(1.0, mean)
    table = inputs.decode
    point, part = place_of(max(1.0, rows), table.shape[0])
    row_j = table[point, ROW_J] * (1.0 - part) + table[point + 1, ROW_J] * part
    prompt_j = prompt_of(inputs, budget, min(mean, inputs.budgets[budget] - 1.0), PROMPT_J)
    return float(inputs.facts[DECODES] * row_j + prompt_j + inputs.facts[STATIC_J] / rate)


@called
def speed(
    inputs: Any, requested: Any, concurrency: float, budget: int, guess: float, row: Any
) -> int:
    """Write the score of one candidate that fits; FITS, or RATE if demand exceeds its capacity.

    ``guess`` starts the search for the requests in prefill at full concurrency, as a fraction of
    ``max_prefilling``; the solution is written to ``row[FILLING]``.
    """
    replicas, decodes = inputs.facts[REPLICAS], inputs.facts[DECODES]
    users = requested[DEMAND] / replicas
    if requested[KIND] == USERS:
        concurrency = min(concurrency, users)
    most, cycle, filling, fill_ps = full_rate(inputs, budget, concurrency, guess)
    row[CAPACITY_PER_PS], row[FILLING] = most * replicas, filling
    if requested[KIND] == USERS:
        waiting = max(0.0, users - concurrency) / most
        row[TTFT_PS] = waiting + cycle / 2.0 + fill_ps - inputs.facts[RETURN_PS]
        row[TPOT_PS], row[RATE_PER_PS], row[INSIDE] = cycle, most * replicas, concurrency
        row[JOULES] = request_j(inputs, budget, most, most * decodes * cycle)
        return FITS
    rate = requested[DEMAND] * most if requested[KIND] == LOAD else users
    if rate > FULLEST * most:
        return RATE
    full = (most, fill_ps + decodes * cycle, cycle)
    row[TTFT_PS], row[TPOT_PS], row[INSIDE] = latency(inputs, budget, concurrency, rate, full)
    row[RATE_PER_PS] = rate * replicas
    row[JOULES] = request_j(inputs, budget, rate, rate * decodes * row[TPOT_PS])
    return FITS


@compiled
def check(memory: Any, mean: Any, most: Any, max_num_seqs: Any, status: Any, out: Any) -> None:
    """Write blocks, headroom and sequences of each candidate of ``out[n, 10]``; ``status[n]`` is
    FITS or why not.

    ``mean[k]`` and ``most[n, k]`` are KV blocks of a request in layers of each kind.
    """
    for place in range(len(max_num_seqs)):
        status[place] = pool(memory, max_num_seqs[place], out[place])
        if status[place] == FITS:
            held = mean, most[place]
            status[place] = hold(memory, max_num_seqs[place], held, out[place])


@compiled
def fill(
    inputs: Any, requested: Any, max_num_seqs: Any, places: Any, status: Any, out: Any
) -> None:
    """Complete the rows of ``out[n, 10]`` whose status is FITS; it becomes RATE for some.

    ``places[n]`` is the index of each candidate's budget. Candidates of one budget are solved in
    sequence: each starts from the solution of the previous one.
    """
    slots = inputs.facts[STAGES]
    for budget in range(len(inputs.budgets)):
        guess = 0.5
        for place in range(len(max_num_seqs)):
            if status[place] == FITS and places[place] == budget:
                row = out[place]
                concurrency = min(float(max_num_seqs[place]), row[SEQUENCES])
                concurrency = min(concurrency, inputs.budgets[budget] * slots)
                status[place] = speed(inputs, requested, concurrency, budget, guess, row)
                guess = row[FILLING] / max_prefilling(inputs, concurrency)
