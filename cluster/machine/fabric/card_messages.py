"""Collectives between cards as messages: each from one card to another, on its own way.

The steps are those of ``steps``: the algorithm that is cheapest in one chunk, step by step. What a
step moves from card to card becomes one message for each pair of cards, which holds what all
chiplets of the one have for all chiplets of the other. What it moves inside a card stays a piece of
work of that card over its own capacities, written as a message of the card to itself.
"""

from collections.abc import Iterator

import numpy as np

from cluster.machine.collective.algorithms import patterns, schedules
from cluster.machine.collective.cost import cheapest, picoseconds
from cluster.machine.collective.fabric import Floats, Step
from cluster.machine.collective.group import Group
from cluster.machine.collective.schedule import Phase
from cluster.machine.fabric.coflows import step_bytes
from cluster.machine.fabric.flows import flows
from cluster.machine.fabric.legs import Leg, TransferList, leg_of
from cluster.machine.fabric.messages import Messages
from cluster.machine.fabric.resources import INSIDE, Resources, Ways


def card_messages(
    transfers: TransferList,
    resources: Resources,
    ways: Ways,
    group: Group,
    collective: str,
    payload_bytes: int,
    algorithm: str,
) -> Messages:
    """Every message of every step as a transfer of its own; positions are those in the group.

    A step that is done n times is n rounds. After a round a card that received adds for as long as
    the closed form says.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    payload = np.array([payload_bytes], np.float64)
    _, which, _ = cheapest(schedules(group, collective, algorithm), payload, 1)
    rounds: list[tuple[int, int, int, int]] = []
    after_ps: list[int] = []
    for phase in patterns(group, collective, algorithm)[which[0]][1]:
        sent = [
            (source, target, transfers.add((leg,)))
            for source, target, leg in _sent(resources, ways, group, phase, payload_bytes)
        ]
        add_s = phase.add_share * payload_bytes * group.add_s_per_byte
        for _ in range(phase.times):
            rounds += [(len(after_ps), *message) for message in sent]
            after_ps.append(round(add_s * 1e12))
    number, source, target, transfer = np.array(rounds, np.int64).reshape(-1, 4).T.copy()
    return Messages(
        round=number,
        source=source,
        target=target,
        transfer=transfer,
        after_ps=np.array(after_ps, np.int64),
    )


def _sent(
    resources: Resources, ways: Ways, group: Group, phase: Phase, payload_bytes: int
) -> Iterator[tuple[int, int, Leg]]:
    """Yield the messages between cards, then those inside each."""
    step, unit_bytes = phase.step, phase.share * payload_bytes
    issue_s = step.messages * group.message_s
    for source, target in np.argwhere(step.card_bytes > 0).tolist():
        moved_bytes = float(step.card_bytes[source, target]) * unit_bytes
        ends = [int(group.cards[source])], [int(group.cards[target])]
        (leg,) = flows(resources, ways, *ends, moved_bytes, issue_s)
        yield source, target, leg
    latency_s, per_byte_s = _inside(group, step)
    moved = step_bytes(resources, group, step) * unit_bytes
    for card in np.flatnonzero(per_byte_s).tolist():
        own = np.zeros(len(moved))
        for kind in INSIDE:
            places = resources.inside(group.cards[card : card + 1], kind)
            own[places] = moved[places]
        fixed_s = float(latency_s[card]) + issue_s
        seconds = np.array([fixed_s + float(per_byte_s[card]) * unit_bytes])
        alone_ps = int(picoseconds(seconds, np.array([unit_bytes]))[0])
        yield card, card, leg_of(resources, alone_ps, round(fixed_s * 1e12), own)


def _inside(group: Group, step: Step) -> tuple[Floats, Floats]:
    """[card] latency and slope of what a step asks of the inside of each card; 0 for nothing."""
    fabric = group.fabric
    packages = fabric.cards * fabric.packages
    ends = np.cumsum([packages * fabric.chiplets**2, packages, packages, packages])
    busy = np.split(step.busy_s_per_byte, ends)[:-1]
    mesh, total, out, into = (part.reshape(fabric.cards, -1).max(axis=1) for part in busy)
    latency_s = np.where(
        out > 0, fabric.package_latency_s, np.where(mesh > 0, fabric.d2d_latency_s, 0.0)
    )
    return latency_s, np.max([mesh, total, out, into], axis=0)
