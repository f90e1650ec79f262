"""Rounds of a collective over ways: as one leg each, or as messages that go their own ways."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.machine.fabric.flows import flows
from cluster.machine.fabric.legs import Leg, TransferList, leg_of
from cluster.machine.fabric.resources import Resources, Ways
from cluster.machine.fabric.rounds import Round
from cluster.machine.tables import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Messages:
    """What a collective sends, round by round; f messages."""

    round: Integers
    """[f] from 0, never falling."""
    source: Integers
    """[f] position in the group."""
    target: Integers
    transfer: Integers
    """[f] what each message does, in the ``Transfers`` of the run."""
    after_ps: Integers
    """[rounds] what a rank that received in a round does before its next one: adding."""


def round_steps(
    resources: Resources,
    ways: Ways,
    ranks: Integers,
    rounds: Sequence[Round],
    payload_bytes: int,
) -> tuple[Leg, ...]:
    """One leg for each round: its longest latency, then the time of its slowest link.

    ``ranks[position]`` are endpoints of the ways.
    """
    if not rounds or payload_bytes == 0:
        return (leg_of(resources, 0, 0, np.zeros(0)),)
    return tuple(
        leg
        for one in rounds
        for leg in flows(
            resources,
            ways,
            ranks[one.source].tolist(),
            ranks[one.target].tolist(),
            one.share * payload_bytes * one.source.size,
        )
    )


def messages(
    transfers: TransferList,
    resources: Resources,
    ways: Ways,
    ranks: Integers,
    rounds: Sequence[Round],
    payload_bytes: int,
) -> Messages:
    """Every message of every round as a transfer of its own."""
    none = np.zeros(0, np.int64)
    numbers = [
        transfers.add(flows(resources, ways, [source], [target], one.share * payload_bytes))
        for one in rounds
        for source, target in zip(ranks[one.source], ranks[one.target], strict=True)
    ]
    sizes = [one.source.size for one in rounds]
    return Messages(
        round=np.repeat(np.arange(len(rounds)), np.array(sizes, np.int64)),
        source=np.concatenate([none, *(one.source for one in rounds)]),
        target=np.concatenate([none, *(one.target for one in rounds)]),
        transfer=np.array(numbers, np.int64),
        after_ps=np.zeros(len(rounds), np.int64),
    )
