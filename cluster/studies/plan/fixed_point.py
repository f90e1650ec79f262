"""Compiled: saturation throughput of a candidate, and its latencies at lower load."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.bursts import prefill_excess, slots_excess
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.columns import WORK
from cluster.studies.plan.mixed_cycle import decode_ps, mix_ps, prompt_of
from cluster.studies.plan.one_stage import single_stage_at_load, single_stage_saturated
from cluster.studies.plan.pipeline import pipeline_at_load, pipeline_saturated
from cluster.studies.plan.queueing import admission_wait_ps
from cluster.studies.plan.steps import DECODES, REPLICAS, RETURN_PS, STAGES

MANY = 8.0
"""Standard deviations above the mean number of requests that are taken as its maximum."""
TURNS = 60
CLOSE = 1e-8
"""Relative tolerance of a search."""


@called
def max_prefilling(inputs: Any, concurrency: float) -> float:
    """Most requests in prefill at full concurrency."""
    return float(FULLEST * min(1.0 if inputs.facts[STAGES] <= 1.0 else concurrency, concurrency))


@called
def full_rate(
    inputs: Any, budget: int, concurrency: float, guess: float
) -> tuple[float, float, float, float]:
    """Requests per picosecond of a replica at full ``concurrency``; the mean cycle, the requests in
    prefill, and the time of a prefill.

    A request that does not decode is in prefill. Their number is solved by secants in a bracket, so
    that arrivals equal departures. ``guess`` is a fraction of ``max_prefilling``.
    """
    decodes = max(inputs.facts[DECODES], 1e-9)
    most = max_prefilling(inputs, concurrency)
    low, high = 0.0, most
    filling = guess * most
    before = off_before = 0.0
    rate = cycle = fill_ps = 0.0
    for turn in range(TURNS):
        if inputs.facts[STAGES] > 1.0:
            cycle, work_ps, fill_ps = pipeline_saturated(inputs, budget, concurrency, filling)
            rate = min((concurrency - filling) / (decodes * cycle), FULLEST / work_ps)
            off = rate * fill_ps - filling
        else:
            cycle, work_ps, fill_ps = single_stage_saturated(inputs, budget, concurrency, filling)
            rate = min((concurrency - filling) / (decodes * cycle), most / work_ps)
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
    return min(rate, concurrency / fill_ps), cycle, filling, fill_ps


@called
def _secant(place: float, off: float, before: float, off_before: float) -> float:
    """The step to the zero of the line through two points."""
    return float(off * (place - before) / (off_before - off))


@called
def settled(
    inputs: Any, budget: int, concurrency: float, rate: float, decoding: float
) -> tuple[float, tuple[float, float, float, float, float]]:
    """The number of decodes at this rate (Little's law), solved from ``decoding`` on by secants in
    a bracket, and the result of ``single_stage_at_load`` or ``pipeline_at_load``."""
    decodes = inputs.facts[DECODES]
    low, high = 0.0, concurrency
    before = off_before = 0.0
    at_load = (0.0, 0.0, 0.0, 0.0, 0.0)
    for turn in range(TURNS):
        if inputs.facts[STAGES] > 1.0:
            at_load = pipeline_at_load(inputs, budget, concurrency, rate, decoding)
        else:
            at_load = single_stage_at_load(inputs, budget, concurrency, rate, decoding)
        off = rate * decodes * at_load[0] - decoding
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
    return decoding, at_load


@called
def latency(
    inputs: Any, budget: int, concurrency: float, rate: float, full: tuple[float, float, float]
) -> tuple[float, float, float]:
    """TTFT, TPOT and requests in a replica at ``rate`` requests per picosecond.

    ``full`` are the rate and the residence time of a request at full concurrency, and a guess of
    the cycle.
    """
    most, full_stay, guess = full
    decodes = inputs.facts[DECODES]
    start = min(concurrency, rate * decodes * guess)
    decoding, (cycle, chunk, share, fill_ps, wait) = settled(
        inputs, budget, concurrency, rate, start
    )
    inside = rate * fill_ps + decoding
    replicas = inputs.facts[REPLICAS]
    if concurrency < inside + MANY * math.sqrt(inside / replicas):
        lone = fill_ps + decodes * mix_ps(decode_ps(inputs, 1.0, 1.0), chunk, share)
        of_all = (inside * replicas, concurrency * replicas, rate * replicas, most * replicas)
        for_admission, none_free = admission_wait_ps(*of_all, (lone, full_stay))
        wait = (
            1.0 - none_free
        ) * wait + for_admission  # not both: admission happens when a step ends
    ttft = wait + fill_ps - inputs.facts[RETURN_PS]
    if inputs.bursts.prefill.shape[0] == 0:
        return ttft, cycle, inside
    lone = fill_ps + decodes * mix_ps(decode_ps(inputs, 1.0, 1.0), chunk, share)
    seen = cycle, chunk, share, decoding
    held, cycle = in_bursts(inputs, budget, (concurrency, rate, most, lone), seen)
    return ttft + held, cycle, min(concurrency, rate * (fill_ps + decodes * cycle))


@called
def in_bursts(
    inputs: Any,
    budget: int,
    of: tuple[float, float, float, float],
    seen: tuple[float, float, float, float],
) -> tuple[float, float]:
    """The wait that bursts add, and the mean cycle of requests that come in them.

    ``of`` are slots, rate, rate at full concurrency and stay of a lone request; ``seen`` the mean
    cycle of independent requests, one with chunks, the share of time with chunks, and the number
    of decodes. A backlog counts once, at the prefill or at the slots, where it is longer.
    """
    concurrency, rate, most, lone = of
    cycle, chunk, share, decoding = seen
    slots, replicas = inputs.facts[STAGES], inputs.facts[REPLICAS]
    beside = min(decoding / slots, inputs.budgets[budget] - 1.0)
    work = prompt_of(inputs, budget, beside, WORK)
    reading, busy = prefill_excess(inputs.bursts, rate * work)
    mix = min(1.0, most * work)
    full = concurrency / most
    waiting, crowd = slots_excess(
        inputs.bursts, rate / most, concurrency * replicas, lone / full, mix
    )
    fullest = min(concurrency, decoding * crowd)
    now = decode_ps(inputs, max(1.0, decoding / slots), min(slots, decoding + 1.0))
    then = decode_ps(inputs, max(1.0, fullest / slots), min(slots, fullest + 1.0))
    inside = busy + (1.0 - busy) * share
    slower = cycle + (1.0 - inside) * (then - now) + (inside - share) * max(0.0, chunk - cycle)
    # the longer busy periods are, the more requests are wholly inside or wholly outside
    apart = busy * (inside * chunk + (1.0 - inside) * then) + (1.0 - busy) * cycle
    return max(reading, waiting) / (rate * replicas), max(slower, apart)
