"""The legs of transfers, and an active leg in the fabric."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor
from typing import NamedTuple

from cluster.perf_model.collectives import Transfers
from cluster.replay.reference.operation import Queue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leg:
    """One row of ``Transfers``."""

    latency_ps: int
    work_ps: int
    peak: float
    then: int
    shares: dict[int, int]
    """Of each resource that it uses."""
    moves: dict[int, int]
    """Bytes over each of them."""


class Stretch(NamedTuple):
    """A time of constant speed."""

    since_ps: int
    remaining: float
    """Picoseconds of the leg's own time, at ``since_ps``."""
    speed: float

    def remaining_at(self, time_ps: int) -> float:
        return max(0.0, self.remaining - self.speed * (time_ps - self.since_ps))


@dataclass(slots=True, eq=False)
class Flow:
    """A leg in the fabric, for one matched call: how fast it went when, and when it leaves."""

    matched_call: int
    home: Queue
    leg: Leg
    stretches: list[Stretch] = field(default_factory=list)
    leave_ps: int | None = None
    """At its present speed; unknown until it has one."""

    def go_on(self, speed: float, now_ps: int) -> None:
        """Set ``speed`` from now on; an equal speed changes nothing."""
        if not self.stretches:
            remaining = float(self.leg.work_ps)
        elif speed == self.stretches[-1].speed:
            return
        else:
            remaining = self.stretches[-1].remaining_at(now_ps)
        self.stretches.append(Stretch(now_ps, remaining, speed))
        self.leave_ps = now_ps + max(1, ceil(remaining / speed))

    def moved(self, resource: int, time_ps: int) -> int:
        """Bytes that have crossed ``resource`` by ``time_ps``, after the end of the run."""
        size_bytes, work_ps = self.leg.moves[resource], self.leg.work_ps
        if self.leave_ps is not None and time_ps >= self.leave_ps:
            return size_bytes
        begun = [stretch for stretch in self.stretches if stretch.since_ps <= time_ps]
        if not begun:
            return 0
        return floor(size_bytes * ((work_ps - begun[-1].remaining_at(time_ps)) / work_ps))


def read_legs(transfers: Transfers) -> list[Leg]:
    """The rows of ``transfers``."""
    offsets = transfers.use_offsets.tolist()
    resources = transfers.use_resource.tolist()
    shares = transfers.use_share.tolist()
    sizes = transfers.use_bytes.tolist()
    uses = [slice(low, high) for low, high in pairwise(offsets)]
    return [
        Leg(
            latency_ps=latency_ps,
            work_ps=work_ps,
            peak=peak,
            then=then,
            shares=dict(zip(resources[use], shares[use], strict=True)),
            moves=dict(zip(resources[use], sizes[use], strict=True)),
        )
        for latency_ps, work_ps, peak, then, use in zip(
            transfers.latency_ps.tolist(),
            transfers.work_ps.tolist(),
            transfers.peak.tolist(),
            transfers.then.tolist(),
            uses,
            strict=True,
        )
    ]
