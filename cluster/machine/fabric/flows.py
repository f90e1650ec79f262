"""Messages between endpoints as transfers: cut through, or stored and forwarded hop by hop."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.cost import picoseconds
from cluster.machine.fabric.legs import Leg, leg_of
from cluster.machine.fabric.resources import Resources, Ways
from cluster.machine.tables import Integers


class WaysByHop(Ways, Protocol):
    """Ways that also know the latency of each link."""

    @property
    def link_latency_ps(self) -> npt.NDArray[np.int64]: ...


def flows(
    resources: Resources,
    ways: Ways,
    sources: Sequence[int],
    destinations: Sequence[int],
    payload_bytes: float,
    message_s: float = 0.0,
) -> tuple[Leg, ...]:
    """One leg in which each source sends an equal part of the payload to its destination.

    It takes the longest latency, one message and the time of the slowest link, as the closed form
    (``collective.send``) has it. With one source it is a plain flow.
    """
    source, destination = np.asarray(sources, np.int64), np.asarray(destinations, np.int64)
    crossings = _crossings(resources, ways, source, destination)
    slope = float((crossings / resources.capacity_bytes_per_s).max(initial=0.0)) / source.size
    if slope == 0.0 or payload_bytes == 0:
        return (leg_of(resources, 0, 0, np.zeros(0)),)
    latency_s = float(np.max(ways.latency_ps(source, destination))) * 1e-12
    alone_ps = picoseconds(
        np.array([latency_s + message_s + slope * payload_bytes]), np.array([payload_bytes])
    )
    first_ps = round((latency_s + message_s) * 1e12)
    moved = crossings * (payload_bytes / source.size)
    return (leg_of(resources, int(alone_ps[0]), first_ps, moved),)


def hops(
    resources: Resources,
    ways: WaysByHop,
    source: int,
    destination: int,
    payload_bytes: int,
    message_s: float = 0.0,
) -> tuple[Leg, ...]:
    """Store and forward: one leg for each link, which takes the whole message before the next."""
    links = ways.path(source, destination)
    if not len(links) or payload_bytes == 0:
        return (leg_of(resources, 0, 0, np.zeros(0)),)
    legs = []
    for place, link in enumerate(links):
        first_ps = int(ways.link_latency_ps[link]) + (place == 0) * round(message_s * 1e12)
        work_ps = max(1, round(payload_bytes / resources.capacity_bytes_per_s[link] * 1e12))
        moved = np.zeros(len(resources.capacity_bytes_per_s))
        moved[link] = payload_bytes
        legs.append(leg_of(resources, first_ps + work_ps, first_ps, moved))
    return tuple(legs)


def _crossings(
    resources: Resources, ways: Ways, source: Integers, destination: Integers
) -> npt.NDArray[np.float64]:
    """[r] how many of the flows cross each resource."""
    paths = [
        np.asarray(ways.path(int(a), int(b)), np.int64)
        for a, b in zip(source, destination, strict=True)
        if a != b
    ]
    crossed = np.concatenate([np.zeros(0, np.int64), *paths])
    counts = np.bincount(crossed, minlength=len(resources.capacity_bytes_per_s))
    return counts.astype(np.float64)
