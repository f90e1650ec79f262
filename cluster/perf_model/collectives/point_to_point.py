"""Messages between endpoints as transfers: cut through, store and forward, or paced.

``flows`` and ``hops`` build the legs of one transfer, ``paced_messages`` the table of a whole run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives.cost import crossings, picoseconds
from cluster.perf_model.collectives.resources import Resources
from cluster.perf_model.collectives.transfer_legs import (
    Leg,
    leg_of,
    no_transfer,
    transfers_of,
)
from cluster.perf_model.collectives.transfers import Transfers
from cluster.perf_model.protocols import Network
from corsair_common.units import PS_PER_S, Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairPaths:
    """Paths between pairs of different endpoints."""

    latency_ps: Integers
    """[pair] latency of the path and overhead of one message."""
    slowest: Integers
    """[pair] the link with the lowest rate."""
    offsets: Integers
    """[pair + 1] into ``links``"""
    links: Integers
    """Rising within a pair."""


def flows(
    resources: Resources,
    network: Network,
    sources: Sequence[int],
    destinations: Sequence[int],
    payload_bytes: float,
    message_s: float = 0.0,
) -> tuple[Leg, ...]:
    """One leg in which each source sends an equal part of the payload to its destination.

    Its time is the longest latency, one message and the time of the slowest link, as in the closed
    form (``cost.send``). With one source it is a plain flow.
    """
    source, destination = np.asarray(sources, np.int64), np.asarray(destinations, np.int64)
    crossed = crossings(network, source, destination, len(resources.capacity_bytes_per_s))
    slope = float((crossed / resources.capacity_bytes_per_s).max(initial=0.0)) / source.size
    if slope == 0.0 or payload_bytes == 0:
        return no_transfer()
    latency_s = float(np.max(network.latency_ps(source, destination))) * 1e-12
    alone_ps = picoseconds(
        np.array([latency_s + message_s + slope * payload_bytes]), np.array([payload_bytes])
    )
    first_ps = round((latency_s + message_s) * PS_PER_S)
    moved_bytes = crossed * (payload_bytes / source.size)
    return (leg_of(resources, int(alone_ps[0]), first_ps, moved_bytes),)


def hops(
    resources: Resources,
    network: Network,
    source: int,
    destination: int,
    payload_bytes: int,
    message_s: float = 0.0,
) -> tuple[Leg, ...]:
    """Store and forward: one leg for each link, with the whole message before the next."""
    links = network.path(source, destination)
    if not len(links) or payload_bytes == 0:
        return no_transfer()
    legs = []
    for place, link in enumerate(links):
        first_ps = int(network.link_latency_ps[link]) + (place == 0) * round(message_s * PS_PER_S)
        work_ps = max(1, round(payload_bytes / resources.capacity_bytes_per_s[link] * PS_PER_S))
        moved_bytes = np.zeros(len(resources.capacity_bytes_per_s))
        moved_bytes[link] = payload_bytes
        legs.append(leg_of(resources, first_ps + work_ps, first_ps, moved_bytes))
    return tuple(legs)


def pair_paths(
    resources: Resources, network: Network, sources: Integers, targets: Integers, message_s: float
) -> PairPaths:
    """Look up the path from each source to its target."""
    paths = [
        np.sort(network.path(int(a), int(b)).astype(np.int64))
        for a, b in zip(sources, targets, strict=True)
    ]
    rates = resources.capacity_bytes_per_s
    latency_s = network.latency_ps(sources, targets) * 1e-12
    return PairPaths(
        latency_ps=np.rint((latency_s + message_s) * PS_PER_S).astype(np.int64),
        slowest=np.array([path[np.argmin(rates[path])] for path in paths], np.int64),
        offsets=np.cumsum([0, *map(len, paths)]).astype(np.int64),
        links=np.concatenate([np.zeros(0, np.int64), *paths]),
    )


def paced_messages(
    resources: Resources,
    paths: PairPaths,
    pair: Integers,
    first_bytes: Integers,
    paced_ps: Integers,
    last_bytes: Integers,
) -> Transfers:
    """Two legs for each message: the bytes sent while its source works, and the rest.

    Leg 2i sends ``first_bytes[i]`` at a constant rate over ``paced_ps[i]`` (longer, if its slowest
    link is), after the latency of the path; leg 2i + 1 then sends ``last_bytes[i]`` at full rate.
    """
    rate = resources.capacity_bytes_per_s[paths.slowest[pair]]
    none = np.zeros(len(pair), np.int64)
    work_ps = np.stack(
        [
            np.maximum(paced_ps, picoseconds(first_bytes / rate, first_bytes.astype(np.float64))),
            picoseconds(last_bytes / rate, last_bytes.astype(np.float64)),
        ],
        axis=1,
    ).ravel()
    moved_bytes = np.stack([first_bytes, last_bytes], axis=1).ravel()
    legs = np.arange(2 * len(pair))
    leg, link = _uses(paths, np.repeat(pair, 2), moved_bytes > 0)
    return transfers_of(
        resources,
        latency_ps=np.stack([paths.latency_ps[pair], none], axis=1).ravel(),
        work_ps=work_ps,
        peak_bytes=moved_bytes,
        then=np.where(legs % 2 == 0, legs + 1, -1),
        uses=(leg, link, moved_bytes[leg]),
    )


def _uses(
    paths: PairPaths, pair: Integers, moves: npt.NDArray[np.bool_]
) -> tuple[Integers, Integers]:
    """Leg and link of every use, leg by leg."""
    legs = np.flatnonzero(moves)
    counts = np.diff(paths.offsets)[pair[legs]]
    leg = np.repeat(legs, counts)
    within = np.arange(len(leg)) - np.repeat(np.cumsum(counts) - counts, counts)
    return leg, paths.links[paths.offsets[pair[leg]] + within]
