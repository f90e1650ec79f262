"""Compiled: what rows and prompts cost in joules, static power apart."""

import math
from typing import Any

from cluster.compiled import called
from cluster.perf_model.attention import WIDTH
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
)
from cluster.studies.plan.steps import SEEN, chunk_blocks, chunk_pairs, chunk_passes

STEP, HEAD = range(2)
"""Columns of ``joules``."""


@called
def joules_at(laid: Any, column: int, place: float) -> float:
    """A column of ``joules``, linear between its entries."""
    last = laid.joules.shape[0] - 1
    low = min(int(place), last - 1)
    part = min(1.0, place - low)
    return float(laid.joules[low, column] * (1.0 - part) + laid.joules[low + 1, column] * part)


@called
def decode_j(laid: Any, rows: float) -> float:
    """Joules of one of ``rows`` decoding rows: its share of their step, and its attention."""
    row_j = (joules_at(laid, STEP, rows) + joules_at(laid, HEAD, rows)) / rows
    for kind in range(laid.kinds.shape[0]):
        row_j += laid.kinds[kind, SEEN] * laid.measure_j[kind * WIDTH + DECODE_BLOCKS]
    return float(row_j)


@called
def prompt_j(laid: Any, length: float, beside: float, budget: float) -> float:
    """Joules of a prompt in chunks of ``budget``, and of its first token: what they add to steps
    of ``beside`` decoding rows."""
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
    total = 0.0
    for kind in range(laid.kinds.shape[0]):
        first = kind * WIDTH
        seen = chunk_blocks(laid, kind, tokens, context)
        total += seen * chunk_passes(laid, kind, tokens) * laid.measure_j[first + PREFILL_PASSES]
        total += seen * laid.measure_j[first + PREFILL_BLOCKS]
        pairs = chunk_pairs(laid, kind, tokens, context)
        total += pairs * laid.measure_j[first + PREFILL_PAIRS]
    return float(total)
