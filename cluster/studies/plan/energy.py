"""Compiled: what one request costs in joules, its share of the cards' static power included."""

import math
from typing import Any

from cluster.compiled import called
from cluster.machine.attention import BLOCK_TOKENS
from cluster.studies.plan.cycle import (
    BLOCKS,
    BLOCKS_WINDOWED,
    DECODES,
    PER_QUERY,
    STAGES,
    STATIC_J,
    WINDOW,
)

STEP, HEAD = range(2)
"""Columns of ``joules``."""
DECODE, PREFILL, DECODE_WINDOWED, PREFILL_WINDOWED = range(4)
"""Places of ``measure_j``."""


@called
def joules_at(laid: Any, column: int, place: float) -> float:
    """A column of ``joules``, linear between its entries."""
    last = laid.joules.shape[0] - 1
    low = min(int(place), last - 1)
    part = min(1.0, place - low)
    return float(laid.joules[low, column] * (1.0 - part) + laid.joules[low + 1, column] * part)


@called
def request_j(laid: Any, rate: float, cycle: float, budget: float) -> float:
    """Joules of one request where ``rate`` come per picosecond and a cycle is so long.

    A decoding row pays its share of its step; a chunk pays what it adds to one.
    """
    decoding = rate * laid.facts[DECODES] * cycle
    rows = max(1.0, decoding / laid.facts[STAGES])
    row_j = (joules_at(laid, STEP, rows) + joules_at(laid, HEAD, rows)) / rows
    row_j += laid.facts[BLOCKS] * laid.measure_j[DECODE]
    row_j += laid.facts[BLOCKS_WINDOWED] * laid.measure_j[DECODE_WINDOWED]
    beside = min(decoding / laid.facts[STAGES], budget - 1.0)
    total = laid.facts[DECODES] * row_j + laid.facts[STATIC_J] / rate
    for group in range(laid.prompts.shape[0]):
        total += laid.prompts[group, 1] * prompt_j(
            laid, laid.prompts[group, 0], beside, budget - beside
        )
    return float(total)


@called
def prompt_j(laid: Any, length: float, beside: float, budget: float) -> float:
    """Joules of a prompt in chunks of ``budget``, and of its first token."""
    whole = math.floor(length / budget)
    rest = length - whole * budget
    idle_j = joules_at(laid, STEP, beside) if beside >= 1.0 else 0.0
    total = whole * (joules_at(laid, STEP, beside + budget) - idle_j)
    total += whole * passes_j(laid, budget, (whole + 1.0) / 2.0 * budget)
    if rest > 0:
        total += joules_at(laid, STEP, beside + rest) - idle_j + passes_j(laid, rest, length)
    return float(total + joules_at(laid, HEAD, 1.0))


@called
def passes_j(laid: Any, tokens: float, context: float) -> float:
    """Joules of the attention of a chunk of ``tokens`` up to ``context``."""
    seen = math.ceil(context / BLOCK_TOKENS)
    passes = math.ceil(tokens * laid.facts[PER_QUERY] / BLOCK_TOKENS)
    widest = math.ceil((laid.facts[WINDOW] + tokens - 1.0) / BLOCK_TOKENS) + 1.0
    return float(
        seen * passes * laid.measure_j[PREFILL]
        + min(seen, widest) * passes * laid.measure_j[PREFILL_WINDOWED]
    )
