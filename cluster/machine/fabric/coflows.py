"""Collectives over the cards of a group as transfers, with the closed forms' times and bytes.

A coflow is one leg: the schedule that the closed form chooses, chunks and all, spread evenly over
its time. That is exact while nobody is in its way, and where all its links are slowed alike.
``steps`` makes a leg of every step of an algorithm instead, without chunks.
"""

from collections.abc import Sequence

import numpy as np

from cluster.machine.collective.algorithms import patterns, schedules
from cluster.machine.collective.cost import cheapest, picoseconds
from cluster.machine.collective.fabric import Floats, Step
from cluster.machine.collective.group import Group
from cluster.machine.collective.schedule import Phase
from cluster.machine.fabric.legs import Leg, leg_of
from cluster.machine.fabric.resources import Resources
from cluster.machine.tables import Integers


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
        return [(leg_of(resources, 0, 0, np.zeros(0)),) for _ in payload]
    candidates = schedules(group, collective, algorithm)
    phases = [found for _, found in patterns(group, collective, algorithm)]
    seconds, which, _ = cheapest(candidates, payload, chunks)
    alone_ps = picoseconds(seconds, payload)
    loads = {index: _bytes(resources, group, phases[index]) for index in np.unique(which)}
    return [
        (
            leg_of(
                resources,
                int(alone_ps[row]),
                round(candidates[which[row]].fixed_s * 1e12),
                loads[which[row]] * payload[row],
            ),
        )
        for row in range(payload.size)
    ]


def steps(
    resources: Resources, group: Group, collective: str, payload_bytes: int, algorithm: str
) -> tuple[Leg, ...]:
    """One leg for each step of the algorithm, one after the other; together as long as unchunked.

    Of a hierarchical algorithm the top tier that is cheapest is taken.
    """
    payload = np.array([payload_bytes], np.float64)
    if not group.tiers or payload_bytes == 0:
        return (leg_of(resources, 0, 0, np.zeros(0)),)
    _, which, _ = cheapest(schedules(group, collective, algorithm), payload, 1)
    legs = []
    total_s, before_ps = 0.0, 0
    for phase in patterns(group, collective, algorithm)[which[0]][1]:
        moved = step_bytes(resources, group, phase.step) * (phase.share * payload_bytes)
        fixed_s = phase.step.latency_s + phase.step.messages * group.message_s
        per_byte_s = phase.share * phase.step.slowest_s_per_byte
        per_byte_s += phase.add_share * group.add_s_per_byte
        for _ in range(phase.times):
            total_s += fixed_s + per_byte_s * payload_bytes
            until_ps = max(round(total_s * 1e12), before_ps + 1)
            legs.append(leg_of(resources, until_ps - before_ps, round(fixed_s * 1e12), moved))
            before_ps = until_ps
    return tuple(legs)


def step_bytes(resources: Resources, group: Group, step: Step) -> Floats:
    """[r] bytes on each resource per byte of the step's unit."""
    fabric = group.fabric
    packages = fabric.cards * fabric.packages
    ends = np.cumsum([packages * fabric.chiplets**2, packages, packages, packages])
    _, in_package, out, into, links = np.split(step.busy_s_per_byte, ends)
    moved = np.zeros(len(resources.capacity_bytes_per_s))
    moved[resources.inside(group.cards, "d2d")] = in_package / fabric.d2d_total_s_per_byte
    moved[resources.inside(group.cards, "package out")] = out / fabric.package_link_s_per_byte
    moved[resources.inside(group.cards, "package in")] = into / fabric.package_link_s_per_byte
    moved[fabric.link] = links / fabric.link_s_per_byte
    return moved


def _bytes(resources: Resources, group: Group, phases: Sequence[Phase]) -> Floats:
    """[r] bytes on each resource per byte of payload, all phases together."""
    total = np.zeros(len(resources.capacity_bytes_per_s))
    for phase in phases:
        total += step_bytes(resources, group, phase.step) * (phase.times * phase.share)
    return total
