"""Compiled: the mean cycle of a replica that decodes and prefills at once.

A replica is seen in one of two modes. While some slot takes a chunk of a prompt, every slot's cycle
lasts as long as the chunk's (a pipeline lets no step overtake it); else it lasts a decode step's.
How much of the time is of the first kind is that of a queue whose servers are the slots.
"""

import math
from typing import Any

from cluster.compiled import called
from cluster.machine.attention import BLOCK_TOKENS
from cluster.studies.plan.steps import step_ps

STAGES, REPLICAS, RETURN_PS, PER_QUERY, WINDOW, STATIC_J = range(6)
"""Places of ``facts`` of the shape; STATIC_J is that of a replica's cards in a picosecond."""
DECODES, BLOCKS, BLOCKS_WINDOWED, VARIED = range(6, 10)
"""Places of ``facts`` of the traffic: means, and the squared variation of prompts."""


@called
def decode_ps(laid: Any, rows: float, active: float) -> tuple[float, float]:
    """A cycle in which nothing but ``rows`` rows of each of ``active`` slots decodes, and the
    slowest stage's part of one step."""
    loop, slowest = step_ps(
        laid,
        rows,
        rows,
        rows * laid.facts[BLOCKS],
        0.0,
        rows * laid.facts[BLOCKS_WINDOWED],
        0.0,
    )
    return max(loop + laid.facts[RETURN_PS], active * slowest), slowest


@called
def chunk_ps(
    laid: Any,
    beside: float,
    tokens: float,
    context: float,
    emitted: float,
) -> tuple[float, float]:
    """One step with a chunk of ``tokens`` up to ``context`` and ``beside`` decoding rows."""
    seen = math.ceil(context / BLOCK_TOKENS)
    passes = math.ceil(tokens * laid.facts[PER_QUERY] / BLOCK_TOKENS)
    widest = math.ceil((laid.facts[WINDOW] + tokens - 1.0) / BLOCK_TOKENS) + 1.0
    windowed = min(seen, widest) * passes if laid.facts[WINDOW] > 0 else 0.0
    return step_ps(
        laid,
        beside + tokens,
        beside + emitted,
        beside * laid.facts[BLOCKS],
        seen * passes,
        beside * laid.facts[BLOCKS_WINDOWED],
        windowed,
    )


@called
def prefill_ps(
    laid: Any,
    beside: float,
    budget: float,
    together: float,
    queued: float,
    behind: float,
) -> tuple[float, float, float, float]:
    """Steps with chunks of one prompt (a share, where ``together`` prompts share one), their loops
    and their slowest stages' parts, and the time that a prompt is in them; each on the mean over
    the classes of prompts.

    Where the next prompt waits, as it does for ``queued`` of them, it takes what the last chunk
    leaves of the budget: less steps in all, but none of them is short. A short step that runs
    ``behind`` a long one of another slot lasts as long.
    """
    chunks = loops = slowest = fill = longest = 0.0
    for group in range(laid.prompts.shape[0]):
        length, share = laid.prompts[group, 0], laid.prompts[group, 1]
        whole = math.floor(length / budget)
        rest = length - whole * budget
        alone = 1.0
        if whole > 0 and rest > 0:
            alone -= queued
            if length % (budget + beside) == 0.0:  # but for the rows beside it there is no rest
                alone *= 1.0 - math.exp(-beside)
        if whole > 0:
            reach = min(length, (whole + 1.0) / 2.0 * budget)
            loop, slow = chunk_ps(laid, beside, budget, reach, 0.0 if rest > 0 else 1.0 / whole)
            loop += laid.facts[RETURN_PS]
            longest = max(longest, loop)
            steps = share * (whole + queued * rest / budget)
            chunks += steps
            loops += steps * loop
            slowest += steps * slow
            fill += share * loop * (whole + 1.0 - (1.0 - queued) * (1.0 - queued))
        if rest > 0:
            joined = min(together, max(1.0, budget / rest)) if whole == 0 else 1.0
            loop, slow = chunk_ps(laid, beside, joined * rest, length, joined)
            loop += laid.facts[RETURN_PS]
            loop += behind * max(0.0, longest - loop)
            longest = max(longest, loop)
            steps = share * alone / joined
            chunks += steps
            loops += steps * loop
            slowest += steps * slow
            fill += share * loop * alone * (1.0 - queued if whole > 0 else 1.0)
    return chunks, loops, slowest, fill


@called
def idle_share(offered: float, servers: float) -> float:
    """The share of time in which none of ``servers`` servers is busy (Erlang's formula)."""
    if offered >= servers:
        return 0.0
    term = total = 1.0
    for busy in range(1, int(servers)):
        term *= offered / busy
        total += term
    term *= offered / servers
    return float(1.0 / (total + term / (1.0 - offered / servers)))


@called
def mix_ps(decode: float, chunk: float, share: float) -> float:
    """The mean cycle where ``share`` of the time is spent in cycles of ``chunk``."""
    return float(1.0 / (share / chunk + (1.0 - share) / decode))


@called
def fuller(mean: float, slots: float) -> float:
    """Rows in the slot of a request that ``mean`` others keep company, dealt evenly over slots.

    Their number is taken for a normal one of that mean and variance; a slot has at least the one.
    """
    if slots <= 1.0 or mean <= 0.0:
        return float(1.0 + max(0.0, mean) / slots)
    spread = math.sqrt(mean)
    over = (mean + 1.0 - slots) / spread
    below = 0.5 * (1.0 + math.erf(over / math.sqrt(2.0)))
    density = math.exp(-0.5 * over * over) / math.sqrt(2.0 * math.pi)
    return float(1.0 + ((mean + 1.0 - slots) * below + spread * density) / slots)
