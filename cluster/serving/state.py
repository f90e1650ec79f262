"""Replicas that are left when parts of the cluster are down.

They are placed by name on the map without faults, ``healthy``, and run on the map as it is,
``routes``, which has no cards that are down.
"""

from collections.abc import Sequence

import numpy as np

from cluster.perf_model.placement import PlacementError, place
from cluster.scenario.plans import Loss
from cluster.scenario.resolve import Planned
from corsair_common.units import Integers
from topology.paths import UNREACHABLE_PS
from topology.route import Routes


def broken_replicas(planned: Planned, healthy: Routes, routes: Routes) -> tuple[Loss, ...]:
    """Replicas that have lost a card, or the path between two."""
    found = []
    for replica, names in enumerate(_placed_names(planned, healthy, planned.plan.replicas)):
        reason = _broken(routes, names)
        if reason:
            found.append(Loss(replica=replica, reason=reason))
    return tuple(found)


def cards_left(planned: Planned, healthy: Routes, routes: Routes) -> Integers:
    """[replica, stage, position] cards of the replicas that are left."""
    plan, lost = planned.plan, {each.replica for each in planned.lost}
    placed = _placed_names(planned, healthy, plan.replicas + len(lost))
    left = [_numbers(routes, names) for number, names in enumerate(placed) if number not in lost]
    shape = (-1, plan.pipeline_parallel_size, plan.tensor_parallel_size)
    return np.array(left, np.int64).reshape(shape)


def ranks_left(healthy: Routes, routes: Routes, ranks: int) -> Integers:
    """[rank] cards of recorded ranks, which are in the order of the topology.

    Raises
    ------
    PlacementError
        A rank's card is down, or two have no path.
    """
    names = healthy.card_id[:ranks].tolist()
    reason = _broken(routes, names)
    if reason:
        raise PlacementError(f"the trace cannot be replayed: {reason}")
    return _numbers(routes, names)


def _placed_names(planned: Planned, healthy: Routes, replicas: int) -> list[list[str]]:
    """The cards of each replica by name, rank by rank."""
    cards = place(
        levels_of(planned, healthy),
        tensor_parallel_size=planned.plan.tensor_parallel_size,
        pipeline_parallel_size=planned.plan.pipeline_parallel_size,
        replicas=replicas,
        within=planned.cards,
    )
    names: list[list[str]] = healthy.card_id[cards].reshape(len(cards), -1).tolist()
    return names


def levels_of(planned: Planned, routes: Routes) -> Routes:
    """The map without faults as the planned cards see it: of two kinds of servers, one."""
    return routes if planned.mixed is None else routes.between(list(planned.cards or ()))


def _broken(routes: Routes, names: Sequence[str]) -> str:
    """Why these ranks cannot work together; empty if they can."""
    known = set(routes.card_id.tolist())
    for rank, name in enumerate(names):
        if name not in known:
            return f"rank {rank} is on {name}, which is down or cut off"
    cards = _numbers(routes, names)
    far = routes.latency_ps(cards[0], cards) >= UNREACHABLE_PS  # links lead both ways
    if far.any():
        return f"no path is left from {names[0]} to {names[int(far.argmax())]}"
    return ""


def _numbers(routes: Routes, names: Sequence[str]) -> Integers:
    number = {name: card for card, name in enumerate(routes.card_id.tolist())}
    return np.array([number[name] for name in names], np.int64)
