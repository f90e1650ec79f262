"""What a collective or a send costs, for many payloads at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.machine.collective.algorithms import schedules
from cluster.machine.collective.fabric import TIERS, Floats, card_tiers
from cluster.machine.collective.group import ALGORITHMS, CollectiveError, Group
from cluster.machine.collective.schedule import Schedule
from cluster.machine.tables import LONGEST_PS, Integers, TooSlowError
from cluster.machine.views import Figures, RouteTables

CHUNKS = (1, 2, 4, 8, 16)
"""The chunk counts that ``auto`` tries."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cost:
    """One row per payload."""

    ps: Integers
    """[n] 0 for an empty payload, at least 1 for any other."""
    tier_bytes: Integers
    """[n, len(TIERS)] bytes that each card puts on each tier, in one direction (its mean over the
    cards where they differ)."""
    algorithm: npt.NDArray[np.int8]
    """[n] index into ALGORITHMS."""
    chunks: Integers
    """[n]"""


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


def send(
    hardware: Figures,
    routes: RouteTables,
    sources: Sequence[int],
    destinations: Sequence[int],
    payload_bytes: Integers,
) -> Cost:
    """Each source card sends an equal part of the payload to the destination of its position.

    Path latency + one message + bytes / rate, cut-through; flows that cross one link share it.

    Raises
    ------
    CollectiveError
        Unequal numbers of sources and destinations, or none.
    """
    payload = _payload(payload_bytes)
    source, destination = np.asarray(sources, np.int64), np.asarray(destinations, np.int64)
    if source.size != destination.size or source.size == 0:
        raise CollectiveError(
            f"a send needs as many destinations as sources, got {source.size} and"
            f" {destination.size}"
        )
    slope = _slowest_s_per_byte(hardware, routes, source, destination) / source.size
    if slope == 0.0:
        return _free(payload.size)
    latency_s = float(np.max(routes.latency_ps(source, destination))) * 1e-12
    seconds = latency_s + hardware["links.chunk_overhead_s"] + slope * payload
    ends = card_tiers(routes, np.concatenate([source, destination]))
    flows = np.bincount(np.diagonal(ends, source.size), minlength=len(TIERS))
    tier_bytes = payload[:, None] / source.size * (flows / source.size)
    return Cost(
        ps=picoseconds(seconds, payload),
        tier_bytes=np.rint(tier_bytes).astype(np.int64),
        algorithm=np.where(payload > 0, ALGORITHMS.index("direct"), 0).astype(np.int8),
        chunks=(payload > 0).astype(np.int64),
    )


def _slowest_s_per_byte(
    hardware: Figures, routes: RouteTables, source: Integers, destination: Integers
) -> float:
    """Seconds of the busiest link when each source sends one byte; 0 where none leaves its card."""
    paths = [
        np.asarray(routes.path(int(a), int(b)), np.int64)
        for a, b in zip(source, destination, strict=True)
        if a != b
    ]
    rates = np.asarray(routes.link_bandwidth_bytes_per_s) * hardware["links.efficiency"]
    flows = np.bincount(np.concatenate([np.zeros(0, np.int64), *paths]), minlength=rates.size)
    return float((flows / rates).max(initial=0.0))


def _cost(
    group: Group, collective: str, payload_bytes: Integers, algorithm: str, chunks: int | str
) -> Cost:
    """The cheapest of the allowed schedules and chunk counts for each payload."""
    payload = _payload(payload_bytes)
    if not group.tiers:
        return _free(payload.size)
    candidates = schedules(group, collective, algorithm)
    best_s, which, count = cheapest(candidates, payload, chunks)
    moved = payload > 0
    tier_share = np.stack([schedule.tier_bytes for schedule in candidates])
    names = np.array([schedule.algorithm for schedule in candidates], np.int8)
    return Cost(
        ps=picoseconds(best_s, payload),
        tier_bytes=np.rint(tier_share[which] * payload[:, None]).astype(np.int64),
        algorithm=np.where(moved, names[which], 0).astype(np.int8),
        chunks=np.where(moved, count, 0),
    )


def cheapest(
    candidates: Sequence[Schedule], payload: Floats, chunks: int | str
) -> tuple[Floats, Integers, Integers]:
    """[n] seconds of the cheapest candidate for each payload, which it is, and its chunks."""
    best_s = np.full(payload.size, np.inf)
    which = np.zeros(payload.size, np.int64)
    count = np.zeros(payload.size, np.int64)
    for index, schedule in enumerate(candidates):
        for parts in _chunk_counts(chunks):
            seconds = schedule.seconds(payload, parts)
            better = seconds < best_s
            best_s[better], which[better], count[better] = seconds[better], index, parts
    return best_s, which, count


def _payload(payload_bytes: Integers) -> Floats:
    payload = np.atleast_1d(np.asarray(payload_bytes, np.int64))
    if payload.size and payload.min() < 0:
        raise CollectiveError(f"a payload has at least 0 bytes, got {int(payload.min())}")
    return payload.astype(np.float64)


def _chunk_counts(chunks: int | str) -> tuple[int, ...]:
    if chunks == "auto":
        return CHUNKS
    if isinstance(chunks, str) or chunks < 1:
        raise CollectiveError(f"chunks is auto or a whole number of at least 1, got {chunks!r}")
    return (chunks,)


def picoseconds(seconds: Floats, payload: Floats) -> Integers:
    """Half-even, as every price; any work takes at least 1 ps."""
    longest_s = float(seconds.max(initial=0.0))
    if not longest_s * 1e12 <= LONGEST_PS:
        raise TooSlowError(
            f"one exchange of {payload.max():,.0f} bytes would last {longest_s:,.0f} s, at most "
            f"{LONGEST_PS * 1e-12:,.0f} s are simulated: a link is too slow for so much"
        )
    ps = np.maximum(np.rint(seconds * 1e12), 1.0)
    return np.where(payload > 0, ps, 0.0).astype(np.int64)


def _free(rows: int) -> Cost:
    """What one rank alone pays."""
    return Cost(
        ps=np.zeros(rows, np.int64),
        tier_bytes=np.zeros((rows, len(TIERS)), np.int64),
        algorithm=np.zeros(rows, np.int8),
        chunks=np.zeros(rows, np.int64),
    )
