"""Compiled: what steps with whole numbers of decoding rows last and cost, tabulated once a shape.

Rows from 0 on stand at points: each number up to DENSE, then sixteen to each doubling. Between
points everything is linear, so whatever is solved with these tables is continuous.
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
    """How many points reach to ``rows``."""
    points = DENSE + 1
    while _rows_at(points - 1) < rows:
        points += 1
    return points


@called
def _rows_at(point: int) -> float:
    if point < DENSE:
        return float(point)
    doubling, step = divmod(point - DENSE, TO_DOUBLE)
    return float(DENSE * 2**doubling * (1.0 + step / TO_DOUBLE))


@inlined
def place_of(rows: float, points: int) -> tuple[int, float]:
    """The point at or below ``rows``, and how far it is to the next one."""
    low, base, step = 0.0, 0.0, 1.0
    if rows >= DENSE:
        low, base, step = float(DENSE), float(DENSE), DENSE / TO_DOUBLE
        while rows >= 2.0 * base:
            low, base, step = low + TO_DOUBLE, 2.0 * base, 2.0 * step
    exact = low + (rows - base) / step
    point = min(int(exact), points - 2)
    return point, min(1.0, exact - point)


@compiled
def tabulate(laid: Any, budgets: Any, decode: Any, chunks: Any) -> None:
    """Fill ``decode[point, 3]`` and ``chunks[budget, point, 14]``."""
    for point in range(decode.shape[0]):
        rows = _rows_at(point)
        measure(laid, rows, 0.0, 0.0)
        loop, slowest = step_ps(laid, rows, rows)
        decode[point, LOOP] = loop + laid.facts[RETURN_PS]
        decode[point, SLOWEST] = slowest
        decode[point, ROW_J] = decode_j(laid, max(1.0, rows))
        for place in range(len(budgets)):
            budget = float(budgets[place])
            requested = min(rows, budget - 1.0), budget, decode[point, LOOP]
            _prompts(laid, requested, chunks[place, point])


@called
def _prompts(laid: Any, requested: tuple[float, float, float], row: Any) -> None:
    """The columns of ``chunks`` for steps of ``whole`` tokens, ``beside`` of them decoding; without
    any other tokens these last ``decode``."""
    beside, whole, decode = requested
    row[:] = 0.0
    budget = whole - beside
    come = beside / max(laid.facts[DECODES], 1.0)
    paces = 0.0
    for group in range(laid.prompts.shape[0]):
        length, share = laid.prompts[group, 0], laid.prompts[group, 1]
        emitted = budget / length if length % budget == 0.0 else 0.0
        full, slow = chunk_ps(laid, beside, budget, _reach(length, budget), emitted)
        row[SHORT] += share * min(1.0, max(0.0, budget / length - 1.0))
        row[PROMPT_J] += share * prompt_j(laid, length, beside, budget)
        of_class = length, share, beside, budget
        if laid.facts[STAGES] > 1.0:
            row[WORK] += share * length / budget * slow
            paces += stream(laid, of_class, (full, slow), row)
        else:
            row[WORK] += share * length / budget * full
            steps(laid, of_class, (full, come, decode), row)
    if laid.facts[STAGES] > 1.0:
        row[CROSS] = row[CROSSED] / paces


@inlined
def _reach(length: float, budget: float) -> float:
    """Up to where the mean full chunk of a prompt reaches."""
    return float(min(length, (math.floor(length / budget) + 1.0) / 2.0 * budget))
