"""Compiled: what steps with whole numbers of decoding rows last and cost, tabulated once a shape.

Rows from 0 on stand at points: each number up to DENSE, then sixteen to each doubling. Between
points everything is linear, so whatever is solved with these tables is continuous.
"""

import math
from typing import Any

from cluster.compiled import called, compiled, inlined
from cluster.machine.attention import BLOCK_TOKENS
from cluster.studies.plan.energy import decode_j, prompt_j
from cluster.studies.plan.steps import (
    BLOCKS,
    BLOCKS_WINDOWED,
    DECODES,
    PER_QUERY,
    RETURN_PS,
    STAGES,
    WINDOW,
    step_ps,
)

DENSE, TO_DOUBLE = 32, 16

LOOP, SLOWEST, ROW_J = range(3)
"""Columns of ``decode[point, 3]``: a step with the way back, its slowest stage, joules of a row."""
DECODE_COLUMNS = 3

WHOLE, JOINED = 0, 1
"""Columns that come twice: where no prompt waits behind, and what is added where one does."""
STEPS, LOOPS, SLOW, HELD, FILL, HELD_FILL = 0, 2, 4, 6, 8, 10
"""First of two columns of ``chunks[budget, point, 20]`` that are for one request: its steps with
chunks, their loops and slowest stages, how much longer a short step may be held up by a long one
of another slot; how long its prompt is under way, and how much that is held up."""
LONG_STEPS, LONG_LOOPS = 12, 14
"""First of two columns: steps with chunks that hold other slots up, and their loops. A last step
counts as far as it is nearer to a full one than to a decode step, which holds nobody up."""
WORK, SHORT, LAST, PROMPT_J = range(16, 20)
"""A prompt's share of full steps, whether another fits beside it in one, its last step alone, its
joules."""
CHUNK_COLUMNS = 20


def points_of(rows: int) -> int:
    """How many points reach to ``rows``."""
    points = DENSE + 1
    while _rows_at(points - 1) < rows:
        points += 1
    return points


@called
def _rows_at(point: int) -> float:
    if point < DENSE:
        return float(point)
    doubling, step = divmod(point - DENSE, TO_DOUBLE)
    return float(DENSE * 2**doubling * (1.0 + step / TO_DOUBLE))


@inlined
def place_of(rows: float, points: int) -> tuple[int, float]:
    """The point at or below ``rows``, and how far it is to the next one."""
    low, base, step = 0.0, 0.0, 1.0
    if rows >= DENSE:
        low, base, step = float(DENSE), float(DENSE), DENSE / TO_DOUBLE
        while rows >= 2.0 * base:
            low, base, step = low + TO_DOUBLE, 2.0 * base, 2.0 * step
    exact = low + (rows - base) / step
    point = min(int(exact), points - 2)
    return point, min(1.0, exact - point)


@compiled
def tabulate(laid: Any, budgets: Any, decode: Any, chunks: Any) -> None:
    """Fill ``decode[point, 3]`` and ``chunks[budget, point, 20]``."""
    for point in range(decode.shape[0]):
        rows = _rows_at(point)
        loop, slowest = step_ps(
            laid,
            rows,
            rows,
            rows * laid.facts[BLOCKS],
            0.0,
            rows * laid.facts[BLOCKS_WINDOWED],
            0.0,
        )
        decode[point, LOOP] = loop + laid.facts[RETURN_PS]
        decode[point, SLOWEST] = slowest
        decode[point, ROW_J] = decode_j(laid, max(1.0, rows))
        for place in range(len(budgets)):
            budget = float(budgets[place])
            asked = min(rows, budget - 1.0), budget, decode[point, LOOP]
            _prompts(laid, asked, chunks[place, point])


@called
def _prompts(laid: Any, asked: tuple[float, float, float], row: Any) -> None:
    """The columns of ``chunks`` for steps of ``whole`` tokens, ``beside`` of them decoding; without
    any other tokens these last ``decode``."""
    beside, whole, decode = asked
    row[:] = 0.0
    budget = whole - beside
    come = beside / max(laid.facts[DECODES], 1.0)
    longest = 0.0
    for group in range(laid.prompts.shape[0]):
        length, share = laid.prompts[group, 0], laid.prompts[group, 1]
        emitted = budget / length if length % budget == 0.0 else 0.0
        full, slow = _chunk_ps(laid, beside, budget, _reach(length, budget), emitted)
        row[WORK] += share * length / budget * full
        row[SHORT] += share * min(1.0, max(0.0, budget / length - 1.0))
        row[PROMPT_J] += share * prompt_j(laid, length, beside, budget)
        if length >= budget:
            longest = max(longest, full)
        known = full, slow, longest, come, decode
        _steps(laid, (length, share, beside, budget), known, row)


