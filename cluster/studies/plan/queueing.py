"""Compiled: waiting times for the first chunk in one stage, and for admission (max_num_seqs)."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.steps import REPLICAS, VARIED

SELDOM = 1e6
"""Inverse blocking probability above which the wait is neglected."""


@called
def wait_share(load: float, servers: float) -> float:
    """Probability that a Poisson arrival finds all of ``servers`` busy (Sakasegawa)."""
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
    """Residual time of the current step at an arrival to a slot with an empty queue.

    A server on vacation, first for the ``last`` step of an unshared prompt, then for decode steps
    until an arrival: the mean residual vacation, which every arrival waits in addition to the queue
    (M/G/1 with vacations).
    """
    steps = math.exp(-rate * last) / (1.0 - math.exp(-rate * decode))
    away = last + steps * decode
    return float((last * last + steps * decode * decode) / (2.0 * away))


@called
def one_slot_ps(
    inputs: Any, rate: float, prompt: tuple[float, float, float], seen: tuple[float, float, float]
) -> float:
    """Wait from arrival to the first chunk in a replica of one slot.

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
def admission_wait_ps(
    inside: float, concurrency: float, rate: float, most: float, ends: tuple[float, float]
) -> tuple[float, float]:
    """Mean wait of Poisson arrivals for admission, and the share of them that wait.

    The throughput at full ``concurrency`` is ``most``; ``inside`` requests are admitted on average;
    ``ends`` are the service times of a single request and at full concurrency.

    Birth-death queue (Erlang B) with a server per request whose service time grows with occupancy:
    linear from one request to ``inside``, and on to full concurrency. The queue drains at the rate
    of full concurrency. Service is deterministic: half of the wait of exponential service, with
    Cosmetatos' correction for many servers.
    """
    rate = min(rate, FULLEST * most)
    stay = inside / rate
    lone, full = ends
    above = max(0.0, full - stay) / max(concurrency - inside, 1.0)
    below = max(0.0, stay - lone) / max(inside - 1.0, 1.0)
    inverse = 1.0  # of the blocking probability of Erlang's loss formula
    for servers in range(1, int(concurrency) + 1):
        over = servers - inside
        offered = rate * (stay + over * (above if over > 0.0 else below))
        inverse = 1.0 + servers / offered * inverse
        if inverse > SELDOM:
            return 0.0, 0.0
    whole = math.floor(concurrency)
    inverse += (concurrency - whole) * (1.0 + (whole + 1.0) / (rate * full) * inverse - inverse)
    load = rate / most
    none_free = 1.0 / (inverse * (1.0 - load) + load)
    many = (1.0 - load) * (concurrency - 1.0) * (math.sqrt(4.0 + 5.0 * concurrency) - 2.0)
    alike = 0.5 * (1.0 + many / (16.0 * load * concurrency))
    return float(min(1.0, alike) * none_free / (most - rate)), float(none_free)
