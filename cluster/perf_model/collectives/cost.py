"""Cost of collectives and sends, for arrays of payloads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.collectives.algorithms import CollectiveError
from cluster.perf_model.collectives.fabric import card_tiers, tiers_of
from cluster.perf_model.collectives.group import Group
from cluster.perf_model.collectives.resources import link_rates
from cluster.perf_model.collectives.schedule import fastest, schedules, tier_seconds
from cluster.perf_model.protocols import Figures, Network, RouteTables
from cluster.perf_model.tables import LONGEST_PS, TooSlowError
from corsair_common.units import PS_PER_S, Floats, Integers

LIKE: Mapping[str, str] = {"broadcast": "all_gather", "barrier": "all_gather"}
"""Collectives that cards run as another one; a barrier has no payload."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cost:
    """One row per payload."""

    ps: Integers
    """[n] 0 for an empty payload (nothing is called; ``call_cost`` prices empty calls), at least 1
    for any other."""
    tier_bytes: Integers
    """[n, tier] bytes that each card puts on each tier, in one direction (its mean over the
    cards where they differ)."""
    tier_ps: Integers
    """[n, tier] the split of ``ps``: latencies and overheads of a round count for the highest tier
    that it crosses, its bytes for the tier of the busiest link."""


def all_reduce(
    group: Group, payload_bytes: Integers, algorithm: str = "auto", chunks: int | str = "auto"
) -> Cost:
    """Every rank ends with the sum of all vectors of ``payload_bytes``."""
    return _cost(group, "all_reduce", payload_bytes, algorithm, chunks)


def reduce_scatter(
    group: Group, payload_bytes: Integers, algorithm: str = "auto", chunks: int | str = "auto"
) -> Cost:
    """Every rank ends with its part of the sum of all vectors of ``payload_bytes``."""
    return _cost(group, "reduce_scatter", payload_bytes, algorithm, chunks)


def all_gather(
    group: Group, payload_bytes: Integers, algorithm: str = "auto", chunks: int | str = "auto"
) -> Cost:
    """Every rank ends with the vector of ``payload_bytes`` of which it had one part."""
    return _cost(group, "all_gather", payload_bytes, algorithm, chunks)


def all_to_all(
    group: Group, payload_bytes: Integers, algorithm: str = "auto", chunks: int | str = "auto"
) -> Cost:
    """Every rank sends each other rank an equal part of its ``payload_bytes``."""
    return _cost(group, "all_to_all", payload_bytes, algorithm, chunks)


def call_cost(
    group: Group,
    collective: str,
    payload_bytes: Integers,
    algorithm: str = "auto",
    chunks: int | str = "auto",
) -> Cost:
    """Cost of calls that are made in any case: with an empty payload, too, messages pass.

    Such a call takes the latencies and message overheads of the schedule that has the least.
    """
    cost = _cost(group, collective, payload_bytes, algorithm, chunks)
    if not group.tiers:
        return cost
    first_s = min(schedule.fixed_s for schedule in schedules(group, collective, algorithm))
    empty = _payload(payload_bytes) == 0
    ps = np.where(empty, round(first_s * PS_PER_S), cost.ps)
    return replace(cost, ps=ps, tier_ps=_split(ps, np.where(empty[:, None], 1.0, cost.tier_ps)))


