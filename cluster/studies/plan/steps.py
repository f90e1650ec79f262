"""Compiled: what one mean step of a slot lasts, from a replica's price tables.

Tables are the simulator's own; between whole numbers of tokens they are interpolated, since a mean
batch is no whole number.
"""

import math
from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH, attention_ps
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
)

WORK, FLOOR, SEND, HEAD = range(4)
"""Columns of ``rates``."""
STAGES, REPLICAS, RETURN_PS, STATIC_J, LARGEST = range(5)
"""Places of ``facts`` of the shape; STATIC_J is that of a replica's cards in a picosecond, LARGEST
the deviations above the mean of the largest of as many numbers as there are stages."""
DECODES, VARIED, RANDOM = range(5, 8)
"""Places of ``facts`` of the traffic: means, the squared variation of prompts, and how much chance
there is in arrivals (0: they come in step, 1: independently, or in bursts)."""
WINDOW, PER_QUERY, SEEN = range(3)
"""Columns of ``kinds``: window (0: none), clocks per query, mean KV blocks that a row sees."""


@inlined
def between(rates: Any, row: int, column: int, place: float) -> float:
    """``rates[row, :, column]`` at ``place``, linear between its entries, its last one beyond."""
    last = rates.shape[1] - 1
    if place >= last:
        return float(rates[row, last, column])
    low = int(place)
    part = place - low
    return float(rates[row, low, column] * (1.0 - part) + rates[row, low + 1, column] * part)


@inlined
def chunk_blocks(laid: Any, kind: int, tokens: float, context: float) -> float:
    """KV blocks that a chunk of ``tokens`` up to ``context`` sees in layers of a kind."""
    seen, window = math.ceil(context / BLOCK_TOKENS), laid.kinds[kind, WINDOW]
    if window == 0.0:
        return float(seen)
    return float(min(seen, math.ceil((window + tokens - 1.0) / BLOCK_TOKENS) + 1.0))


@inlined
def chunk_passes(laid: Any, kind: int, tokens: float) -> float:
    """Tile passes that a chunk of ``tokens`` makes over each of its blocks."""
    return float(math.ceil(tokens * laid.kinds[kind, PER_QUERY] / BLOCK_TOKENS))


@inlined
def chunk_pairs(laid: Any, kind: int, tokens: float, context: float) -> float:
    """Query-key pairs of a chunk of ``tokens`` up to ``context``."""
    window = laid.kinds[kind, WINDOW]
    whole = tokens * context - tokens * (tokens - 1.0) / 2.0
    return float(whole if window == 0.0 else min(whole, tokens * window))


@called
def measure(laid: Any, rows: float, tokens: float, context: float) -> None:
    """Fill ``laid.sums``: decode rows, and a chunk of ``tokens`` (0: none) up to ``context``."""
    for kind in range(laid.kinds.shape[0]):
        first = kind * WIDTH
        laid.sums[first + DECODE_BLOCKS] = round(rows * laid.kinds[kind, SEEN])
        seen = passes = pairs = 0.0
        if tokens > 0.0:
            seen = chunk_blocks(laid, kind, tokens, context)
            passes = chunk_passes(laid, kind, tokens)
            pairs = chunk_pairs(laid, kind, tokens, context)
        laid.sums[first + PREFILL_BLOCKS] = round(seen)
        laid.sums[first + PREFILL_PASSES] = round(seen * passes)
        laid.sums[first + PREFILL_PAIRS] = round(pairs)


@called
def step_ps(laid: Any, tokens: float, emitted: float) -> tuple[float, float]:
    """All stages and sends of one step one after the other, and the slowest stage's part.

    Its attention is that of ``laid.sums`` (``measure``). ``rates[class, tokens, 4]`` as named
    above; ``stages[class, 1 + kinds]`` how many stages are of the class and how many layers of each
    kind each has; ``units[kind, op]`` one layer of the kind.
    """
    loop = slowest = 0.0
    for kind in range(laid.kinds.shape[0]):
        laid.layer_ps[kind] = attention_ps(laid.units[kind], laid.sums)
    for row in range(laid.rates.shape[0]):
        work = between(laid.rates, row, WORK, tokens)
        attention = 0.0
        for kind in range(laid.kinds.shape[0]):
            attention += laid.stages[row, 1 + kind] * laid.layer_ps[kind]
        work += attention
        work = max(work, between(laid.rates, row, FLOOR, tokens))
        work += between(laid.rates, row, HEAD, emitted)
        loop += laid.stages[row, 0] * (work + between(laid.rates, row, SEND, tokens))
        slowest = max(slowest, work)
    return loop, slowest
