"""Max-min fair speeds of the legs that share links."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from cluster.perf_model.collectives import FULL
from cluster.replay.reference.transfer_legs import Flow

Contest: TypeAlias = Mapping[int, Sequence[Flow]]
"""Tight resources, each with the flows on it in the order of their homes."""


def fair_speeds(flows: Collection[Flow]) -> dict[Flow, float]:
    """Max-min fair speeds: 1 without contention."""
    speeds = dict.fromkeys(flows, 1.0)
    for contest in components(tight_resources(flows)):
        speeds |= settle(contest)
    return speeds


def tight_resources(flows: Collection[Flow]) -> Contest:
    """The oversubscribed resources."""
    users: dict[int, list[Flow]] = {}
    for flow in sorted(flows, key=lambda flow: flow.home):
        for resource in flow.leg.shares:
            users.setdefault(resource, []).append(flow)
    return {
        resource: on_it
        for resource, on_it in users.items()
        if sum(flow.leg.shares[resource] for flow in on_it) > FULL
    }


def components(tight: Contest) -> Iterator[Contest]:
    """The tight resources as connected components."""
    unreached = set(tight)
    while unreached:
        fringe = [unreached.pop()]
        part = []
        while fringe:
            resource = fringe.pop()
            part.append(resource)
            touched = {other for flow in tight[resource] for other in flow.leg.shares} & unreached
            unreached -= touched
            fringe.extend(touched)
        yield {resource: tight[resource] for resource in part}


def settle(contest: Contest) -> dict[Flow, float]:
    """Raise the rates of all flows together; stop each where it is full or a resource is."""
    free = {flow for flows in contest.values() for flow in flows}
    fixed: dict[Flow, float] = {}
    level = 0.0
    while free:
        reaches = {
            resource: reach(resource, flows, fixed)
            for resource, flows in contest.items()
            if not free.isdisjoint(flows)
        }
        neck = min(reaches, key=lambda resource: (reaches[resource], resource))
        level = max(level, reaches[neck])
        unhindered = [flow for flow in free if flow.leg.peak <= level]
        if unhindered:
            fixed |= dict.fromkeys(unhindered, 1.0)
        else:
            fixed |= {
                flow: min(1.0, level / flow.leg.peak) for flow in contest[neck] if flow in free
            }
        free -= fixed.keys()
    return fixed


def reach(resource: int, flows: Sequence[Flow], fixed: Mapping[Flow, float]) -> float:
    """The rate to which ``resource`` lets those of ``flows`` rise that are not fixed yet.

    The sums run in the order of ``flows``: another order would round otherwise.
    """
    used = weight = 0.0
    for flow in flows:
        share = flow.leg.shares[resource]
        if flow in fixed:
            used += share * fixed[flow]
        else:
            weight += share / flow.leg.peak
    return (FULL - used) / weight
