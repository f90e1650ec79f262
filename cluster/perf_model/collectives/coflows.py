"""Collectives over the cards of a group as transfers, with the closed forms' times and bytes.

A coflow is one leg: the schedule that the closed form chooses, chunks and all, spread evenly over
its time. That is exact without other traffic, and where all its links are slowed
alike. ``steps`` makes a leg of every round of an algorithm instead, without chunks.
"""

import numpy as np

from cluster.perf_model.collectives.cost import Cost, picoseconds
from cluster.perf_model.collectives.fabric import Floats, RoundCost
from cluster.perf_model.collectives.group import Group
from cluster.perf_model.collectives.resources import Resources
from cluster.perf_model.collectives.schedule import Schedule, cheapest, schedules
from cluster.perf_model.collectives.transfer_legs import Leg, leg_of, no_transfer
from cluster.perf_model.tables import Integers


def coflows(
    resources: Resources,
    group: Group,
    collective: str,
    payload_bytes: Integers,
    algorithm: str = "auto",
    chunks: int | str = "auto",
) -> list[tuple[Leg, ...]]:
    """One leg for each payload; alone it takes exactly what the closed form says.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    payload = np.asarray(payload_bytes, np.float64)
    if not group.tiers:
        return [no_transfer() for _ in payload]
    found = schedules(group, collective, algorithm)
    seconds, which = cheapest(found, payload, chunks)
    alone_ps = picoseconds(seconds, payload)
    loads = {index: _schedule_bytes(resources, group, found[index]) for index in np.unique(which)}
    return [
        (
            leg_of(
                resources,
                int(alone_ps[row]),
                round(found[which[row]].fixed_s * 1e12),
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
    """One leg for each round of the algorithm, one after the other, as long as if unchunked.

    Of a hierarchical algorithm the top tier that is cheapest is taken.
    """
    if not group.tiers or payload_bytes == 0:
        return no_transfer()
    legs = []
    total_s, before_ps = 0.0, 0
    for one, cost in unchunked(group, collective, payload_bytes, algorithm).rounds:
        moved = round_bytes(resources, group, cost) * (one.share * payload_bytes)
        fixed_s = cost.latency_s + cost.messages * group.message_s
        per_byte_s = one.share * float(cost.busy_s_per_byte.max())
        per_byte_s += one.added * group.add_s_per_byte
        for _ in range(one.times):
            total_s += fixed_s + per_byte_s * payload_bytes
            until_ps = max(round(total_s * 1e12), before_ps + 1)
            legs.append(leg_of(resources, until_ps - before_ps, round(fixed_s * 1e12), moved))
            before_ps = until_ps
    return tuple(legs)


def unchunked(group: Group, collective: str, payload_bytes: int, algorithm: str) -> Schedule:
    """The schedule that is cheapest in one chunk."""
    found = schedules(group, collective, algorithm)
    _, which = cheapest(found, np.array([payload_bytes], np.float64), 1)
    return found[int(which[0])]


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


def _schedule_bytes(resources: Resources, group: Group, schedule: Schedule) -> Floats:
    """[r] bytes on each resource per byte of payload, all rounds together."""
    total = np.zeros(len(resources.capacity_bytes_per_s))
    for one, cost in schedule.rounds:
        total += round_bytes(resources, group, cost) * (one.times * one.share)
    return total
