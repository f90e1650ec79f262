"""Compiled: the rate at which a candidate is full, and what it is like below that."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.cycle import (
    DECODES,
    REPLICAS,
    RETURN_PS,
    STAGES,
    VARIED,
    decode_ps,
    fuller,
    idle_share,
    mix_ps,
    prefill_ps,
)

FULLEST = 0.98
"""Of the time that slots may be busy with prompts; above it nothing decodes."""
BEHIND = 0.2
"""How often a short step runs behind another slot's long one, as a part of the time in which there
is a long one: the slot comes from a long step of its own, and others run behind it. Measured."""
SELDOM = 1e6
"""One in so many need not wait for a seat."""
MANY = 8.0
"""Deviations of a Poisson number: beyond them no more requests are ever inside."""
TURNS = 30
CLOSE = 1e-4


@called
def company(come: float, slots: float) -> float:
    """Prompts in a chunk where ``come`` arrive in a slot's cycle; slots share out what comes."""
    if slots > 1.0:
        return max(1.0, come)
    return float(come / (1.0 - math.exp(-come))) if come > 1e-6 else 1.0


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
def look(
    laid: Any,
    budget: float,
    decoding: float,
    filling: float,
    tagged: float,
) -> tuple[float, float, float, float, float, float]:
    """The mean cycle where ``decoding`` and ``filling`` requests of a replica do so.

    Also: how long a request's prompt takes, the cycle with a chunk, that without, and the share of
    time with a chunk. ``tagged`` is 1 for what one more request sees, 0 for the replica by itself.
    """
    slots = laid.facts[STAGES]
    rows = decoding / slots
    if tagged > 0.0:
        rows = fuller(decoding * laid.facts[REPLICAS], slots * laid.facts[REPLICAS])
    active = min(slots, decoding + tagged)
    decode, slowest = decode_ps(laid, max(1.0, rows), active)
    beside = min(decoding / slots, budget - 1.0)
    joined = company(decoding / slots / max(laid.facts[DECODES], 1.0), slots)
    queued = min(1.0, filling / slots)
    share = 1.0 - idle_share(min(filling, FULLEST * slots), slots)
    behind = BEHIND * share if slots > 1.0 else 0.0
    chunks, loops, slow, fill = prefill_ps(laid, beside, budget - beside, joined, queued, behind)
    if slots > 1.0 and filling > 1e-9:
        come = filling / chunks
        odds = share / (1.0 - share) * come / (1.0 - math.exp(-come))
        share = odds / (1.0 + odds)
    at_once = min(slots, filling / share) if share > 1e-9 else 1.0
    lasts = max(loops, slow * at_once + chunks * slowest * max(0.0, active - at_once)) / loops
    chunk = lasts * loops / chunks
    if tagged > 0.0 and share < 1.0 and filling > 0.0:
        rate = filling / (lasts * loops)
        more = built_up(filling, slots) / (rate * max(laid.facts[DECODES], 1.0) * decode)
        odds = share / (1.0 - share) * (1.0 + more)
        seen = odds / (1.0 + odds)
    else:
        seen = share
    cycle = mix_ps(decode, chunk, seen)
    return cycle, lasts * loops, lasts * fill, chunk, decode, share


@called
def full_rate(
    laid: Any,
    budget: float,
    seats: float,
) -> tuple[float, float, float, float]:
    """Requests per picosecond of a replica whose ``seats`` are never empty; the mean cycle, how
    many of them fill, and how long a prompt takes.

    Whoever is not decoding is filling: sought, by false position, where as many fill as come to.
    """
    decodes = max(laid.facts[DECODES], 1e-9)
    low, high = 0.0, FULLEST * min(laid.facts[STAGES], seats)
    most = high
    above, below = seats, -seats  # how far from balance either end is, until it is known
    rate = cycle = filling = fill_ps = 0.0
    side = 0  # which end was moved last: one that stays is made lighter
    for _ in range(TURNS):
        filling = (low * below - high * above) / (below - above)
        cycle, work_ps, fill_ps, _c, _d, _s = look(laid, budget, seats - filling, filling, 0.0)
        rate = min((seats - filling) / (decodes * cycle), most / work_ps)
        off = rate * work_ps - filling
        if abs(off) < CLOSE * filling or high - low < CLOSE * high:
            break
        if off > 0.0:
            below *= 0.5 if side > 0 else 1.0
            low, above, side = filling, off, 1
        else:
            above *= 0.5 if side < 0 else 1.0
            high, below, side = filling, off, -1
    return rate, cycle, filling, fill_ps


