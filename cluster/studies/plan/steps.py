"""Compiled: what one mean step of a slot lasts, from a replica's price tables.

Tables are the simulator's own; between whole numbers of tokens they are interpolated, since a mean
batch is no whole number.
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import attention_ps

WORK, FLOOR, SEND, HEAD = range(4)
"""Columns of ``rates``."""
STAGES, REPLICAS, RETURN_PS, PER_QUERY, WINDOW, STATIC_J, LARGEST = range(7)
"""Places of ``facts`` of the shape; STATIC_J is that of a replica's cards in a picosecond, LARGEST
the deviations above the mean of the largest of as many numbers as there are stages."""
DECODES, BLOCKS, BLOCKS_WINDOWED, VARIED, RANDOM = range(7, 12)
"""Places of ``facts`` of the traffic: means, the squared variation of prompts, and how much chance
there is in arrivals (0: they come in step, 1: independently, or in bursts)."""


@inlined
def between(rates: Any, row: int, column: int, place: float) -> float:
    """``rates[row, :, column]`` at ``place``, linear between its entries, its last one beyond."""
    last = rates.shape[1] - 1
    if place >= last:
        return float(rates[row, last, column])
    low = int(place)
    part = place - low
    return float(rates[row, low, column] * (1.0 - part) + rates[row, low + 1, column] * part)


@called
def step_ps(
    laid: Any,
    tokens: float,
    emitted: float,
    blocks: float,
    passes: float,
    blocks_windowed: float,
    passes_windowed: float,
) -> tuple[float, float]:
    """All stages and sends of one step one after the other, and the slowest stage's part.

    ``rates[class, tokens, 4]`` as named above; ``stages[class, 3]`` how many stages are of the
    class and how many full and windowed layers each has; ``units[kind, 2]`` one full layer, and
    one windowed layer.
    """
    full = windowed = 0.0
    for kind in range(2):  # one call in the text: it is compiled into this function
        cost = attention_ps(
            laid.units[kind],
            round(blocks),
            round(passes),
            round(blocks_windowed),
            round(passes_windowed),
        )
        if kind == 0:
            full = cost
        else:
            windowed = cost
    loop = slowest = 0.0
    for row in range(laid.rates.shape[0]):
        work = between(laid.rates, row, WORK, tokens)
        work += laid.stages[row, 1] * full + laid.stages[row, 2] * windowed
        work = max(work, between(laid.rates, row, FLOOR, tokens))
        work += between(laid.rates, row, HEAD, emitted)
        loop += laid.stages[row, 0] * (work + between(laid.rates, row, SEND, tokens))
        slowest = max(slowest, work)
    return loop, slowest
