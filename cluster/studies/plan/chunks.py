"""Compiled: the chunks of one class of prompts, in one stage or streaming through several."""

import math
from typing import Any

from cluster.compiled import called, inlined
from cluster.studies.plan.columns import (
    CROSSED,
    FILL,
    GAIN,
    HELD,
    LAST,
    LONG_LOOPS,
    LONG_STEPS,
    LOOPS,
    ONCE,
    ROOM,
    STEPS,
)
from cluster.studies.plan.steps import RETURN_PS, STAGES, measure, step_ps

JOINED = 1
"""Offset to a column's second one, for prompts with another prompt queued behind."""


@called
def stream(
    arrays: Any, requested: tuple[float, float, float, float], loop: tuple[float, float], row: Any
) -> float:
    """Add the columns of one class of prompts whose chunks stream through several stages; return
    their time in cycles of slots.

    ``requested`` are tokens of the prompt, the share of the class, decoding rows beside a chunk,
    and the tokens of a full chunk; ``loop`` are the loop of a mean full chunk and its slowest
    stage.
    """
    length, share, beside, budget = requested
    full, slow = loop
    slots = arrays.facts[STAGES]
    whole = math.floor(length / budget)
    rest = length - whole * budget
    some = _some(whole, rest, length, beside, budget)
    if whole == 0.0:
        cross, _ = chunk_ps(arrays, beside, length, length, 1.0)
        both, _ = chunk_ps(arrays, beside, min(budget, 2.0 * length), length, 2.0)
        row[ROOM] += share * (budget / length - 1.0)
        row[GAIN] += share * (both - cross) / min(1.0, budget / length - 1.0 + 1e-9)
        row[HELD] += share * max(0.0, 2.0 - budget / length) * (both - cross)
        row[ONCE] += share
        row[CROSSED] += share * cross
        return share
    last, _ = chunk_ps(arrays, beside, budget, whole * budget, 0.0 if rest > 0.0 else 1.0)
    behind = 0.0
    if rest > 0.0:
        _, behind = chunk_ps(arrays, beside, rest, length, 1.0)
    else:
        row[ONCE] += share * (1.0 if whole == 1.0 else 0.0)
    rounds = math.floor((whole + (1.0 if some > 0.5 else 0.0) - 1.0) / slots)
    crossed = (whole - 1.0) * slow + last + some * behind
    crossed += rounds * max(0.0, full - slots * slow)
    row[CROSSED] += share * crossed
    row[HELD] += share * some * (slow - behind)
    return float(share * crossed / max(full, slots * slow))


@inlined
def _some(whole: float, rest: float, length: float, beside: float, budget: float) -> float:
    """Probability of a partial last chunk; with fewer decode rows beside it a prompt may need
    none."""
    if rest <= 0.0:
        return 0.0
    if whole > 0.0 and length % (budget + beside) == 0.0:
        return 1.0 - math.exp(-beside)
    return 1.0


@called
def steps(
    arrays: Any,
    requested: tuple[float, float, float, float],
    loop: tuple[float, float, float],
    row: Any,
) -> None:
    """Add the steps of one class of prompts in one stage; ``loop`` are the loop of a full chunk,
    prompts that arrive in a cycle, and a step without chunks."""
    length, share, _, budget = requested
    full, _, _ = loop
    whole = math.floor(length / budget)
    row[STEPS] += share * whole
    row[LOOPS] += share * whole * full
    row[FILL] += share * whole * full
    row[LONG_STEPS] += share * whole
    row[LONG_LOOPS] += share * whole * full
    if length > whole * budget:
        _last_step(arrays, requested, loop, row)


@called
def _last_step(
    arrays: Any,
    requested: tuple[float, float, float, float],
    loop: tuple[float, float, float],
    row: Any,
) -> None:
    """Add the step in which such a prompt ends.

    A queued prompt takes the rest of the budget: that step is as long as a full one, and only the
    used fraction counts for this prompt.
    """
    length, share, beside, budget = requested
    full, come, decode = loop
    whole = math.floor(length / budget)
    rest = length - whole * budget
    some = _some(whole, rest, length, beside, budget)
    joined = 1.0 if whole > 0.0 else min(_together(come), max(1.0, budget / rest))
    last, _ = chunk_ps(arrays, beside, joined * rest, length, joined)
    part = share * some / joined
    row[LAST] += share * some * last
    row[STEPS] += part
    row[LOOPS] += part * last
    row[FILL] += share * some * last
    long = part
    if whole > 0.0:
        long *= min(1.0, max(0.0, last - decode) / max(full - decode, 1.0))
    row[LONG_STEPS] += long
    row[LONG_LOOPS] += long * last
    if whole > 0.0:
        used = share * rest / budget
        row[STEPS + JOINED] += used - part
        row[LOOPS + JOINED] += used * full - part * last
        row[LONG_STEPS + JOINED] += used - long
        row[LONG_LOOPS + JOINED] += used * full - long * last
        row[FILL + JOINED] += share * some * (full - last)


@inlined
def _together(come: float) -> float:
    """Prompts in a chunk if ``come`` arrive in a cycle."""
    return float(come / (1.0 - math.exp(-come))) if come > 1e-6 else 1.0


@called
def chunk_ps(
    arrays: Any, beside: float, tokens: float, context: float, emitted: float
) -> tuple[float, float]:
    """One step, with the return, of a chunk of ``tokens`` up to ``context`` and ``beside``
    decoding rows; and its slowest stage's part."""
    measure(arrays, beside, tokens, context)
    loop, slow = step_ps(arrays, beside + tokens, beside + emitted)
    return loop + arrays.facts[RETURN_PS], slow
