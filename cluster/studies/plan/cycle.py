"""Compiled: the mean cycle of a replica that decodes and prefills at once.

A replica is seen in one of two modes. While some slot takes a chunk of a prompt, every slot's cycle
lasts as long as the chunk's (a pipeline lets no step overtake it); else it lasts a decode step's.
"""

import math
from typing import Any

from cluster.compiled import called, inlined
from cluster.studies.plan.steps import STAGES
from cluster.studies.plan.tabulate import (
    FILL,
    HELD,
    HELD_FILL,
    JOINED,
    LONG_LOOPS,
    LONG_STEPS,
    LOOP,
    LOOPS,
    SLOW,
    SLOWEST,
    STEPS,
    place_of,
)

FULLEST = 0.98
"""Of the time that slots may be busy with prompts; above it nothing decodes."""
BEHIND = 0.2
"""How often a short step runs behind another slot's long one, as a part of the time in which there
is a long one: the slot comes from a long step of its own, and others run behind it. Measured."""
LEAST = 1e-9
"""Terms of a sum that are this small beside it end it."""


@called
def decode_ps(given: Any, rows: float, active: float) -> float:
    """A cycle in which nothing but ``rows`` rows of each of ``active`` slots decodes."""
    table = given.decode
    point, part = place_of(rows, table.shape[0])
    loop = table[point, LOOP] * (1.0 - part) + table[point + 1, LOOP] * part
    slowest = table[point, SLOWEST] * (1.0 - part) + table[point + 1, SLOWEST] * part
    return float(max(loop, active * slowest))


@inlined
def mixed(table: Any, point: int, part: float, column: int, queued: float) -> float:
    """A pair of columns between two points, where ``queued`` prompts have another behind them."""
    alone = table[point, column] * (1.0 - part) + table[point + 1, column] * part
    more = table[point, column + JOINED] * (1.0 - part) + table[point + 1, column + JOINED] * part
    return float(alone + queued * more)


@called
def prompts_ps(
    given: Any, budget: int, beside: float, queued: float
) -> tuple[float, float, float, float, float, float]:
    """Of one request: its steps with chunks, their loops and slowest stages, and the time that its
    prompt is in them; what is added to loops and to that time where every short step runs behind a
    long one of another slot. ``queued`` prompts have another behind them in their slot."""
    table = given.chunks[budget]
    point, part = place_of(beside, table.shape[0])
    return (
        mixed(table, point, part, STEPS, queued),
        mixed(table, point, part, LOOPS, queued),
        mixed(table, point, part, SLOW, queued),
        mixed(table, point, part, FILL, queued),
        mixed(table, point, part, HELD, queued),
        mixed(table, point, part, HELD_FILL, queued),
    )


@called
def long_ps(given: Any, budget: int, beside: float, queued: float) -> tuple[float, float]:
    """Of one request: its steps with chunks that hold other slots up, and their loops."""
    table = given.chunks[budget]
    point, part = place_of(beside, table.shape[0])
    steps = mixed(table, point, part, LONG_STEPS, queued)
    return max(steps, LEAST), max(mixed(table, point, part, LONG_LOOPS, queued), 1.0)


@called
def prompt_of(given: Any, budget: int, beside: float, column: int) -> float:
    """One of the single columns of ``chunks``."""
    table = given.chunks[budget]
    point, part = place_of(beside, table.shape[0])
    return float(table[point, column] * (1.0 - part) + table[point + 1, column] * part)


@called
def crowded(
    given: Any,
    decoding: float,
    filling: float,
    share: float,
    steps: tuple[float, float, float],
) -> float:
    """How much longer steps with chunks last where slots crowd at the slowest stage; ``steps`` as
    ``prompts_ps`` has them."""
    chunks, loops, slow = steps
    slots = given.facts[STAGES]
    if slots <= 1.0:
        return 1.0
    active = min(slots, decoding)
    point, part = place_of(max(1.0, decoding / slots), given.decode.shape[0])
    table = given.decode
    slowest = table[point, SLOWEST] * (1.0 - part) + table[point + 1, SLOWEST] * part
    at_once = min(slots, filling / share) if share > LEAST else 1.0
    together = slow * at_once + chunks * slowest * max(0.0, active - at_once)
    return float(max(1.0, together / loops))


@called
def idle_share(offered: float, servers: float) -> float:
    """The share of time in which none of ``servers`` servers is busy (Erlang's formula)."""
    if offered >= servers:
        return 0.0
    term = total = 1.0
    for busy in range(1, int(servers)):
        term *= offered / busy
        total += term
        if term < LEAST * total and busy > offered:
            return float(1.0 / total)
    term *= offered / servers
    return float(1.0 / (total + term / (1.0 - offered / servers)))


@called
def chunk_share(filling: float, slots: float, chunks: float, wait_for: float) -> float:
    """The share of time in which some slot takes a chunk.

    Prompts that come to one slot follow one another. Those of several slots overlap: an arrival
    while there are chunks (to ``wait_for`` of the slots) waits for the end of its slot's step, so
    that busy times are those of arrivals in groups, longer by a/(1 - exp(-a)) where ``a`` come in
    a step.
    """
    share = 1.0 - idle_share(min(filling, FULLEST * slots), slots)
    if slots <= 1.0 or filling <= LEAST or share >= 1.0:
        return float(share)
    come = filling / chunks
    longer = 1.0 + wait_for * (come / (1.0 - math.exp(-come)) - 1.0)
    odds = share / (1.0 - share) * longer
    return float(odds / (1.0 + odds))


@called
def mix_ps(decode: float, chunk: float, share: float) -> float:
    """The mean cycle where ``share`` of the time is spent in cycles of ``chunk``."""
    return float(1.0 / (share / chunk + (1.0 - share) / decode))
