"""Compiled: a replica of several stages, through which prompts stream.

A prompt's chunks are in consecutive batches of the first stage, of any slots. Batches stay in
order, so all slots queue behind the chunks; a slot that has passed the first stage is in flight
until the chunks are done, and an arrival then finds the stage idle, but no free slot.
"""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.chance import (
    FULLEST,
    LEAST,
    built_up,
    capped,
    gathered,
    limited,
    open_slot,
)
from cluster.studies.plan.columns import CROSS, CROSSED, GAIN, HELD, ONCE, ROOM, SHORT, WORK
from cluster.studies.plan.mixed_cycle import mix_ps, prompt_of, slots_ps, slowed, stage_ps
from cluster.studies.plan.steps import DECODES, LARGEST, RANDOM, REPLICAS, STAGES, VARIED


@called
def pipeline_saturated(
    inputs: Any, budget: int, concurrency: float, filling: float
) -> tuple[float, float, float]:
    """A replica at full ``concurrency`` with ``filling`` requests in prefill: the mean cycle, its
    highest prompt rate per picosecond, and the time of a prefill.

    A finished request is replaced at once, in the next batch of its slot, so a cycle has chunks if
    a request has finished in the previous one. The slots with chunks return one after the other;
    the others follow the last. The last of several chunks waits for a slot below its limit.
    """
    slots, decodes = inputs.facts[STAGES], max(inputs.facts[DECODES], LEAST)
    decoding = max(concurrency - filling, LEAST)
    rows = decoding / slots
    beside = min(rows, inputs.budgets[budget] - 1.0)
    work = prompt_of(inputs, budget, beside, WORK)
    cross = prompt_of(inputs, budget, beside, CROSS)
    fill = prompt_of(inputs, budget, beside, CROSSED)
    plain = slots_ps(inputs, max(1.0, rows), max(1.0, concurrency / slots), min(slots, decoding))
    leave = decoding / decodes
    some = 1.0 - math.exp(-leave)
    taken = gathered(leave) * work
    long = fill + taken - work
    long -= max(0.0, taken - cross / slots) * min(1.0, taken / cross) / 2.0
    cycle = (1.0 - some) * plain + some * max(cross, long)
    fill += (1.0 - prompt_of(inputs, budget, beside, ONCE)) * min(cycle / leave, cycle)
    return cycle, work, fill


@called
def pipeline_at_load(
    inputs: Any, budget: int, concurrency: float, rate: float, decoding: float
) -> tuple[float, float, float, float, float]:
    """At ``rate`` requests per picosecond and ``decoding`` decodes: the mean cycle that a request
    sees, a cycle with chunks and the share of time with them, the time of a prefill and the wait
    for it."""
    slots = inputs.facts[STAGES]
    rows = max(1.0, decoding / slots)
    beside = min(decoding / slots, inputs.budgets[budget] - 1.0)
    work = prompt_of(inputs, budget, beside, WORK)
    cross = prompt_of(inputs, budget, beside, CROSS)
    fill = prompt_of(inputs, budget, beside, CROSSED)
    active = min(slots, decoding + 1.0)
    stage = stage_ps(inputs, rows)
    gap = max(0.0, cross - work - (active - 1.0) * stage)
    share = streaming_share(inputs, rate, (work, fill), 0.0)
    group = (1.0 + share) / max(1.0 - share, 1.0 - FULLEST)
    empty = open_slot(slots, decoding + rate * fill, group)
    closed = (1.0 - empty) * gap
    share = streaming_share(inputs, rate, (work, fill), closed)
    short = prompt_of(inputs, budget, beside, SHORT)
    more = min(prompt_of(inputs, budget, beside, ROOM), share * rate * closed * gap / fill)
    more *= prompt_of(inputs, budget, beside, GAIN) * short * (1.0 + short) / 2.0
    share = streaming_share(inputs, rate, (work, fill + more / 2.0), closed)
    fullest = fullest_rows(inputs, concurrency, (decoding, share, share * closed / fill))
    fullest = max(1.0, empty + (1.0 - empty) * fullest)
    plain = slots_ps(inputs, rows, fullest, active)
    load = min(rate * work, FULLEST)
    wait = queue_wait_ps(load, work, short, inputs.facts[VARIED])
    wait += share * closed * gap / (2.0 * fill)
    spare = max(stage, plain - (active - 1.0) * stage)
    rests = active * stage * stage + (1.0 - empty) * spare * spare
    wait += (1.0 - share) * rests / (2.0 * plain)
    cross += more + empty * min(cross, max(0.0, fill - cross))
    built = built_up(rate * fill, False) / (rate * max(inputs.facts[DECODES], 1.0))
    state = decoding, fullest / rows, built
    cycle = seen_cycle_ps(inputs, concurrency, state, (plain, cross, share, group))
    fill += more + load * prompt_of(inputs, budget, beside, HELD)
    return cycle, cross, share, fill, wait


