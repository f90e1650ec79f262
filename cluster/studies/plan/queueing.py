"""Compiled: how long requests wait for their first chunk in one stage, and for a seat."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.steps import REPLICAS, VARIED

SELDOM = 1e6
"""One in so many need not wait for a seat."""


@called
def wait_share(load: float, servers: float) -> float:
    """The share of Poisson arrivals that find all of ``servers`` busy (Sakasegawa)."""
    return float(load ** (math.sqrt(2.0 * (servers + 1.0)) - 1.0))


@called
def queue_ps(offered: float, servers: float, service: float) -> float:
    """Mean wait of Poisson arrivals for one of ``servers`` of constant service.

    Sakasegawa's approximation of the M/M/c queue, halved.
    """
    load = min(offered / servers, FULLEST)
    return float(0.5 * service * wait_share(load, servers) / (servers * (1.0 - load)))


@called
def closing_ps(rate: float, last: float, decode: float) -> float:
    """What is left of the step under way when work comes to a slot whose queue has run empty.

    A server that is away, first for the ``last`` step of a prompt that nobody shares, then for
    decode steps until a request has come: the mean rest of such a time, which every arrival waits
    beside the queue itself (M/G/1 with vacations).
    """
    steps = math.exp(-rate * last) / (1.0 - math.exp(-rate * decode))
    away = last + steps * decode
    return float((last * last + steps * decode * decode) / (2.0 * away))


@called
def one_slot_ps(
    inputs: Any, rate: float, prompt: tuple[float, float, float], seen: tuple[float, float, float]
) -> float:
    """From arrival to the first chunk where a replica has one slot.

    ``prompt`` is its share of full steps, whether it fits one step, and its last step; ``seen`` are
    decode steps, steps with chunks, and the share of time in these.
    """
    work, short, last = prompt
    decode, chunk, share = seen
    replicas = inputs.facts[REPLICAS]
    vary = 1.0 + inputs.facts[VARIED]
    queue = vary * queue_ps(rate * work * replicas, replicas, work)
    rest = short * (share * chunk + (1.0 - share) * decode) / 2.0
    return float(queue + rest + (1.0 - short) * closing_ps(rate, last, decode))


@called
def seated_ps(
    inside: float, seats: float, rate: float, most: float, ends: tuple[float, float]
) -> tuple[float, float]:
    """Mean wait of Poisson arrivals for a seat, and how many of them wait.

    Full seats serve ``most`` and ``inside`` of them are taken on the mean; ``ends`` are the stay of
    one alone, and of one of full seats.

    Birth-death queue (Erlang B) whose service time grows with occupancy: the more share the
    steps: linear from one alone to those inside, and on to full seats. What waits goes at the pace
    of full seats. Stays are alike: half of the wait of exponential ones, with Cosmetatos'
    correction for many servers.
    """
    rate = min(rate, FULLEST * most)
    stay = inside / rate
    lone, full = ends
    above = max(0.0, full - stay) / max(seats - inside, 1.0)
    below = max(0.0, stay - lone) / max(inside - 1.0, 1.0)
    inverse = 1.0  # of the part that Erlang's loss formula turns away
    for servers in range(1, int(seats) + 1):
        over = servers - inside
        offered = rate * (stay + over * (above if over > 0.0 else below))
        inverse = 1.0 + servers / offered * inverse
        if inverse > SELDOM:
            return 0.0, 0.0
    whole = math.floor(seats)
    inverse += (seats - whole) * (1.0 + (whole + 1.0) / (rate * full) * inverse - inverse)
    load = rate / most
    none_free = 1.0 / (inverse * (1.0 - load) + load)
    many = (1.0 - load) * (seats - 1.0) * (math.sqrt(4.0 + 5.0 * seats) - 2.0)
    alike = 0.5 * (1.0 + many / (16.0 * load * seats))
    return float(min(1.0, alike) * none_free / (most - rate)), float(none_free)