@called
def latency(
    laid: Any,
    budget: float,
    seats: float,
    rate: float,
    most: float,
    start: float,
    filling: float,
) -> tuple[float, float, float]:
    """TTFT, TPOT and requests in a replica to which ``rate`` requests per picosecond come."""
    cycle = guess = start
    last_guess = last_off = 0.0
    work_ps = fill_ps = chunk = decode = share = 0.0
    for turn in range(TURNS):
        cycle, work_ps, fill_ps, chunk, decode, share = look(
            laid, budget, rate * laid.facts[DECODES] * guess, filling, 1.0
        )
        filling = rate * work_ps
        off = cycle - guess
        if abs(off) < CLOSE * cycle:
            break
        step = off
        if turn > 0 and last_off != off:  # the secant, where it leads on
            slope = (off - last_off) / (guess - last_guess)
            step = -off / slope if slope < -0.05 else off
        last_guess, last_off = guess, off
        guess = max(0.2 * guess, guess + step)
    inside = rate * (fill_ps + laid.facts[DECODES] * cycle)
    under_way = (1.0 - share) * decode / 2.0
    if laid.facts[STAGES] > 1.0:
        under_way += share * chunk / 2.0
    wait = wait_ps(laid, rate, inside, work_ps, under_way)
    seldom = inside + MANY * math.sqrt(inside / laid.facts[REPLICAS])
    if seats > seldom:
        return wait + fill_ps - laid.facts[RETURN_PS], cycle, inside
    decoding = max(0.0, seats - filling)  # at the rate that comes, but with no seat free
    at_full, _w, taken_ps, _c, _d, _s = look(laid, budget, decoding, filling, 0.0)
    full = taken_ps + laid.facts[DECODES] * at_full
    wait += seated_ps(laid.facts[REPLICAS], inside, seats, rate, most, full)
    return wait + fill_ps - laid.facts[RETURN_PS], cycle, inside


@called
def queue_ps(offered: float, servers: float, service: float) -> float:
    """Mean wait of Poisson arrivals for one of ``servers`` of constant service.

    Sakasegawa's approximation of the M/M/c queue, halved.
    """
    load = min(offered / servers, FULLEST)
    power = math.sqrt(2.0 * (servers + 1.0)) - 1.0
    return float(0.5 * service * load**power / (servers * (1.0 - load)))


@called
def seated_ps(
    replicas: float, inside: float, seats: float, rate: float, most: float, full: float
) -> float:
    """Mean wait of Poisson arrivals for a seat, where full seats serve ``most``, ``inside`` of them
    are taken on the mean and a stay beside no free seat is ``full``; each of one replica.

    Births and deaths as in Erlang's formula, but for a stay that is longer the more share the
    steps: linear through what it is for those inside and with full seats. What waits goes at the
    pace of full seats. Stays are alike: half of the wait of exponential ones, with Cosmetatos'
    correction for many servers.
    """
    rate = min(rate, FULLEST * most)
    stay = inside / rate
    inside, seats = inside * replicas, seats * replicas
    rate, most = rate * replicas, most * replicas
    slope = max(0.0, full - stay) / max(seats - inside, 1.0)
    inverse = 1.0  # of the part that Erlang's loss formula turns away
    for servers in range(1, int(seats) + 1):
        offered = rate * max(stay / 2.0, full - slope * (seats - servers))
        inverse = 1.0 + servers / offered * inverse
        if inverse > SELDOM:
            return 0.0
    whole = math.floor(seats)
    inverse += (seats - whole) * (1.0 + (whole + 1.0) / (rate * full) * inverse - inverse)
    load = rate / most
    none_free = 1.0 / (inverse * (1.0 - load) + load)
    many = (1.0 - load) * (seats - 1.0) * (math.sqrt(4.0 + 5.0 * seats) - 2.0)
    alike = 0.5 * (1.0 + many / (16.0 * load * seats))
    return float(min(1.0, alike) * none_free / (most - rate))


@called
def wait_ps(laid: Any, rate: float, inside: float, work_ps: float, under_way: float) -> float:
    """From arrival to the start of the first chunk: the step under way, prompts before.

    A prompt's work varies as its length does.
    """
    replicas = laid.facts[REPLICAS]
    slots = laid.facts[STAGES] * replicas
    mean = max(inside * replicas, 1e-12)
    idle = math.exp(-mean)
    if slots > 1.0:
        idle = 0.5 * (1.0 + math.erf((slots - 0.5 - mean) / math.sqrt(2.0 * mean)))
    vary = 1.0 + laid.facts[VARIED]
    ahead = vary * queue_ps(rate * work_ps * replicas, slots, work_ps)
    if slots > 1.0:  # the emptiest slot may hold a long prompt
        filling = vary * rate * work_ps / laid.facts[STAGES]
        ahead += filling * work_ps / 2.0 * (1.0 - math.exp(-filling))
    return float((1.0 - idle) * under_way + ahead)