@called
def queue_wait_ps(load: float, work: float, short: float, varied: float) -> float:
    """Mean wait for the chunks at the first stage, which runs one prompt after the other.

    The queue of one server (M/G/1); but ``short`` prompts join the next batch, and only wait for
    the current one.
    """
    return (short + (1.0 - short) * (1.0 + varied) / (1.0 - load)) * load * work / 2.0


@called
def seen_cycle_ps(
    inputs: Any,
    concurrency: float,
    state: tuple[float, float, float],
    modes: tuple[float, float, float, float],
) -> float:
    """The mean cycle over requests, from cycles without and with chunks, the ``share`` of these,
    and the burstiness of arrivals. ``state``: number of decodes, rows of the fullest slot over the
    mean, and prompts done at a random moment of a busy period, per arriving step."""
    decoding, lead, built = state
    plain, cross, share, group = modes
    slots = inputs.facts[STAGES]
    active = min(slots, decoding + 1.0)
    steady = mix_ps(plain, cross, share)
    group /= 1.0 - (1.0 - share) * steady / plain * slowed(inputs, decoding, active, slots)
    decode = seen_stream_ps(
        inputs, concurrency, (decoding, lead), group * max(inputs.facts[RANDOM], 1e-6)
    )
    odds = share / max(1.0 - share, LEAST)
    odds *= 1.0 + built / decode
    return mix_ps(decode, cross, odds / (1.0 + odds))


@called
def streaming_share(inputs: Any, rate: float, prompt: tuple[float, float], closed: float) -> float:
    """The share of time with a chunk in flight.

    ``prompt`` is a prompt's time at the slowest stage, and from there to the end of its last chunk.
    No chunk is in flight if the first stage was without one that difference ago, and none has
    arrived since. Arrivals in the fraction ``closed`` of that time wait for its end, so that busy
    periods are those of group arrivals.
    """
    work, fill = prompt
    load = min(rate * work, FULLEST)
    none = (1.0 - load) * math.exp(-rate * max(0.0, fill - work))
    odds = (1.0 - none) / max(none, LEAST) * gathered(rate * closed)
    chance = inputs.facts[RANDOM]  # prompts with regular arrivals follow one another
    return float(chance * odds / (1.0 + odds) + (1.0 - chance) * min(rate * fill, FULLEST))


@called
def fullest_rows(inputs: Any, concurrency: float, state: tuple[float, float, float]) -> float:
    """Rows of the fullest slot for ``decoding`` decodes, a ``share`` of time with chunks, and the
    probability ``again`` that a prompt ends in the slot of the previous one.

    With random assignment it is the maximum of as many Poisson numbers. But the slot of the last
    chunk returns first, so that consecutive requests join one slot, and the fullest slot is first
    after the gap. Its rows are limited by ``concurrency``.
    """
    decoding, share, again = state
    slots = inputs.facts[STAGES]
    mean = decoding / slots
    groups = (1.0 + again) / (1.0 - again)
    most = mean + inputs.facts[LARGEST] * math.sqrt(mean * groups)
    swept = slots * stage_ps(inputs, max(1.0, mean)) / slots_ps(inputs, 1.0, max(1.0, most), 1.0)
    ahead = (1.0 - share) * max(0.0, 1.0 - swept)
    led = decoding * (ahead + (1.0 - ahead - again) / slots) / (1.0 - again)
    most = max(most, led)
    return capped(math.ceil(concurrency / slots), most, math.sqrt(most))


@called
def seen_stream_ps(
    inputs: Any, concurrency: float, state: tuple[float, float], group: float
) -> float:
    """A decode step averaged over requests, which is longer than the average over time.

    The number of decodes is evaluated one standard deviation below and above its mean over
    requests, which exceeds that over time by ``group``, variance over mean: requests of one busy
    period decode together after it. The fullest slot has ``lead`` times the mean.
    """
    decoding, lead = state
    replicas, slots = inputs.facts[REPLICAS], inputs.facts[STAGES]
    group *= limited((concurrency - decoding) / math.sqrt(group * decoding + 1e-12))
    mean = decoding * replicas + group
    deviation = math.sqrt(group * decoding * replicas)
    most, pace = concurrency * replicas, 0.0
    for number in (min(most, mean - deviation), min(most, mean + deviation)):
        rows = max(1.0, number / (slots * replicas))
        fullest = min(math.ceil(concurrency / slots), rows * lead)
        pace += 0.5 / slots_ps(inputs, rows, fullest, min(slots, max(1.0, number / replicas)))
    return float(1.0 / pace)
