"""Legs one by one, and the list that turns them into the engine's tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.collectives.resources import Resources
from cluster.perf_model.collectives.transfers import FULL, Transfers
from corsair_common.units import PS_PER_S, Floats, Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leg:
    """One leg of a transfer: without contention its time is ``latency_ps + work_ps``."""

    latency_ps: int
    work_ps: int
    resource: Integers
    """[u] increasing."""
    moved_bytes: Integers
    """[u] at least 1 each."""
    peak_bytes: int
    """On its most loaded link (or, for a leg without links, its most loaded capacity)."""


def leg_of(resources: Resources, alone_ps: int, latency_ps: int, moved_bytes: Floats) -> Leg:
    """A leg that takes ``alone_ps`` in all and moves ``moved_bytes[r]`` bytes over each resource.

    The latency is reduced if it would leave no time for the bytes.
    """
    rounded = np.rint(moved_bytes).astype(np.int64)
    used = np.flatnonzero(rounded)
    first_ps = min(latency_ps, alone_ps - 1) if used.size else alone_ps
    links = rounded[: resources.links]
    return Leg(
        latency_ps=first_ps,
        work_ps=alone_ps - first_ps,
        resource=used,
        moved_bytes=rounded[used],
        peak_bytes=int(links.max(initial=0) or rounded.max(initial=0)),
    )


def lasting(ps: int) -> Leg:
    """A leg with a fixed duration, regardless of other traffic."""
    none = np.zeros(0, np.int64)
    return Leg(latency_ps=ps, work_ps=0, resource=none, moved_bytes=none, peak_bytes=0)


def no_transfer() -> tuple[Leg, ...]:
    """A transfer without time and bytes."""
    return (lasting(0),)


class TransferList:
    """Collects transfers; equal ones share their legs."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._legs: list[Leg] = []
        self._then: list[int] = []
        self._known: dict[tuple[object, ...], int] = {}

    def add(self, legs: Sequence[Leg], *, own: bool = False) -> int:
        """Add a transfer and return its number, that of its first leg.

        With ``own`` it gets a unique number, even if an equal transfer exists.
        """
        key: tuple[object, ...] = tuple(
            (leg.latency_ps, leg.work_ps, leg.resource.tobytes(), leg.moved_bytes.tobytes())
            for leg in legs
        )
        if own:
            key = (*key, len(self._legs))
        if key not in self._known:
            first = len(self._legs)
            self._known[key] = first
            self._legs.extend(legs)
            self._then.extend([*range(first + 1, first + len(legs)), -1])
        return self._known[key]

    def table(self) -> Transfers:
        """Everything added so far."""
        legs, none = self._legs, np.zeros(0, np.int64)
        sizes = [leg.resource.size for leg in legs]
        return transfers_of(
            self._resources,
            latency_ps=np.array([leg.latency_ps for leg in legs], np.int64),
            work_ps=np.array([leg.work_ps for leg in legs], np.int64),
            peak_bytes=np.array([leg.peak_bytes for leg in legs], np.int64),
            then=np.array(self._then, np.int64),
            uses=(
                np.repeat(np.arange(len(legs)), np.array(sizes, np.int64)),
                np.concatenate([none, *(leg.resource for leg in legs)]),
                np.concatenate([none, *(leg.moved_bytes for leg in legs)]),
            ),
        )


def transfers_of(
    resources: Resources,
    *,
    latency_ps: Integers,
    work_ps: Integers,
    peak_bytes: Integers,
    then: Integers,
    uses: tuple[Integers, Integers, Integers],
) -> Transfers:
    """The engine's tables of legs [t] and of their ``uses``: leg, resource and bytes, each [u]."""
    leg, resource, moved_bytes = uses
    capacity = resources.capacity_bytes_per_s
    counts = np.bincount(leg, minlength=len(work_ps))
    part = moved_bytes * PS_PER_S / (work_ps[leg] * capacity[resource])
    return Transfers(
        latency_ps=latency_ps,
        work_ps=work_ps,
        peak=np.where(counts > 0, peak_bytes / np.maximum(work_ps, 1), 1.0),
        then=then,
        use_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        use_resource=resource,
        use_share=np.clip(np.floor(part * FULL), 1, FULL).astype(np.int64),
        use_bytes=moved_bytes,
        resource_name=resources.name,
        capacity_bytes_per_s=capacity,
    )
