"""Cuts a run into independent parts: replicas that share no state, with their requests."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cluster.perf_model.tables import PriceTables
from cluster.scenario.routers import AFFINITY, DRAWN, STATELESS
from cluster.serving.admission_limits import refused
from cluster.serving.interface import Arrivals, Limits, Served, chosen
from corsair_common.names import Status
from corsair_common.units import NEVER, Integers
from results.engine_columns import Latency

PER_REQUEST = tuple(
    field.name
    for field in fields(Served)
    if field.name not in ("itl_count", "end_ps", "accepted_count", "draft_tokens")
)
"""Columns of ``Served`` with a row per request."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some replicas and the requests routed to them."""

    replicas: Integers
    """Their positions in the whole run."""
    requests: Integers
    """Rows of the whole run's arrivals, in order."""
    stepwise: bool = False
    """Whether every step is run by itself, for a log of one order over all replicas."""


def independent_parts(
    arrivals: Arrivals, limits: Limits, replicas: int, *, whole: bool = False
) -> tuple[Part, ...]:
    """Cut the run into parts that can run independently with the same result.

    Each replica is a part if the router does not depend on the state of replicas and arrivals are
    known beforehand (open loop), or depend only on what is served there (sessions that stay at one
    replica). Serving prices ignore other stages' traffic, so replicas share no
    links either. Else, or if ``whole`` is true, the run is one part. Refused requests have no
    effect and belong to the first part.
    """
    count = len(arrivals.arrival_ps)
    blind = (AFFINITY,) if len(arrivals.previous) else (*STATELESS, AFFINITY)
    separable = limits.concurrency == 0 and limits.router in blind
    if whole or replicas == 1 or not separable:
        every = np.arange(replicas), np.arange(count)
        return (Part(replicas=every[0], requests=every[1], stepwise=whole),)
    replica = routed(arrivals, limits, replicas)
    return tuple(
        Part(replicas=np.array([number]), requests=np.flatnonzero(replica == number))
        for number in range(replicas)
    )


def routed(arrivals: Arrivals, limits: Limits, replicas: int) -> Integers:
    """[n] the replica of each request; 0 for refused ones, but those of sessions stay together."""
    if limits.router == AFFINITY:
        return arrivals.router_choice
    accepted = refused(arrivals, limits) == Status.COMPLETED
    if limits.router in DRAWN:
        choice = arrivals.router_choice
    else:
        choice = (np.cumsum(accepted) - 1) % replicas
    return np.where(accepted, choice, 0)


def problem_of(
    part: Part, arrivals: Arrivals, prices: PriceTables, limits: Limits
) -> tuple[Arrivals, PriceTables, Limits]:
    """Return the engine inputs of one part: a whole run, or one of its replicas."""
    own, own_prices = chosen(arrivals, part.requests), prices_of(prices, part.replicas)
    if len(part.replicas) == prices.replicas:
        return own, own_prices, limits
    own = replace(own, router_choice=np.empty(0, np.int64))
    return own, own_prices, replace(limits, router="round_robin")


def prices_of(prices: PriceTables, replicas: Integers) -> PriceTables:
    """The prices of these replicas alone: only their classes, in new arrays.

    Arrays from Ray's object store are read-only, which would compile the kernel a second time;
    these are writable.
    """
    classes, numbers = np.unique(prices.stage_class[replicas], return_inverse=True)
    own = ("stage_class", "return_ps", "kinds", "host_rows_ps")
    every = {field.name: getattr(prices, field.name) for field in fields(prices)}
    per_class: dict[str, Any] = {
        name: column[classes]
        for name, column in every.items()
        if isinstance(column, np.ndarray) and name not in own and len(column)
    }
    return replace(
        prices,
        **per_class,
        stage_class=numbers.reshape(len(replicas), -1).astype(np.int64),
        return_ps=prices.return_ps[replicas],
    )


def joined(parts: Sequence[Part], served: Sequence[Served], arrivals: Arrivals) -> Served:
    """Merge the columns of the parts into those of the whole run."""
    count = len(arrivals.arrival_ps)
    columns = {name: np.zeros(count, np.int64) for name in PER_REQUEST}
    for part, own in zip(parts, served, strict=True):
        for name, column in columns.items():
            column[part.requests] = getattr(own, name)
        accepted = own.replica != NEVER
        columns["replica"][part.requests[accepted]] = part.replicas[own.replica[accepted]]
    return Served(
        **columns,
        itl_count=np.sum([own.itl_count for own in served], axis=0),
        end_ps=max(own.end_ps for own in served),
        accepted_count=np.sum([own.accepted_count for own in served], axis=0),
        draft_tokens=sum(own.draft_tokens for own in served),
    )


def joined_latency(
    parts: Sequence[Part], latencies: Sequence[Latency | None], count: int
) -> Latency | None:
    """Merge the latencies by cause of the parts into those of the whole run.

    Parts with other prices may lack causes that are 0 there.
    """
    found = [latency for latency in latencies if latency is not None]
    if len(found) < len(parts):
        return None
    names = tuple(dict.fromkeys(cause for latency in found for cause in latency.causes))
    whole, first = np.zeros((2, count, len(names)), np.int64)
    done = np.zeros(count, np.bool_)
    for part, latency in zip(parts, found, strict=True):
        columns = [names.index(cause) for cause in latency.causes]
        whole[part.requests[:, None], columns] = latency.whole
        first[part.requests[:, None], columns] = latency.first
        done[part.requests] = latency.done
    return Latency(causes=names, whole=whole, first=first, done=done)
