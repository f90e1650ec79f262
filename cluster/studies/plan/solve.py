"""Compiled: the rate at which a candidate is full, and what it is like below that."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.cycle import (
    BEHIND,
    FULLEST,
    chunk_share,
    crowded,
    decode_ps,
    idle_share,
    long_ps,
    mix_ps,
    prompt_of,
    prompts_ps,
)
from cluster.studies.plan.steps import DECODES, RANDOM, REPLICAS, RETURN_PS, STAGES
from cluster.studies.plan.tabulate import LAST, SHORT, WORK
from cluster.studies.plan.waits import one_slot_ps, seated_ps, slots_ps, wait_share

MANY = 8.0
"""Deviations of a number of requests: beyond them no more are ever inside."""
MOST_SLOWED = 0.8
TURNS = 60
CLOSE = 1e-8
"""What is left of a difference when a search ends, as a part of what is sought."""


@called
def full_look(
    given: Any, budget: int, seats: float, filling: float
) -> tuple[float, float, float, float]:
    """Of a replica of whose ``seats``, all taken, ``filling`` are with their prompts: the mean
    cycle, a request's steps with chunks, the time of its prompt, the share of time with chunks."""
    slots = given.facts[STAGES]
    decoding = seats - filling
    beside = min(decoding / slots, given.budgets[budget] - 1.0)
    queued = min(1.0, filling / slots)
    chunks, loops, slow, fill, held, held_fill = prompts_ps(given, budget, beside, queued)
    if slots > 1.0:
        behind = BEHIND * (1.0 - idle_share(min(filling, FULLEST * slots), slots))
        loops, fill = loops + behind * held, fill + behind * held_fill
    share = chunk_share(filling, slots, chunks, 1.0)
    lasts = crowded(given, decoding, filling, share, (chunks, loops, slow))
    chunk = lasts * loops / chunks
    decode = decode_ps(given, max(1.0, decoding / slots), min(slots, decoding))
    return mix_ps(decode, chunk, share), lasts * loops, lasts * fill, share


@called
def full_rate(
    given: Any, budget: int, seats: float, guess: float
) -> tuple[float, float, float, float]:
    """Requests per picosecond of a replica whose ``seats`` are never empty; the mean cycle, how
    many of them fill, and how long a prompt takes.

    Whoever is not decoding is filling: sought, by secants in a bracket, where as many fill as come
    to.
    """
    decodes = max(given.facts[DECODES], 1e-9)
    most = FULLEST * min(given.facts[STAGES], seats)
    low, high = 0.0, most
    filling = guess * most
    before = off_before = 0.0
    rate = cycle = fill_ps = 0.0
    for turn in range(TURNS):
        cycle, work_ps, fill_ps, _ = full_look(given, budget, seats, filling)
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
    return rate, cycle, filling, fill_ps


@called
def _secant(place: float, off: float, before: float, off_before: float) -> float:
    """The step to where the line through two points is zero."""
    return float(off * (place - before) / (off_before - off))


@called
def rate_look(
    given: Any, budget: int, seats: float, rate: float, decoding: float
) -> tuple[float, tuple[float, float, float], tuple[float, float, float], float]:
    """Of a replica to which ``rate`` requests per picosecond come and where ``decoding`` decode.

    The mean cycle that a request sees; a decode step, a step with a chunk, and the share of time
    with chunks; of a request its steps with chunks, the time of its prompt, and those that wait
    beside it; how likely a slot is empty.
    """
    slots, decodes = given.facts[STAGES], max(given.facts[DECODES], 1.0)
    beside = min(decoding / slots, given.budgets[budget] - 1.0)
    load = min(rate * prompt_of(given, budget, beside, WORK) / slots, FULLEST)
    queued = load if slots <= 1.0 else wait_share(load, slots * given.facts[REPLICAS])
    chunks, loops, slow, fill, held, held_fill = prompts_ps(given, budget, beside, queued)
    long_steps, long_loops = long_ps(given, budget, beside, queued)
    busy = rate * (loops if slots <= 1.0 else long_loops)
    share = 1.0 - idle_share(min(busy, FULLEST * slots), slots)
    plain = decode_ps(given, max(1.0, decoding / slots), min(slots, decoding + 1.0))
    group = grouped(slots, share * max(0.0, 1.0 - plain * long_steps / long_loops))
    empty, chunk = 0.0, loops / chunks
    if slots > 1.0:
        empty = open_slot(slots, decoding + busy, group)
        loops, fill = loops + BEHIND * share * held, fill + BEHIND * share * held_fill
        share = chunk_share(busy, slots, long_steps, 1.0 - empty)
        chance = given.facts[RANDOM]  # prompts that come in step follow one another
        share = chance * share + (1.0 - chance) * min(busy, FULLEST)
        lasts = crowded(given, decoding + 1.0, busy, share, (long_steps, long_loops, slow))
        loops, fill, chunk = loops * lasts, fill * lasts, lasts * long_loops / long_steps
    steady = mix_ps(plain, chunk, share)
    group /= 1.0 - (1.0 - share) * steady / plain * slowed(given, decoding, plain)
    decode = seen_decode_ps(given, seats, decoding, group * max(given.facts[RANDOM], 1e-6))
    odds = share / max(1.0 - share, 1e-9)
    odds *= 1.0 + built_up(busy, slots) / (rate * decodes * decode)
    cycle = mix_ps(decode, chunk, odds / (1.0 + odds))
    return cycle, (plain, chunk, share), (loops, fill, rate * loops), empty