def send(
    hardware: Figures,
    routes: RouteTables,
    sources: Sequence[int],
    destinations: Sequence[int],
    payload_bytes: Integers,
) -> Cost:
    """Each source card sends an equal part of the payload to the destination of its position.

    Path latency + one message + bytes / rate, cut-through; flows over the same link share it.

    Raises
    ------
    CollectiveError
        Unequal numbers of sources and destinations, or none.
    """
    source, destination = np.asarray(sources, np.int64), np.asarray(destinations, np.int64)
    return send_cost(hardware, routes, source, destination).of(payload_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCost:
    """Cost of a send between some cards, for any payload."""

    latency_s: float
    s_per_byte: float
    """0: nothing crosses a link."""
    tier_flows: tuple[int, ...]
    """[tier] sources whose message it carries."""
    cards: int
    """Of the sources."""

    def of(self, payload_bytes: Integers) -> Cost:
        """For each payload, of which every source sends an equal part."""
        payload = _payload(payload_bytes)
        if self.s_per_byte == 0.0:
            return nothing_sent(payload.size, len(self.tier_flows))
        seconds = self.latency_s + self.s_per_byte * payload
        flows = np.array(self.tier_flows)
        tier_bytes = payload[:, None] / self.cards * (flows / self.cards)
        ps = picoseconds(seconds, payload)
        return Cost(
            ps=ps,
            tier_bytes=np.rint(tier_bytes).astype(np.int64),
            tier_ps=_split(ps, np.broadcast_to(flows, tier_bytes.shape)),
        )


def send_cost(
    hardware: Figures, routes: RouteTables, source: Integers, destination: Integers
) -> SendCost:
    """``send`` without its payload."""
    if source.size != destination.size or source.size == 0:
        raise CollectiveError(
            f"a send needs as many destinations as sources, got {source.size} and"
            f" {destination.size}"
        )
    tiers = len(tiers_of(routes))
    rates = link_rates(routes)
    crossed = crossings(routes, source, destination, rates.size)
    per_byte_s = float((crossed / rates).max(initial=0.0)) / source.size
    latency_s = float(np.max(routes.latency_ps(source, destination))) * 1e-12
    ends = card_tiers(routes, np.concatenate([source, destination]))
    flows = np.bincount(np.diagonal(ends, source.size), minlength=tiers)
    return SendCost(
        latency_s=latency_s + hardware["links.chunk_overhead_s"],
        s_per_byte=per_byte_s,
        tier_flows=tuple(flows.tolist()),
        cards=source.size,
    )


def crossings(network: Network, source: Integers, destination: Integers, links: int) -> Floats:
    """[l] number of flows over each link."""
    paths = [
        np.asarray(network.path(int(a), int(b)), np.int64)
        for a, b in zip(source, destination, strict=True)
        if a != b
    ]
    crossed = np.concatenate([np.zeros(0, np.int64), *paths])
    return np.bincount(crossed, minlength=links).astype(np.float64)


def _cost(
    group: Group, collective: str, payload_bytes: Integers, algorithm: str, chunks: int | str
) -> Cost:
    """The fastest of the allowed schedules and chunk counts for each payload."""
    payload = _payload(payload_bytes)
    if not group.tiers:
        return nothing_sent(payload.size, group.fabric.tiers)
    found, best_s, which = fastest(group, collective, payload, algorithm, chunks)
    tier_share = np.stack([sum(one.tier_bytes for one in following) for following in found])
    ps = picoseconds(best_s, payload)
    return Cost(
        ps=ps,
        tier_bytes=np.rint(tier_share[which] * payload[:, None]).astype(np.int64),
        tier_ps=_split(ps, tier_seconds(found, which, payload, chunks)),
    )


def _split(ps: Integers, weights: Floats) -> Integers:
    """[n, tier] whole picoseconds that sum to ``ps``, in proportion to ``weights``."""
    upto = np.cumsum(weights, axis=1, dtype=np.float64)
    upto /= np.maximum(upto[:, -1:], np.finfo(np.float64).tiny)
    upto[:, -1] = 1.0
    parts: Integers = np.rint(upto * ps[:, None]).astype(np.int64)
    parts[:, 1:] -= parts[:, :-1].copy()
    return parts


def _payload(payload_bytes: Integers) -> Floats:
    payload = np.atleast_1d(np.asarray(payload_bytes, np.int64))
    if payload.size and payload.min() < 0:
        raise CollectiveError(f"a payload has at least 0 bytes, got {int(payload.min())}")
    return payload.astype(np.float64)


def picoseconds(seconds: Floats, payload: Floats) -> Integers:
    """Rounded half to even, at least 1 ps for any work."""
    longest_s = float(seconds.max(initial=0.0))
    if not longest_s * PS_PER_S <= LONGEST_PS:
        raise TooSlowError(
            f"one exchange of {payload.max():,.0f} bytes would last {longest_s:,.0f} s, at most "
            f"{LONGEST_PS * 1e-12:,.0f} s are simulated: a link is too slow for so much"
        )
    ps = np.maximum(np.rint(seconds * PS_PER_S), 1.0)
    return np.where(payload > 0, ps, 0.0).astype(np.int64)


def nothing_sent(rows: int, tiers: int) -> Cost:
    """Cost of a collective of one rank."""
    nothing = np.zeros((rows, tiers), np.int64)
    return Cost(ps=np.zeros(rows, np.int64), tier_bytes=nothing, tier_ps=nothing.copy())
