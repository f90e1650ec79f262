"""Rows that communicate: collectives by their group and payload, sends by their path."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cluster.perf_model.collectives import (
    LIKE,
    Cost,
    Group,
    call_cost,
    group_of,
    send,
    tiers_of,
)
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.program.distinct import Request
from cluster.perf_model.prices.stage_collectives import context_group
from corsair_common.units import Integers

FUSED = ("query gather", "partial reduce")
"""Exchanges that are part of adjacent dispatches."""

PASSED = ("send activations", "receive activations", "send token", "receive token")
"""All cards of a stage send their parts at once; each row has the time of the slowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunicationPrice:
    """Network time without contention."""

    ps: int
    tier_bytes: Integers
    dispatches: int


@dataclass(slots=True)
class NetworkRows:
    """Prices rows together, with one call per kind of collective and kind of group."""

    inputs: PriceInputs
    device: Device
    groups: Mapping[int, tuple[int, ...]]
    """Ranks by number of the group."""
    _made: dict[tuple[int, ...], Group] = field(default_factory=dict)

    def price(self, requests: Sequence[Request]) -> list[CommunicationPrice]:
        """One price for each request, in their order."""
        prices: dict[int, CommunicationPrice] = {}
        together: dict[tuple[bytes, str, int], list[int]] = defaultdict(list)
        groups: dict[tuple[bytes, str, int], Group] = {}
        for index, request in enumerate(requests):
            if request.kind != "collective":
                prices[index] = self._passed(request)
                continue
            group = self._group(request)
            key = (group.fabric.cost_key, request.collective, request.count)
            together[key].append(index)
            groups[key] = group
        for key, members in together.items():
            wanted = [requests[index] for index in members]
            prices |= zip(members, self._exchanged(groups[key], wanted), strict=True)
        return [prices[index] for index in range(len(requests))]

    def _group(self, request: Request) -> Group:
        ranks = self.groups[request.group] if request.group >= 0 else (request.rank,)
        if ranks not in self._made:
            cards = [self._card(rank) for rank in ranks]
            bits = float(self.inputs.formats.wire.bits_per_element)
            self._made[ranks] = group_of(
                self.inputs.hardware, self.inputs.routes, cards, wire_bits=bits
            )
        return self._made[ranks]

    def _exchanged(self, group: Group, requests: Sequence[Request]) -> list[CommunicationPrice]:
        """Price collectives of one kind on groups of equal links."""
        first = requests[0]
        payload = np.array([request.payload_bytes for request in requests], np.int64)
        if first.count > 1 and first.group < 0:
            parts = self.device.units // first.count
            cost = None
            if parts > 1:
                cost = self._cost(context_group(group, parts), first.collective, payload)
        else:
            cost = self._cost(group, first.collective, payload)
        empty = np.zeros(group.fabric.tiers, np.int64)
        return [
            CommunicationPrice(
                ps=int(cost.ps[index]) if cost else 0,
                tier_bytes=cost.tier_bytes[index] if cost else empty,
                dispatches=int(request.name not in FUSED),
            )
            for index, request in enumerate(requests)
        ]

    def _cost(self, group: Group, collective: str, payload: Integers) -> Cost:
        if collective == "all_reduce":
            own = self.inputs.all_reduce, self.inputs.chunks
            return call_cost(group, collective, payload, *own)
        if collective == "all_to_all":  # of a card; its chiplets share it
            payload = -(-payload // self.device.units)
        elif collective == "barrier":
            payload = 0 * payload
        return call_cost(group, LIKE.get(collective, collective), payload)

    def _passed(self, request: Request) -> CommunicationPrice:
        """A transfer between two ranks, or between all of two stages."""
        source, target = request.rank, request.peer
        if request.kind == "recv":
            source, target = target, source
        size = self.inputs.plan.tensor_parallel_size
        whole, part = request.payload_bytes, request.payload_bytes
        sources, targets = [source], [target]
        if request.name in PASSED and source % size == target % size:
            sources, targets = (
                list(range(rank // size * size, rank // size * size + size))
                for rank in (source, target)
            )
            sent = self.inputs.formats.wire.bytes_of(request.tokens * self.inputs.model.hidden)
            whole = sent if -(-sent // size) == part else part * size
        leave, reach = ([self._card(rank) for rank in ranks] for ranks in (sources, targets))
        nothing = np.zeros(len(tiers_of(self.inputs.routes)), np.int64)
        if not whole:
            latency = self.inputs.routes.latency_ps(np.array(leave), np.array(reach))
            return CommunicationPrice(ps=int(np.max(latency)), tier_bytes=nothing, dispatches=0)
        hardware, routes = self.inputs.hardware, self.inputs.routes
        cost = send(hardware, routes, leave, reach, np.array([whole], np.int64))
        tier_bytes = cost.tier_bytes[0] if request.kind == "send" else nothing
        return CommunicationPrice(ps=int(cost.ps[0]), tier_bytes=tier_bytes, dispatches=0)

    def _card(self, rank: int) -> int:
        return int(self.inputs.cards.ravel()[rank])
