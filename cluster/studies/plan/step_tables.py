"""Compiled: times and joules of steps by number of decoding rows, tabulated once a shape.

Points are each number of rows from 0 to DENSE, then sixteen per doubling. Values between points are
interpolated linearly, so solutions are continuous.
"""

import math
from typing import Any

from cluster.compiled import called, compiled, inlined
from cluster.studies.plan.chunks import chunk_ps, steps, stream
from cluster.studies.plan.columns import CROSS, CROSSED, LOOP, PROMPT_J, ROW_J, SHORT, SLOWEST, WORK
from cluster.studies.plan.energy import decode_j, prompt_j
from cluster.studies.plan.steps import DECODES, RETURN_PS, STAGES, measure, step_ps

DENSE, TO_DOUBLE = 32, 16


def points_of(rows: int) -> int:
    """Number of points up to ``rows``."""
    points = DENSE + 1
    while _rows(points - 1) < rows:
        points += 1
    return points


def _rows(point: int) -> float:
    if point < DENSE:
        return float(point)
    doubling, step = divmod(point - DENSE, TO_DOUBLE)
    return float(DENSE * 2**doubling * (1.0 + step / TO_DOUBLE))


_rows_at = called(_rows)
"""For compiled code; from Python it would be compiled in every process."""


@inlined
def place_of(rows: float, points: int) -> tuple[int, float]:
    """The point at or below ``rows``, and the fraction of the way to the next one."""
    low, base, step = 0.0, 0.0, 1.0
    if rows >= DENSE:
        low, base, step = float(DENSE), float(DENSE), DENSE / TO_DOUBLE
        while rows >= 2.0 * base:
            low, base, step = low + TO_DOUBLE, 2.0 * base, 2.0 * step
    exact = low + (rows - base) / step
    point = min(int(exact), points - 2)
    return point, min(1.0, exact - point)


@compiled
def tabulate(arrays: Any, budgets: Any, decode: Any, chunks: Any) -> None:
    """Fill ``decode[point, 3]`` and ``chunks[budget, point, 14]``."""
    for point in range(decode.shape[0]):
        rows = _rows_at(point)
        measure(arrays, rows, 0.0, 0.0)
        loop, slowest = step_ps(arrays, rows, rows)
        decode[point, LOOP] = loop + arrays.facts[RETURN_PS]
        decode[point, SLOWEST] = slowest
        decode[point, ROW_J] = decode_j(arrays, max(1.0, rows))
        for place in range(len(budgets)):
            budget = float(budgets[place])
            requested = min(rows, budget - 1.0), budget, decode[point, LOOP]
            _prompts(arrays, requested, chunks[place, point])


@called
def _prompts(arrays: Any, requested: tuple[float, float, float], row: Any) -> None:
    """The columns of ``chunks`` for steps of ``whole`` tokens, ``beside`` of them decoding; a step
    of these alone lasts ``decode``."""
    beside, whole, decode = requested
    row[:] = 0.0
    budget = whole - beside
    come = beside / max(arrays.facts[DECODES], 1.0)
    paces = 0.0
    for group in range(arrays.prompts.shape[0]):
        length, share = arrays.prompts[group, 0], arrays.prompts[group, 1]
        emitted = budget / length if length % budget == 0.0 else 0.0
        full, slow = chunk_ps(arrays, beside, budget, _reach(length, budget), emitted)
        row[SHORT] += share * min(1.0, max(0.0, budget / length - 1.0))
        row[PROMPT_J] += share * prompt_j(arrays, length, beside, budget)
        of_class = length, share, beside, budget
        if arrays.facts[STAGES] > 1.0:
            row[WORK] += share * length / budget * slow
            paces += stream(arrays, of_class, (full, slow), row)
        else:
            row[WORK] += share * length / budget * full
            steps(arrays, of_class, (full, come, decode), row)
    if arrays.facts[STAGES] > 1.0:
        row[CROSS] = row[CROSSED] / paces


@inlined
def _reach(length: float, budget: float) -> float:
    """Mean context at the end of a full chunk of a prompt."""
    return float(min(length, (math.floor(length / budget) + 1.0) / 2.0 * budget))
