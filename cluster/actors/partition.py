"""Cuts a run into independent parts: replicas that share no state, with their requests."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cluster.perf_model.tables import PriceTables
from cluster.scenario.routers import STATELESS
from cluster.serving.admission_limits import refused
from cluster.serving.interface import Arrivals, Limits, Served, chosen
from corsair_common.names import Status
from corsair_common.units import NEVER, Integers

PER_REQUEST = tuple(
    field.name for field in fields(Served) if field.name not in ("itl_count", "end_ps")
)
"""Columns of ``Served`` with a row per request."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some replicas and the requests that go to them."""

    replicas: Integers
    """Their numbers in the whole run."""
    requests: Integers
    """Rows of the whole run's arrivals, in order."""


def independent_parts(
    arrivals: Arrivals, limits: Limits, replicas: int, *, whole: bool = False
) -> tuple[Part, ...]:
    """Cut the run into parts that can be run apart with the same result.

    A router that looks at no replica's state sends each request where it would go in any case, if
    arrivals are given beforehand (open loop): then each replica is a part. Serving prices know of
    no traffic but a stage's own, so replicas do not meet on links either. Else all is one part.
    Requests that are refused touch nothing and go with the first part. ``whole`` asks for one part
    in any case.
    """
    count = len(arrivals.arrival_ps)
    separable = limits.concurrency == 0 and limits.router in STATELESS
    if whole or replicas == 1 or not separable:
        return (Part(replicas=np.arange(replicas), requests=np.arange(count)),)
    replica = routed(arrivals, limits, replicas)
    return tuple(
        Part(replicas=np.array([number]), requests=np.flatnonzero(replica == number))
        for number in range(replicas)
    )


def routed(arrivals: Arrivals, limits: Limits, replicas: int) -> Integers:
    """[n] the replica of each request; 0 for those that will be refused."""
    accepted = refused(arrivals, limits) == Status.COMPLETED
    if limits.router == "random":
        choice = arrivals.router_choice
    else:
        choice = (np.cumsum(accepted) - 1) % replicas
    return np.where(accepted, choice, 0)


def problem_of(
    part: Part, arrivals: Arrivals, prices: PriceTables, limits: Limits
) -> tuple[Arrivals, PriceTables, Limits]:
    """Return what an engine needs to run a part alone: all of a run, or one of its replicas."""
    own, own_prices = chosen(arrivals, part.requests), prices_of(prices, part.replicas)
    if len(part.replicas) == prices.replicas:
        return own, own_prices, limits
    own = replace(own, router_choice=np.empty(0, np.int64))
    return own, own_prices, replace(limits, router="round_robin")


def prices_of(prices: PriceTables, replicas: Integers) -> PriceTables:
    """The prices of these replicas alone: only their classes, in arrays of their own.

    Arrays that come through Ray's object store are read-only, for which compiled code would be
    compiled a second time; these are not.
    """
    classes, numbers = np.unique(prices.stage_class[replicas], return_inverse=True)
    own = ("stage_class", "return_ps", "kinds")
    every = {field.name: getattr(prices, field.name) for field in fields(prices)}
    per_class: dict[str, Any] = {
        name: column[classes]
        for name, column in every.items()
        if isinstance(column, np.ndarray) and name not in own
    }
    return replace(
        prices,
        **per_class,
        stage_class=numbers.reshape(len(replicas), prices.stages).astype(np.int64),
        return_ps=prices.return_ps[replicas],
    )


def joined(parts: Sequence[Part], served: Sequence[Served], arrivals: Arrivals) -> Served:
    """Lay the columns of the parts side by side again, as if the run had been whole."""
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
    )
