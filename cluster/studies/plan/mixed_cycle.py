"""Compiled: steps of a slot and mean cycles, from the tables of a shape.

A replica has two modes. While chunks of a prompt are in flight every slot runs one step in the time
of a chunk's (batches of a pipeline are in order); else in that of a decode step.
"""

import math
from typing import Any

from cluster.compiled import called, inlined
from cluster.studies.plan.columns import LOOP, SLOWEST
from cluster.studies.plan.step_tables import place_of

MOST_SLOWED = 0.8
"""Bounds the variance when steps grow nearly as fast as the number of decodes."""


@called
def decode_ps(inputs: Any, rows: float, active: float) -> float:
    """A cycle of decodes only: ``rows`` rows in each of ``active`` slots."""
    return slots_ps(inputs, rows, rows, active)


@called
def slots_ps(inputs: Any, rows: float, fullest: float, active: float) -> float:
    """The same if one slot has ``fullest`` rows: the others queue behind it and follow it."""
    table = inputs.decode
    point, part = place_of(fullest, table.shape[0])
    loop = table[point, LOOP] * (1.0 - part) + table[point + 1, LOOP] * part
    return float(max(loop, active * stage_ps(inputs, rows)))


@called
def stage_ps(inputs: Any, rows: float) -> float:
    """A decode step at the slowest stage."""
    table = inputs.decode
    point, part = place_of(rows, table.shape[0])
    return float(table[point, SLOWEST] * (1.0 - part) + table[point + 1, SLOWEST] * part)


@inlined
def mixed(table: Any, point: int, part: float, column: int, queued: float) -> float:
    """A pair of columns between two points; ``queued`` prompts have another behind them."""
    alone = table[point, column] * (1.0 - part) + table[point + 1, column] * part
    more = table[point, column + 1] * (1.0 - part) + table[point + 1, column + 1] * part
    return float(alone + queued * more)


@called
def prompt_of(inputs: Any, budget: int, beside: float, column: int) -> float:
    """One of the single columns of ``chunks``."""
    table = inputs.chunks[budget]
    point, part = place_of(beside, table.shape[0])
    return float(table[point, column] * (1.0 - part) + table[point + 1, column] * part)


@called
def mix_ps(decode: float, chunk: float, share: float) -> float:
    """The mean cycle if ``share`` of the time is spent in cycles of ``chunk``."""
    return float(1.0 / (share / chunk + (1.0 - share) / decode))


@called
def slowed(inputs: Any, decoding: float, active: float, slots: float) -> float:
    """Elasticity e of the decode step: its relative increase per relative increase of decodes.

    For processor sharing with this slowdown, variance over mean of their number is 1 / (1 - e).
    """
    more = decoding + math.sqrt(decoding)
    now = decode_ps(inputs, max(1.0, decoding / slots), active)
    longer = decode_ps(inputs, max(1.0, more / slots), active) / now - 1.0
    return float(min(MOST_SLOWED, longer * math.sqrt(decoding)))
