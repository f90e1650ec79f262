"""Compiled: joules of rows and prompts, without static power."""

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
from cluster.studies.plan.steps import (
    SEEN,
    chunk_blocks,
    chunk_pairs,
    chunk_passes,
    query_blocks,
)

STEP, HEAD = range(2)
"""Columns of ``joules``."""


@called
def joules_at(arrays: Any, column: int, place: float) -> float:
    """A column of ``joules``, linear between its entries."""
    last = arrays.joules.shape[0] - 1
    low = min(int(place), last - 1)
    part = min(1.0, place - low)
    return float(arrays.joules[low, column] * (1.0 - part) + arrays.joules[low + 1, column] * part)


@called
def decode_j(arrays: Any, rows: float) -> float:
    """Joules of one of ``rows`` decoding rows: its share of their step, and its attention."""
    row_j = (joules_at(arrays, STEP, rows) + joules_at(arrays, HEAD, rows)) / rows
    for kind in range(arrays.kinds.shape[0]):
        row_j += arrays.kinds[kind, SEEN] * arrays.measure_j[kind * WIDTH + DECODE_BLOCKS]
    return float(row_j)


@called
def prompt_j(arrays: Any, length: float, beside: float, budget: float) -> float:
    """Joules of a prompt in chunks of ``budget``, and of its first token: the increase of steps of
    ``beside`` decoding rows."""
    whole = math.floor(length / budget)
    rest = length - whole * budget
    idle_j = joules_at(arrays, STEP, beside) if beside >= 1.0 else 0.0
    total = whole * (joules_at(arrays, STEP, beside + budget) - idle_j)
    total += whole * passes_j(arrays, budget, (whole + 1.0) / 2.0 * budget)
    if rest > 0:
        total += joules_at(arrays, STEP, beside + rest) - idle_j + passes_j(arrays, rest, length)
    return float(total + joules_at(arrays, HEAD, 1.0))


@called
def passes_j(arrays: Any, tokens: float, context: float) -> float:
    """Joules of the attention of a chunk of ``tokens`` up to ``context``."""
    total = 0.0
    for kind in range(arrays.kinds.shape[0]):
        first = kind * WIDTH
        seen = chunk_blocks(arrays, kind, tokens, context)
        passes = query_blocks(arrays, kind, tokens, context) * chunk_passes(arrays, kind, tokens)
        total += passes * arrays.measure_j[first + PREFILL_PASSES]
        total += seen * arrays.measure_j[first + PREFILL_BLOCKS]
        pairs = chunk_pairs(arrays, kind, tokens, context)
        total += pairs * arrays.measure_j[first + PREFILL_PAIRS]
    return float(total)