@inlined
def _reach(length: float, budget: float) -> float:
    """Up to where the mean full chunk of a prompt reaches."""
    return float(min(length, (math.floor(length / budget) + 1.0) / 2.0 * budget))


@called
def _steps(
    laid: Any,
    asked: tuple[float, float, float, float],
    known: tuple[float, float, float, float, float],
    row: Any,
) -> None:
    """Add the steps of one class of prompts."""
    length, share, _, budget = asked
    full, slow, _, _, _ = known
    whole = math.floor(length / budget)
    rest = length - whole * budget
    row[STEPS] += share * whole
    row[LOOPS] += share * whole * full
    row[SLOW] += share * whole * slow
    row[FILL] += share * whole * full
    row[LONG_STEPS] += share * whole
    row[LONG_LOOPS] += share * whole * full
    if rest > 0.0:
        _last_step(laid, asked, known, row)


@called
def _last_step(
    laid: Any,
    asked: tuple[float, float, float, float],
    known: tuple[float, float, float, float, float],
    row: Any,
) -> None:
    """Add the step in which such a prompt ends.

    Where another prompt waits, it takes what the last chunk leaves of the budget: that step is as
    long as a full one, and only the part used counts for this prompt.
    """
    length, share, beside, budget = asked
    full, slow, longest, come, decode = known
    whole = math.floor(length / budget)
    rest = length - whole * budget
    some = 1.0
    if whole > 0.0 and length % (budget + beside) == 0.0:  # but for rows beside it no rest is left
        some = 1.0 - math.exp(-beside)
    joined = 1.0 if whole > 0.0 else min(_together(come, laid), max(1.0, budget / rest))
    last, last_slow = _chunk_ps(laid, beside, joined * rest, length, joined)
    held = max(0.0, longest - last)
    part = share * some / joined
    row[LAST] += share * some * last
    row[STEPS] += part
    row[LOOPS] += part * last
    row[SLOW] += part * last_slow
    row[HELD] += part * held
    row[FILL] += share * some * last
    row[HELD_FILL] += share * some * held
    long = part
    if whole > 0.0:
        long *= min(1.0, max(0.0, last - decode) / max(full - decode, 1.0))
    row[LONG_STEPS] += long
    row[LONG_LOOPS] += long * last
    if whole > 0.0:
        used = share * rest / budget
        row[STEPS + JOINED] += used - part
        row[LOOPS + JOINED] += used * full - part * last
        row[SLOW + JOINED] += used * slow - part * last_slow
        row[HELD + JOINED] -= part * held
        row[LONG_STEPS + JOINED] += used - long
        row[LONG_LOOPS + JOINED] += used * full - long * last
        row[FILL + JOINED] += share * some * (full - last)
        row[HELD_FILL + JOINED] -= share * some * held


@inlined
def _together(come: float, laid: Any) -> float:
    """Prompts in a chunk where ``come`` arrive in a slot's cycle; slots share out what comes."""
    if laid.facts[STAGES] > 1.0:
        return max(1.0, come)
    return float(come / (1.0 - math.exp(-come))) if come > 1e-6 else 1.0


@called
def _chunk_ps(
    laid: Any, beside: float, tokens: float, context: float, emitted: float
) -> tuple[float, float]:
    """One step, with the way back, of a chunk of ``tokens`` up to ``context`` and ``beside``
    decoding rows; and its slowest stage's part."""
    seen = math.ceil(context / BLOCK_TOKENS)
    passes = math.ceil(tokens * laid.facts[PER_QUERY] / BLOCK_TOKENS)
    widest = math.ceil((laid.facts[WINDOW] + tokens - 1.0) / BLOCK_TOKENS) + 1.0
    windowed = min(seen, widest) * passes if laid.facts[WINDOW] > 0 else 0.0
    loop, slow = step_ps(
        laid,
        beside + tokens,
        beside + emitted,
        beside * laid.facts[BLOCKS],
        seen * passes,
        beside * laid.facts[BLOCKS_WINDOWED],
        windowed,
    )
    return loop + laid.facts[RETURN_PS], slow
