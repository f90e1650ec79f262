"""Compiled: time of a mean step of a slot, from a replica's price tables.

Tables are the simulator's own, interpolated between integers, since a mean batch is fractional.
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
from corsair_common.names import STATE

WORK, FLOOR, SEND, HEAD = range(4)
"""Columns of ``rates``."""
STAGES, REPLICAS, RETURN_PS, STATIC_J, LARGEST = range(5)
"""Positions in ``facts`` of the shape; STATIC_J is that of a replica's cards in a picosecond,
LARGEST the expected maximum of as many standard normal numbers as there are stages."""
DECODES, VARIED, RANDOM = range(5, 8)
"""Positions in ``facts`` of the traffic: means, the squared variation of prompts, and the
randomness of arrivals (0: regular, 1: independent or bursty)."""
WINDOW, PER_QUERY, PER_PASS, SEEN, PICKED = range(5)
"""Columns of ``kinds``: window (0: none, STATE: a state), clocks per query, mean KV blocks that a
row sees, most tokens that a query reads (0: all)."""


@inlined
def between(rates: Any, row: int, column: int, place: float) -> float:
    """``rates[row, :, column]`` at ``place``, linear between entries, constant beyond the last."""
    last = rates.shape[1] - 1
    if place >= last:
        return float(rates[row, last, column])
    low = int(place)
    part = place - low
    return float(rates[row, low, column] * (1.0 - part) + rates[row, low + 1, column] * part)


@inlined
def chunk_blocks(arrays: Any, kind: int, tokens: float, context: float) -> float:
    """KV blocks that a chunk of ``tokens`` up to ``context`` sees in layers of a kind."""
    seen, window = math.ceil(context / BLOCK_TOKENS), arrays.kinds[kind, WINDOW]
    if window == STATE:
        return 1.0
    picked = arrays.kinds[kind, PICKED]
    if picked > 0.0:
        return float(min(seen, min(seen, math.ceil(picked / BLOCK_TOKENS)) * tokens))
    if window == 0.0:
        return float(seen)
    return float(min(seen, math.ceil((window + tokens - 1.0) / BLOCK_TOKENS) + 1.0))


@inlined
def query_blocks(arrays: Any, kind: int, tokens: float, context: float) -> float:
    """KV blocks over which each query of a chunk has its passes."""
    picked = arrays.kinds[kind, PICKED]
    if picked > 0.0:
        return float(min(math.ceil(context / BLOCK_TOKENS), math.ceil(picked / BLOCK_TOKENS)))
    return chunk_blocks(arrays, kind, tokens, context)


@inlined
def chunk_passes(arrays: Any, kind: int, tokens: float) -> float:
    """Tile passes that a chunk of ``tokens`` makes over each of its blocks."""
    clocks = tokens * arrays.kinds[kind, PER_QUERY]
    return float(math.ceil(clocks / arrays.kinds[kind, PER_PASS]))


@inlined
def chunk_pairs(arrays: Any, kind: int, tokens: float, context: float) -> float:
    """Query-key pairs of a chunk of ``tokens`` up to ``context``."""
    window = max(arrays.kinds[kind, WINDOW], arrays.kinds[kind, PICKED])
    if window == STATE:
        return float(tokens)
    whole = tokens * context - tokens * (tokens - 1.0) / 2.0
    return float(whole if window == 0.0 else min(whole, tokens * window))


@called
def measure(arrays: Any, rows: float, tokens: float, context: float) -> None:
    """Fill ``arrays.sums``: decode rows, and a chunk of ``tokens`` (0: none) up to ``context``."""
    for kind in range(arrays.kinds.shape[0]):
        first = kind * WIDTH
        arrays.sums[first + DECODE_BLOCKS] = round(rows * arrays.kinds[kind, SEEN])
        seen = passes = pairs = 0.0
        if tokens > 0.0:
            seen = chunk_blocks(arrays, kind, tokens, context)
            passes = query_blocks(arrays, kind, tokens, context)
            passes *= chunk_passes(arrays, kind, tokens)
            pairs = chunk_pairs(arrays, kind, tokens, context)
        arrays.sums[first + PREFILL_BLOCKS] = round(seen)
        arrays.sums[first + PREFILL_PASSES] = round(passes)
        arrays.sums[first + PREFILL_PAIRS] = round(pairs)


@called
def step_ps(arrays: Any, tokens: float, emitted: float) -> tuple[float, float]:
    """Sum of all stages and sends of one step, and the slowest stage's part.

    Its attention is that of ``arrays.sums`` (``measure``). ``rates[class, tokens, 4]`` as named
    above; ``stages[class, 1 + kinds]`` the number of stages of the class and of layers of each
    kind; ``units[kind, op]`` one layer of the kind.
    """
    loop = slowest = 0.0
    for kind in range(arrays.kinds.shape[0]):
        arrays.layer_ps[kind] = attention_ps(arrays.units[kind], arrays.sums)
    for row in range(arrays.rates.shape[0]):
        work = between(arrays.rates, row, WORK, tokens)
        attention = 0.0
        for kind in range(arrays.kinds.shape[0]):
            attention += arrays.stages[row, 1 + kind] * arrays.layer_ps[kind]
        work += attention
        work = max(work, between(arrays.rates, row, FLOOR, tokens))
        work += between(arrays.rates, row, HEAD, emitted)
        loop += arrays.stages[row, 0] * (work + between(arrays.rates, row, SEND, tokens))
        slowest = max(slowest, work)
    return loop, slowest
