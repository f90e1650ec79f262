"""Many messages between cards at once as one table: each on its way alone, or paced by its source.

The same legs as ``flows`` makes one by one, made for a whole run of transfers together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.cost import picoseconds
from cluster.machine.fabric.resources import Resources, Ways
from cluster.machine.fabric.transfers import FULL, Transfers
from cluster.machine.tables import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lanes:
    """Ways between pairs of different cards."""

    latency_ps: Integers
    """[lane] of the path, and one message."""
    slowest: Integers
    """[lane] the link with the lowest rate."""
    offsets: Integers
    """[lane + 1] into ``links``"""
    links: Integers
    """Rising within a lane."""


def lanes(ways: Ways, sources: Integers, targets: Integers, message_s: float) -> Lanes:
    """Look up the path from each source to the target beside it."""
    paths = [
        np.sort(ways.path(int(a), int(b)).astype(np.int64))
        for a, b in zip(sources, targets, strict=True)
    ]
    rates = np.asarray(ways.link_bandwidth_bytes_per_s)
    latency_s = ways.latency_ps(sources, targets) * 1e-12
    return Lanes(
        latency_ps=np.rint((latency_s + message_s) * 1e12).astype(np.int64),
        slowest=np.array([path[np.argmin(rates[path])] for path in paths], np.int64),
        offsets=np.cumsum([0, *map(len, paths)]).astype(np.int64),
        links=np.concatenate([np.zeros(0, np.int64), *paths]),
    )


def streams(
    resources: Resources,
    ways: Lanes,
    lane: Integers,
    first_bytes: Integers,
    paced_ps: Integers,
    last_bytes: Integers,
) -> Transfers:
    """Two legs for each message: what is sent while its source still works, and what is left.

    Leg 2i carries ``first_bytes[i]`` evenly over ``paced_ps[i]`` (longer, if its slowest link is),
    after the latency of the path; leg 2i + 1 sends ``last_bytes[i]`` right behind it at full rate.
    """
    rate = resources.capacity_bytes_per_s[ways.slowest[lane]]
    none = np.zeros(len(lane), np.int64)
    work_ps = np.stack(
        [
            np.maximum(paced_ps, picoseconds(first_bytes / rate, first_bytes.astype(np.float64))),
            picoseconds(last_bytes / rate, last_bytes.astype(np.float64)),
        ],
        axis=1,
    ).ravel()
    moved = np.stack([first_bytes, last_bytes], axis=1).ravel()
    legs = np.arange(2 * len(lane))
    leg, link = _uses(ways, np.repeat(lane, 2), moved > 0)
    rates = resources.capacity_bytes_per_s[link]
    part = moved[leg] * 1e12 / (work_ps[leg] * rates)
    return Transfers(
        latency_ps=np.stack([ways.latency_ps[lane], none], axis=1).ravel(),
        work_ps=work_ps,
        peak=np.where(moved > 0, moved / np.maximum(work_ps, 1), 1.0),
        then=np.where(legs % 2 == 0, legs + 1, -1),
        use_offsets=np.concatenate([[0], np.cumsum(np.bincount(leg, minlength=len(legs)))]),
        use_resource=link,
        use_share=np.clip(np.floor(part * FULL), 1, FULL).astype(np.int64),
        use_bytes=moved[leg],
        resource_name=resources.name,
        capacity_bytes_per_s=resources.capacity_bytes_per_s,
    )


def _uses(ways: Lanes, lane: Integers, moves: npt.NDArray[np.bool_]) -> tuple[Integers, ...]:
    """Leg and link of every use, leg by leg."""
    legs = np.flatnonzero(moves)
    counts = np.diff(ways.offsets)[lane[legs]]
    leg = np.repeat(legs, counts)
    within = np.arange(len(leg)) - np.repeat(np.cumsum(counts) - counts, counts)
    return leg, ways.links[ways.offsets[lane[leg]] + within]
