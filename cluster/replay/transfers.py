"""Converts calls to transfers: between the cards of racks, or over a plain network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from cluster.perf_model.collectives import (
    LIKE,
    Group,
    Leg,
    Messages,
    Resources,
    Round,
    TransferList,
    algorithms_of,
    card_messages,
    coflows,
    curve_leg,
    flows,
    group_of,
    hops,
    lasting,
    messages,
    nested_rounds,
    round_steps,
    rounds_of,
    scatter_of,
    steps,
)
from cluster.perf_model.devices import module_of
from cluster.perf_model.protocols import Figures, Network, RouteTables
from cluster.replay.collective_calls import Call
from cluster.scenario.collectives import Detail
from corsair_common.units import Integers

SLACK_PS = 2
"""Latency that counts as work: otherwise sends that fill a link together would exceed its capacity
by rounding."""


class Net(Network, Protocol):
    """A plain network between ranks (``topology.astra_network.Network``)."""

    @property
    def dimensions(self) -> Sequence["Shaped"]: ...

    @property
    def ranks(self) -> int: ...


class Shaped(Protocol):
    """One dimension of a plain network."""

    @property
    def shape(self) -> str: ...

    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of the conversion."""

    all_reduce: str = "auto"
    collectives: Detail = "coflow"
    stored: bool = False
    """Store and forward: a send's whole message on each link before the next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RackTransfers:
    """Rank r runs on card ``card_of[r]``; a card's chiplets are the ranks of its collectives."""

    hardware: Figures
    routes: RouteTables
    resources: Resources
    card_of: Integers
    wire_bits: float
    options: Options
    groups: dict[tuple[int, ...], Group] = field(default_factory=dict)
    """Those made so far."""

    def legs(self, call: Call) -> tuple[Leg, ...]:
        if call.recorded:
            return (lasting(call.alone_ps),)
        if not call.collective:
            return self._send(call)
        name, payload, algorithm = self._exchange(call)
        group = self._group(call.ranks)
        own = None
        if name == "all_reduce" and algorithm == "auto" and self.options.collectives == "coflow":
            least = np.array([max(1, payload)])
            own = module_of(self.hardware).all_reduce(self.hardware, group, least)
        if own is not None:
            return (curve_leg(self.resources, group, own) if payload else lasting(int(own.ps[0])),)
        if self.options.collectives == "steps":
            return steps(self.resources, group, name, payload, algorithm)
        return coflows(self.resources, group, name, np.array([payload]), algorithm)[0]

    def messages(self, call: Call, transfers: TransferList) -> Messages | None:
        """Every message between cards as a separate transfer, if configured."""
        name, payload, algorithm = self._exchange(call)
        group = self._group(call.ranks)
        if self.options.collectives != "messages" or not payload or not group.tiers:
            return None
        sent = card_messages(
            transfers, self.resources, self.routes, group, name, payload, algorithm
        )
        cards = self.card_of[np.sort(call.ranks)]  # the engine counts a group's ranks upward
        place = np.argsort(cards)[np.searchsorted(np.sort(cards), group.cards)]
        return replace(sent, source=place[sent.source], target=place[sent.target])

    def _exchange(self, call: Call) -> tuple[str, int, str]:
        """The collective that the cards run, its payload and the configured algorithm."""
        name = LIKE.get(call.collective, call.collective)
        algorithm = self.options.all_reduce if name == "all_reduce" else "auto"
        payload = 0 if call.collective == "barrier" else call.payload_bytes
        if name == "all_to_all":  # of a card; its chiplets share it
            chiplets = module_of(self.hardware).interior(self.hardware).units
            payload = -(-payload // chiplets)
        return name, payload, algorithm

    def _group(self, ranks: tuple[int, ...]) -> Group:
        if ranks not in self.groups:
            cards = self.card_of[list(ranks)].tolist()
            self.groups[ranks] = group_of(
                self.hardware, self.routes, cards, wire_bits=self.wire_bits
            )
        return self.groups[ranks]

    def _send(self, call: Call) -> tuple[Leg, ...]:
        """A send with its priced duration: a stage's cards send together, and wait for the slowest.

        Each uses of the links only what its own bytes need in that time.
        """
        source, target = (int(card) for card in self.card_of[list(call.ranks)])
        message_s = self.hardware["links.chunk_overhead_s"]
        if not call.payload_bytes:
            return (lasting(int(self.routes.latency_ps(source, target))),)
        if self.options.stored:
            return hops(self.resources, self.routes, source, target, call.payload_bytes, message_s)
        (leg,) = flows(
            self.resources, self.routes, [source], [target], call.payload_bytes, message_s
        )
        if call.alone_ps < leg.latency_ps + leg.work_ps:
            return (leg,)
        first_ps = max(0, leg.latency_ps - SLACK_PS)
        return (replace(leg, latency_ps=first_ps, work_ps=call.alone_ps - first_ps),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlainTransfers:
    """The ranks are the network's own endpoints; algorithms run rank by rank."""

    network: Net
    resources: Resources
    options: Options

    def legs(self, call: Call) -> tuple[Leg, ...]:
        if call.recorded:
            return (lasting(call.alone_ps),)
        if call.collective:
            return self._cheapest(call)[1]
        source, target = call.ranks
        if not call.payload_bytes:
            return (lasting(int(self.network.latency_ps(source, target))),)
        if self.options.stored:
            return hops(self.resources, self.network, source, target, call.payload_bytes)
        return flows(self.resources, self.network, [source], [target], call.payload_bytes)

    def messages(self, call: Call, transfers: TransferList) -> Messages | None:
        """Every message as a separate transfer, if configured."""
        empty = call.collective == "barrier" or not call.payload_bytes
        if self.options.collectives != "messages" or empty:
            return None
        ranks = np.array(call.ranks, np.int64)
        rounds = self._cheapest(call)[0]
        sent = messages(transfers, self.resources, self.network, ranks, rounds, call.payload_bytes)
        place = np.argsort(np.argsort(ranks))  # the engine counts a group's ranks upward
        return replace(sent, source=place[sent.source], target=place[sent.target])

    def _cheapest(self, call: Call) -> tuple[Sequence[Round], tuple[Leg, ...]]:
        """Rounds and legs of the fastest allowed algorithm."""
        if call.collective == "barrier":  # every rank hears from every other, without data
            return self._cheapest(replace(call, collective="all_gather", payload_bytes=0))
        return self._fastest(call, self._candidates(call))

    def _fastest(
        self, call: Call, candidates: Iterable[Sequence[Round]]
    ) -> tuple[Sequence[Round], tuple[Leg, ...]]:
        ranks = np.array(call.ranks, np.int64)
        found = [
            (
                rounds,
                round_steps(self.resources, self.network, ranks, rounds, call.payload_bytes),
            )
            for rounds in candidates
        ]
        return min(found, key=lambda one: sum(leg.latency_ps + leg.work_ps for leg in one[1]))

    def _candidates(self, call: Call) -> list[Sequence[Round]]:
        """What the choice allows; ``auto`` also composes collectives of others, each the fastest.

        A broadcast is a scatter and an all-gather, too, and an all-reduce any reduce-scatter and
        any all-gather.
        """
        found = self._algorithms(call)
        composed = call.collective == "all_reduce" and self.options.all_reduce == "auto"
        if call.collective != "broadcast" and not composed:
            return found
        reduced, gathered = (replace(call, collective=half) for half in HALVES)
        scattered = self._algorithms(reduced)
        if not composed:
            scattered = [scatter_of(rounds, len(call.ranks)) for rounds in scattered]
        halves = self._fastest(reduced, scattered)[0], self._cheapest(gathered)[0]
        return [*found, [*halves[0], *halves[1]]]

    def _algorithms(self, call: Call) -> list[Sequence[Round]]:
        name = call.collective
        requested = self.options.all_reduce if name == "all_reduce" else "auto"
        nested = self._nested(call)
        known = algorithms_of(name, levels=False)
        by_level = requested in algorithms_of(name) and requested not in known
        if by_level and nested:
            return [nested]
        flat = list(known) if requested == "auto" or by_level else [requested]
        rounds: list[Sequence[Round]] = [
            rounds_of(name, algorithm, len(call.ranks)) for algorithm in flat
        ]
        return [*rounds, nested] if nested and requested == "auto" else rounds

    def _nested(self, call: Call) -> Sequence[Round]:
        """Dimension by dimension, if the group spans several completely; else None."""
        dimensions = self.network.dimensions
        whole = call.ranks == tuple(range(self.network.ranks))
        if len(dimensions) < 2 or not whole or call.collective not in NESTED:
            return []
        own = HALVES[0] if call.collective == "all_reduce" else call.collective
        algorithms = [_native(own, each) for each in dimensions]
        return nested_rounds(call.collective, [each.size for each in dimensions], algorithms)


HALVES = ("reduce_scatter", "all_gather")
"""Of an all-reduce."""
NESTED = ("all_reduce", *HALVES, "all_to_all")
"""Collectives that may go dimension by dimension."""


def _native(collective: str, dimension: Shaped) -> str:
    """The algorithm for a dimension's shape."""
    if collective == "all_to_all" or dimension.shape == "FullyConnected":
        return "direct"
    if dimension.shape == "Ring" or dimension.size & (dimension.size - 1):
        return "ring"
    return "halving_doubling"
