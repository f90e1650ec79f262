"""Compiled: saturation throughput of a candidate, and its latencies at lower load."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.mixed_cycle import decode_ps, mix_ps
from cluster.studies.plan.one_stage import single_full, single_look
from cluster.studies.plan.pipeline import stream_full, stream_look
from cluster.studies.plan.queueing import seated_ps
from cluster.studies.plan.steps import DECODES, REPLICAS, RETURN_PS, STAGES

MANY = 8.0
"""Deviations of a number of requests: beyond them no more are ever inside."""
TURNS = 60
CLOSE = 1e-8
"""What is left of a difference when a search ends, as a part of what is sought."""


@called
def most_filling(inputs: Any, seats: float) -> float:
    """How many can be with their prompts where all seats are taken."""
    return float(FULLEST * min(1.0 if inputs.facts[STAGES] <= 1.0 else seats, seats))


@called
def full_rate(
    inputs: Any, budget: int, seats: float, guess: float
) -> tuple[float, float, float, float]:
    """Requests per picosecond of a replica whose ``seats`` are never empty; the mean cycle, how
    many of them fill, and how long a prompt takes.

    Whoever is not decoding is filling: sought, by secants in a bracket, where as many fill as come
    to. ``guess`` is a part of the most that can.
    """
    decodes = max(inputs.facts[DECODES], 1e-9)
    most = most_filling(inputs, seats)
    low, high = 0.0, most
    filling = guess * most
    before = off_before = 0.0
    rate = cycle = fill_ps = 0.0
    for turn in range(TURNS):
        if inputs.facts[STAGES] > 1.0:
            cycle, work_ps, fill_ps = stream_full(inputs, budget, seats, filling)
            rate = min((seats - filling) / (decodes * cycle), FULLEST / work_ps)
            off = rate * fill_ps - filling
        else:
            cycle, work_ps, fill_ps = single_full(inputs, budget, seats, filling)
            rate = min((seats - filling) / (decodes * cycle), most / work_ps)
            off = rate * work_ps - filling
        if off > 0.0:
            low = filling
        else:
            high = filling
        if abs(off) < CLOSE * filling or high - low < CLOSE * high:
            break
        step = off if turn == 0 or off == off_before else _secant(filling, off, before, off_before)
        before, off_before = filling, off
        filling += step
        if not low < filling < high:
            filling = (low + high) / 2.0
    return min(rate, seats / fill_ps), cycle, filling, fill_ps


@called
def _secant(place: float, off: float, before: float, off_before: float) -> float:
    """The step to where the line through two points is zero."""
    return float(off * (place - before) / (off_before - off))


@called
def settled(
    inputs: Any, budget: int, seats: float, rate: float, decoding: float
) -> tuple[float, tuple[float, float, float, float, float]]:
    """As many decode as come and stay: their number, sought from ``decoding`` on by secants in a
    bracket, and what ``single_look`` or ``stream_look`` say of it."""
    decodes = inputs.facts[DECODES]
    low, high = 0.0, seats
    before = off_before = 0.0
    look = (0.0, 0.0, 0.0, 0.0, 0.0)
    for turn in range(TURNS):
        if inputs.facts[STAGES] > 1.0:
            look = stream_look(inputs, budget, seats, rate, decoding)
        else:
            look = single_look(inputs, budget, seats, rate, decoding)
        off = rate * decodes * look[0] - decoding
        if off > 0.0:
            low = decoding
        else:
            high = decoding
        if abs(off) <= CLOSE * decoding or high - low < CLOSE * high:
            break
        step = off if turn == 0 or off == off_before else _secant(decoding, off, before, off_before)
        before, off_before = decoding, off
        decoding += step
        if not low <= decoding <= high:
            decoding = (low + high) / 2.0
    return decoding, look


@called
def latency(
    inputs: Any, budget: int, seats: float, rate: float, full: tuple[float, float, float]
) -> tuple[float, float, float]:
    """TTFT, TPOT and requests in a replica to which ``rate`` requests per picosecond come.

    ``full`` are the rate and the stay of a request with all seats taken, and a guess of the cycle.
    """
    most, full_stay, guess = full
    decodes = inputs.facts[DECODES]
    start = min(seats, rate * decodes * guess)
    decoding, (cycle, chunk, share, fill_ps, wait) = settled(inputs, budget, seats, rate, start)
    inside = rate * fill_ps + decoding
    replicas = inputs.facts[REPLICAS]
    if seats < inside + MANY * math.sqrt(inside / replicas):
        lone = fill_ps + decodes * mix_ps(decode_ps(inputs, 1.0, 1.0), chunk, share)
        of_all = (inside * replicas, seats * replicas, rate * replicas, most * replicas)
        seated, none_free = seated_ps(*of_all, (lone, full_stay))
        wait = (1.0 - none_free) * wait + seated  # both at once: a seat is free when a step ends
    return wait + fill_ps - inputs.facts[RETURN_PS], cycle, inside
