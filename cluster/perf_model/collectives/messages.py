"""Collectives as messages, each on its own path; on a plain network also as one leg a round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.perf_model.collectives.algorithms.rounds import Round
from cluster.perf_model.collectives.coflows import round_bytes, unchunked
from cluster.perf_model.collectives.cost import picoseconds
from cluster.perf_model.collectives.group import Group
from cluster.perf_model.collectives.point_to_point import flows
from cluster.perf_model.collectives.resources import INSIDE, Resources
from cluster.perf_model.collectives.round_cost import RoundCost
from cluster.perf_model.collectives.transfer_legs import (
    Leg,
    TransferList,
    lasting,
    leg_of,
    no_transfer,
)
from cluster.perf_model.protocols import Network
from corsair_common.units import PS_PER_S, Floats, Integers

Sent: TypeAlias = tuple[int, int, int]
"""Positions of source and target in the group, and the number of the transfer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Messages:
    """What a collective sends, round by round; f messages."""

    round: Integers
    """[f] from 0, non-decreasing."""
    source: Integers
    """[f] position in the group."""
    target: Integers
    transfer: Integers
    """[f] transfer of each message in the ``Transfers`` of the run."""
    after_ps: Integers
    """[rounds] time of the additions of a receiving rank before its next round."""


def messages(
    transfers: TransferList,
    resources: Resources,
    network: Network,
    ranks: Integers,
    rounds: Sequence[Round],
    payload_bytes: int,
) -> Messages:
    """Every message of every round as a separate transfer; additions take no time."""

    def sent(one: Round) -> Iterator[Sent]:
        size = one.message_share * payload_bytes
        for source, target in zip(one.source.tolist(), one.target.tolist(), strict=True):
            ends = [int(ranks[source])], [int(ranks[target])]
            yield source, target, transfers.add(flows(resources, network, *ends, size))

    return _table((one, [*sent(one)], 0) for one in rounds)


def round_steps(
    resources: Resources,
    network: Network,
    ranks: Integers,
    rounds: Sequence[Round],
    payload_bytes: int,
) -> tuple[Leg, ...]:
    """One leg for each round: its longest latency, then the time of its slowest link.

    ``ranks[position]`` are endpoints of the network. Rounds of empty messages take their latencies.
    """
    if not rounds:
        return no_transfer()
    if payload_bytes == 0:
        return tuple(
            lasting(int(network.latency_ps(ranks[one.source], ranks[one.target]).max()))
            for one in rounds
            for _ in range(one.times)
        )
    return tuple(
        leg
        for one in rounds
        for leg in one.times
        * flows(
            resources,
            network,
            ranks[one.source].tolist(),
            ranks[one.target].tolist(),
            one.message_share * payload_bytes * one.source.size,
        )
    )


def card_messages(
    transfers: TransferList,
    resources: Resources,
    network: Network,
    group: Group,
    collective: str,
    payload_bytes: int,
    algorithm: str,
) -> Messages:
    """Every message between cards as a separate transfer; positions are those in the group.

    The rounds are those of ``steps``. The traffic of a round between two cards is one message, for
    all chiplets of both. Its traffic inside a card is work of that card over its own capacities, in
    the form of a message of the card to itself. After a round a receiving card adds for the time of
    the closed form.

    Raises
    ------
    CollectiveError
        The collective has no such algorithm.
    """
    return _table(
        (
            one,
            [
                (source, target, transfers.add((leg,)))
                for source, target, leg in _card_legs(
                    resources, network, group, cost, one.share * payload_bytes
                )
            ],
            round(one.added * payload_bytes * group.add_s_per_byte * PS_PER_S),
        )
        for one, cost in unchunked(group, collective, payload_bytes, algorithm)
    )


def _table(sent: Iterable[tuple[Round, list[Sent], int]]) -> Messages:
    """Rounds in sequence: messages of each, and picoseconds of work after it."""
    rows: list[tuple[int, ...]] = []
    after_ps: list[int] = []
    for one, each, added_ps in sent:
        for _ in range(one.times):
            rows += [(len(after_ps), *message) for message in each]
            after_ps.append(added_ps)
    number, source, target, transfer = np.array(rows, np.int64).reshape(-1, 4).T.copy()
    return Messages(
        round=number,
        source=source,
        target=target,
        transfer=transfer,
        after_ps=np.array(after_ps, np.int64),
    )


def _card_legs(
    resources: Resources, network: Network, group: Group, cost: RoundCost, unit_bytes: float
) -> Iterator[tuple[int, int, Leg]]:
    """Yield the messages between cards, then those inside each."""
    issue_s = cost.messages * group.message_s
    for source, target in np.argwhere(cost.card_bytes > 0).tolist():
        moved_bytes = float(cost.card_bytes[source, target]) * unit_bytes
        ends = [int(group.cards[source])], [int(group.cards[target])]
        (leg,) = flows(resources, network, *ends, moved_bytes, issue_s)
        yield source, target, leg
    latency_s, per_byte_s = _inside(group, cost)
    resource_bytes = round_bytes(resources, group, cost) * unit_bytes
    for card in np.flatnonzero(per_byte_s).tolist():
        own = np.zeros(len(resource_bytes))
        for kind in INSIDE:
            places = resources.inside(group.cards[card : card + 1], kind)
            own[places] = resource_bytes[places]
        fixed_s = float(latency_s[card]) + issue_s
        seconds = np.array([fixed_s + float(per_byte_s[card]) * unit_bytes])
        alone_ps = int(picoseconds(seconds, np.array([unit_bytes]))[0])
        yield card, card, leg_of(resources, alone_ps, round(fixed_s * PS_PER_S), own)


def _inside(group: Group, cost: RoundCost) -> tuple[Floats, Floats]:
    """[card] latency and slope of a round's traffic inside each card; 0 where there is none."""
    d2d, package, out, into = (busy.max(axis=1) for busy in cost.inside)
    d2d_s = np.where(d2d > 0, group.fabric.interior.d2d_latency_s, 0.0)
    latency_s = np.where(out > 0, group.fabric.interior.package_latency_s, d2d_s)
    return latency_s, np.max([d2d, package, out, into], axis=0)
