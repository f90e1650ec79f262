"""Compiled: a replica of several stages, through which prompts stream.

A prompt's chunks follow each other in the next batches at the first stage, whatever slots these
are. Since no batch overtakes another, all slots line up behind them; who has passed the first stage
is on its way until the chunks are through, and who comes now finds it idle, but no slot.
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
def stream_full(
    inputs: Any, budget: int, seats: float, filling: float
) -> tuple[float, float, float]:
    """Of a replica of whose ``seats``, all taken, ``filling`` are with their prompts: the mean
    cycle, how many prompts it takes at most in a picosecond, and the time of each.

    A seat that gets free is taken at once, in the next batch of its slot, so a cycle has chunks if
    anybody has finished in the one before. The slots that take them come back one after the other;
    the others follow the last. The last of several chunks waits for a slot that has a seat.
    """
    slots, decodes = inputs.facts[STAGES], max(inputs.facts[DECODES], LEAST)
    decoding = max(seats - filling, LEAST)
    rows = decoding / slots
    beside = min(rows, inputs.budgets[budget] - 1.0)
    work = prompt_of(inputs, budget, beside, WORK)
    cross = prompt_of(inputs, budget, beside, CROSS)
    fill = prompt_of(inputs, budget, beside, CROSSED)
    plain = slots_ps(inputs, max(1.0, rows), max(1.0, seats / slots), min(slots, decoding))
    leave = decoding / decodes
    some = 1.0 - math.exp(-leave)
    taken = gathered(leave) * work
    long = fill + taken - work
    long -= max(0.0, taken - cross / slots) * min(1.0, taken / cross) / 2.0
    cycle = (1.0 - some) * plain + some * max(cross, long)
    fill += (1.0 - prompt_of(inputs, budget, beside, ONCE)) * min(cycle / leave, cycle)
    return cycle, work, fill


@called
def stream_look(
    inputs: Any, budget: int, seats: float, rate: float, decoding: float
) -> tuple[float, float, float, float, float]:
    """To whom ``rate`` requests per picosecond come, while ``decoding`` decode: the mean cycle that
    a request sees, a cycle with chunks and the share of time with them, the time of a prompt and
    the wait for it."""
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
    fullest = fullest_rows(inputs, seats, (decoding, share, share * closed / fill))
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
    cycle = seen_cycle_ps(inputs, seats, state, (plain, cross, share, group))
    fill += more + load * prompt_of(inputs, budget, beside, HELD)
    return cycle, cross, share, fill, wait


@called
def queue_wait_ps(load: float, work: float, short: float, varied: float) -> float:
    """Mean wait for the chunks at the first stage, which takes one prompt after the other.

    The queue of one server of constant service (M/G/1); but ``short`` prompts go along with the
    next batch, and only wait for the one that is there.
    """
    return (short + (1.0 - short) * (1.0 + varied) / (1.0 - load)) * load * work / 2.0


@called
def seen_cycle_ps(
    inputs: Any,
    seats: float,
    state: tuple[float, float, float],
    modes: tuple[float, float, float, float],
) -> float:
    """The mean cycle as a request sees it, from cycles without and with chunks, the ``share`` of
    these, and how far requests come in groups. ``state``: how many decode, rows of the fullest slot
    over the mean, and prompts that are done at a moment of a busy time, per step that comes."""
    decoding, lead, built = state
    plain, cross, share, group = modes
    slots = inputs.facts[STAGES]
    active = min(slots, decoding + 1.0)
    steady = mix_ps(plain, cross, share)
    group /= 1.0 - (1.0 - share) * steady / plain * slowed(inputs, decoding, active, slots)
    decode = seen_stream_ps(
        inputs, seats, (decoding, lead), group * max(inputs.facts[RANDOM], 1e-6)
    )
    odds = share / max(1.0 - share, LEAST)
    odds *= 1.0 + built / decode
    return mix_ps(decode, cross, odds / (1.0 + odds))


@called
def streaming_share(inputs: Any, rate: float, prompt: tuple[float, float], closed: float) -> float:
    """The share of time in which some chunk is on its way.

    ``prompt`` is a prompt's time at the slowest stage, and from there to the end of its last chunk.
    There is no chunk on its way if the first stage had none the difference ago, and none has come
    since. Who comes in the part ``closed`` of that time waits for its end, so that busy times are
    those of arrivals in groups.
    """
    work, fill = prompt
    load = min(rate * work, FULLEST)
    none = (1.0 - load) * math.exp(-rate * max(0.0, fill - work))
    odds = (1.0 - none) / max(none, LEAST) * gathered(rate * closed)
    chance = inputs.facts[RANDOM]  # prompts that come in step follow one another
    return float(chance * odds / (1.0 + odds) + (1.0 - chance) * min(rate * fill, FULLEST))


@called
def fullest_rows(inputs: Any, seats: float, state: tuple[float, float, float]) -> float:
    """Rows of the fullest slot where all have some, with so many ``decoding``, a ``share`` of time
    with chunks, and the chance ``again`` that a prompt ends in the slot of the one before.

    Dealt by chance it has the most of that many Poisson numbers. But the slot that had the last
    chunk comes back first, so that several requests in succession go to one slot, and the fullest
    comes first after the gap that the others leave behind it. It takes no more than its seats.
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
    return capped(math.ceil(seats / slots), most, math.sqrt(most))


@called
def seen_stream_ps(inputs: Any, seats: float, state: tuple[float, float], group: float) -> float:
    """A decode step as a request sees it: where there are many, there are many to see it.

    Their number is taken at a deviation below and above its mean among requests, which is higher
    than that over time by ``group``, variance over mean: requests that come in one busy time decode
    together after it. The fullest slot has ``lead`` times the mean.
    """
    decoding, lead = state
    replicas, slots = inputs.facts[REPLICAS], inputs.facts[STAGES]
    group *= limited((seats - decoding) / math.sqrt(group * decoding + 1e-12))
    mean = decoding * replicas + group
    deviation = math.sqrt(group * decoding * replicas)
    most, pace = seats * replicas, 0.0
    for number in (min(most, mean - deviation), min(most, mean + deviation)):
        rows = max(1.0, number / (slots * replicas))
        fullest = min(math.ceil(seats / slots), rows * lead)
        pace += 0.5 / slots_ps(inputs, rows, fullest, min(slots, max(1.0, number / replicas)))
    return float(1.0 / pace)
