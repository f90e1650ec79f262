"""Collectives over the cards of a group as transfers, with the closed forms' times and bytes.

A coflow is one leg: the schedule that the closed form chooses, with its chunks, at a constant rate.
That is exact without other traffic, and if all its links are slowed equally. ``steps`` has one leg
per round of an algorithm instead, without chunks.
"""

import math
from collections.abc import Sequence

import numpy as np

from cluster.perf_model.collectives.algorithms.rounds import Round
from cluster.perf_model.collectives.cost import Cost, call_cost
from cluster.perf_model.collectives.group import Group
from cluster.perf_model.collectives.resources import Resources
from cluster.perf_model.collectives.round_cost import RoundCost
from cluster.perf_model.collectives.schedule import Schedule, fastest
from cluster.perf_model.collectives.transfer_legs import Leg, leg_of, no_transfer
from corsair_common.units import PS_PER_S, Floats, Integers


def coflows(
    resources: Resources,
    group: Group,
    collective: str,
    payload_bytes: Integers,
    algorithm: str = "auto",
    chunks: int | str = "auto",
) -> list[tuple[Leg, ...]]:
    """One leg for each payload; without other traffic its time is that of ``call_cost``.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    payload = np.asarray(payload_bytes, np.float64)
    if not group.tiers:
        return [no_transfer() for _ in payload]
    found, _, which = fastest(group, collective, payload, algorithm, chunks)
    alone_ps = call_cost(group, collective, payload_bytes, algorithm, chunks).ps
    loads = {index: _schedule_bytes(resources, group, found[index]) for index in np.unique(which)}
    return [
        (
            leg_of(
                resources,
                int(alone_ps[row]),
                round(math.fsum(one.fixed_s for one in found[which[row]]) * PS_PER_S),
                loads[which[row]] * payload[row],
            ),
        )
        for row in range(payload.size)
    ]


def curve_leg(resources: Resources, group: Group, cost: Cost) -> Leg:
    """A collective whose time the device knows, its bytes spread evenly over that time.

    Every card sends each other card an equal part of what it puts on the network.
    """
    cards = len(group.cards)
    sent = np.full((cards, cards), cost.tier_bytes[0].sum() / (cards - 1))
    np.fill_diagonal(sent, 0.0)
    moved = np.zeros(len(resources.capacity_bytes_per_s))
    moved[group.fabric.link] = group.fabric.link_bytes(sent)
    return leg_of(resources, int(cost.ps[0]), 0, moved)


def steps(
    resources: Resources, group: Group, collective: str, payload_bytes: int, algorithm: str
) -> tuple[Leg, ...]:
    """One leg for each round of the algorithm in sequence, with the unchunked time.

    Of a hierarchical algorithm the fastest top tier is chosen.
    """
    if not group.tiers:
        return no_transfer()
    legs = []
    total_s, before_ps = 0.0, 0
    for one, cost in unchunked(group, collective, payload_bytes, algorithm):
        moved_bytes = round_bytes(resources, group, cost) * (one.share * payload_bytes)
        fixed_s = cost.latency_s + cost.messages * group.message_s
        per_byte_s = one.share * float(cost.busy_s_per_byte.max())
        per_byte_s += one.added * group.add_s_per_byte
        for _ in range(one.times):
            total_s += fixed_s + per_byte_s * payload_bytes
            until_ps = max(round(total_s * PS_PER_S), before_ps + 1)
            legs.append(
                leg_of(resources, until_ps - before_ps, round(fixed_s * PS_PER_S), moved_bytes)
            )
            before_ps = until_ps
    return tuple(legs)


def unchunked(
    group: Group, collective: str, payload_bytes: int, algorithm: str
) -> list[tuple[Round, RoundCost]]:
    """The rounds of the fastest schedules with one chunk."""
    payload = np.array([payload_bytes], np.float64)
    found, _, which = fastest(group, collective, payload, algorithm, 1)
    return [each for schedule in found[int(which[0])] for each in schedule.rounds]


def round_bytes(resources: Resources, group: Group, cost: RoundCost) -> Floats:
    """[r] bytes on each resource per byte of the round's share of the payload."""
    rates, cards = group.fabric.interior, group.cards
    moved = np.zeros(len(resources.capacity_bytes_per_s))
    for kind, busy, rate in (
        ("d2d", cost.package, rates.package_bytes_per_s),
        ("package out", cost.out, rates.package_link_bytes_per_s),
        ("package in", cost.into, rates.package_link_bytes_per_s),
    ):
        if np.isfinite(rate):  # else the card has no such link
            moved[resources.inside(cards, kind)] = busy.ravel() / (1 / rate)
    moved[group.fabric.link] = cost.links / group.fabric.link_s_per_byte
    return moved


def _schedule_bytes(resources: Resources, group: Group, following: Sequence[Schedule]) -> Floats:
    """[r] bytes on each resource per byte of payload, all rounds together."""
    total = np.zeros(len(resources.capacity_bytes_per_s))
    for one, cost in (each for schedule in following for each in schedule.rounds):
        total += round_bytes(resources, group, cost) * (one.times * one.share)
    return total