@called
def built_up(filling: float, slots: float) -> float:
    """How many of the prompts of a busy time are done at a moment of it, as a part of all of them.

    Starts and ends of a busy time look alike in both directions of time, so a moment finds
    ``(E[n B] - w E[n]) / (2 E[B])`` done, for n prompts of w each in a time B: known in closed form
    for one server of constant service, and for servers without number.
    """
    if filling < 1e-6:
        return 0.0
    if slots > 1.0:
        return float(1.0 - filling / (math.exp(filling) - 1.0))
    load = min(filling, FULLEST)
    return float((1.0 / (1.0 - load) - (1.0 - load)) / 2.0)


@called
def grouped(slots: float, stalled: float) -> float:
    """Variance over mean of the number inside: requests that come in one busy time decode together
    after it, and so seem to come in a group.

    With the chance ``stalled`` that nothing decodes, the squared mean over the mean of the number
    in a busy time: that of one server (Borel's), or of slots without number (geometric).
    """
    alone = max(1.0 - stalled, 1.0 - FULLEST)
    return float(1.0 / (alone * alone) if slots <= 1.0 else 2.0 / alone - 1.0)


@called
def slowed(given: Any, decoding: float, plain: float) -> float:
    """By how many per cent a decode step gets longer with one per cent more that decode.

    Where all share a server that so slows down, variance over mean of their number is 1 / (1 - e).
    """
    slots = given.facts[STAGES]
    more = decoding + math.sqrt(decoding)
    longer = decode_ps(given, max(1.0, more / slots), min(slots, decoding + 1.0)) / plain - 1.0
    return float(min(MOST_SLOWED, longer * math.sqrt(decoding)))


@called
def open_slot(slots: float, inside: float, group: float) -> float:
    """The chance that fewer are inside than there are slots, their number taken for a normal."""
    deviation = math.sqrt(2.0 * max(inside * group, 1e-12))
    return float(0.5 * (1.0 + math.erf((slots - 0.5 - inside) / deviation)))


@called
def seen_decode_ps(given: Any, seats: float, decoding: float, group: float) -> float:
    """A decode step as a request sees it: where there are many, there are many to see it.

    Their number is taken at a deviation below and above its mean among requests, which is higher
    than that over time by variance over mean. They are dealt evenly over slots and replicas: slots
    have whole numbers of rows, and a request is more likely among the more (by 1/6 over the mean
    where all remainders are alike).
    """
    replicas = given.facts[REPLICAS]
    slots = given.facts[STAGES]
    group *= limited((seats - decoding) / math.sqrt(group * decoding + 1e-12))
    mean = decoding * replicas + group
    deviation = math.sqrt(group * decoding * replicas)
    most = seats * replicas
    pace = 0.0
    for number in (min(most, mean - deviation), min(most, mean + deviation)):
        rows = max(1.0, number / (slots * replicas))
        rows += 1.0 / (6.0 * rows) if slots > 1.0 else 0.0
        pace += 0.5 / decode_ps(given, rows, min(slots, max(1.0, number / replicas)))
    return float(1.0 / pace)


@called
def limited(above: float) -> float:
    """What is left of the variance of a normal number that cannot exceed its mean by more than so
    many deviations."""
    density = math.exp(-0.5 * above * above) / math.sqrt(2.0 * math.pi)
    below = density / (0.5 * (1.0 + math.erf(above / math.sqrt(2.0))))
    return float(1.0 - above * below - below * below)


@called
def settled(
    given: Any, budget: int, seats: float, rate: float, decoding: float
) -> tuple[float, float, tuple[float, float, float], tuple[float, float, float], float]:
    """As many decode as come and stay: their number, sought from ``decoding`` on by secants in a
    bracket, and what ``rate_look`` says of it."""
    decodes = given.facts[DECODES]
    low, high = 0.0, seats
    before = off_before = cycle = empty = 0.0
    seen = prompt = (0.0, 0.0, 0.0)
    for turn in range(TURNS):
        cycle, seen, prompt, empty = rate_look(given, budget, seats, rate, decoding)
        off = rate * decodes * cycle - decoding
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
    return decoding, cycle, seen, prompt, empty


@called
def latency(
    given: Any, budget: int, seats: float, rate: float, full: tuple[float, float, float]
) -> tuple[float, float, float]:
    """TTFT, TPOT and requests in a replica to which ``rate`` requests per picosecond come.

    ``full`` are the rate and the stay of a request with all seats taken, and a guess of the cycle.
    """
    most, full_stay, guess = full
    decodes = given.facts[DECODES]
    start = min(seats, rate * decodes * guess)
    decoding, cycle, seen, prompt, empty = settled(given, budget, seats, rate, start)
    work_ps, fill_ps, filling = prompt
    inside = rate * fill_ps + decoding
    beside = min(decoding / given.facts[STAGES], given.budgets[budget] - 1.0)
    short = prompt_of(given, budget, beside, SHORT)
    if given.facts[STAGES] > 1.0:
        wait = slots_ps(given, filling, work_ps, empty, short, seen)
    else:
        work = prompt_of(given, budget, beside, WORK)
        last = prompt_of(given, budget, beside, LAST)
        wait = one_slot_ps(given, rate, (work, short, last), seen)
    replicas = given.facts[REPLICAS]
    if seats < inside + MANY * math.sqrt(inside / replicas):
        _, chunk, share = seen
        lone = fill_ps + decodes * mix_ps(decode_ps(given, 1.0, 1.0), chunk, share)
        of_all = (inside * replicas, seats * replicas, rate * replicas, most * replicas)
        seated, none_free = seated_ps(*of_all, (lone, full_stay))
        wait = (1.0 - none_free) * wait + seated  # both at once: a seat is free when a step ends
    return wait + fill_ps - given.facts[RETURN_PS], cycle, inside
