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
"""From a column to its second one, which counts where a prompt waits behind."""


@called
def stream(
    laid: Any, requested: tuple[float, float, float, float], known: tuple[float, float], row: Any
) -> float:
    """Add what one class of prompts is like where its chunks follow each other through the stages;
    return how many cycles of slots are in the time that they take.

    ``asked`` are tokens of the prompt, the share of the class, decoding rows beside a chunk, and
    the tokens of a full chunk; ``known`` are the loop of a mean full chunk and its slowest stage.
    """
    length, share, beside, budget = requested
    full, slow = known
    slots = laid.facts[STAGES]
    whole = math.floor(length / budget)
    rest = length - whole * budget
    some = _some(whole, rest, length, beside, budget)
    if whole == 0.0:
        cross, _ = chunk_ps(laid, beside, length, length, 1.0)
        both, _ = chunk_ps(laid, beside, min(budget, 2.0 * length), length, 2.0)
        row[ROOM] += share * (budget / length - 1.0)
        row[GAIN] += share * (both - cross) / min(1.0, budget / length - 1.0 + 1e-9)
        row[HELD] += share * max(0.0, 2.0 - budget / length) * (both - cross)
        row[ONCE] += share
        row[CROSSED] += share * cross
        return share
    last, _ = chunk_ps(laid, beside, budget, whole * budget, 0.0 if rest > 0.0 else 1.0)
    behind = 0.0
    if rest > 0.0:
        _, behind = chunk_ps(laid, beside, rest, length, 1.0)
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
    """How likely a prompt has a last chunk that is not full: but for rows beside it some fit."""
    if rest <= 0.0:
        return 0.0
    if whole > 0.0 and length % (budget + beside) == 0.0:
        return 1.0 - math.exp(-beside)
    return 1.0


@called
def steps(
    laid: Any,
    requested: tuple[float, float, float, float],
    known: tuple[float, float, float],
    row: Any,
) -> None:
    """Add the steps of one class of prompts in one stage; ``known`` are the loop of a full chunk,
    how many prompts come in a cycle, and a step without chunks."""
    length, share, _, budget = requested
    full, _, _ = known
    whole = math.floor(length / budget)
    row[STEPS] += share * whole
    row[LOOPS] += share * whole * full
    row[FILL] += share * whole * full
    row[LONG_STEPS] += share * whole
    row[LONG_LOOPS] += share * whole * full
    if length > whole * budget:
        _last_step(laid, requested, known, row)


@called
def _last_step(
    laid: Any,
    requested: tuple[float, float, float, float],
    known: tuple[float, float, float],
    row: Any,
) -> None:
    """Add the step in which such a prompt ends.

    Where another prompt waits, it takes what the last chunk leaves of the budget: that step is as
    long as a full one, and only the part used counts for this prompt.
    """
    length, share, beside, budget = requested
    full, come, decode = known
    whole = math.floor(length / budget)
    rest = length - whole * budget
    some = _some(whole, rest, length, beside, budget)
    joined = 1.0 if whole > 0.0 else min(_together(come), max(1.0, budget / rest))
    last, _ = chunk_ps(laid, beside, joined * rest, length, joined)
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
    """Prompts in a chunk where ``come`` arrive in a cycle."""
    return float(come / (1.0 - math.exp(-come))) if come > 1e-6 else 1.0


@called
def chunk_ps(
    laid: Any, beside: float, tokens: float, context: float, emitted: float
) -> tuple[float, float]:
    """One step, with the way back, of a chunk of ``tokens`` up to ``context`` and ``beside``
    decoding rows; and its slowest stage's part."""
    measure(laid, beside, tokens, context)
    loop, slow = step_ps(laid, beside + tokens, beside + emitted)
    return loop + laid.facts[RETURN_PS], slow
