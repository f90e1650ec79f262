"""Places both pools on one topology, which may have servers of two kinds."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cluster.disaggregated.kv_format import KvPath, kv_path
from cluster.perf_model.energy.facility import Facility, shared_facilities
from cluster.perf_model.placement import PlacementError
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.serving.run import Machine, MapOf, map_of
from corsair_common.units import Integers
from topology.paths import UNREACHABLE_PS
from topology.route import Routes

if TYPE_CHECKING:
    from topology.types import Graph

Assemble: TypeAlias = Callable[[Resolved, MapOf | None], Machine]
"""``serving.run.assemble`` or a substitute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledMachine(Machine):
    """The machine of both pools; its inherited fields are those of the prefill pool."""

    pools: tuple[Machine, Machine]
    """Prefill, decode."""
    kv: KvPath
    owner: Integers
    """[card] position of the pool that it, or a spare card of its kind, is counted to."""
    facilities: tuple[Facility, ...]
    """Around all cards, or around those of each pool where servers are of two kinds."""

    @property
    def bounds(self) -> tuple[str, ...]:
        """What can set the time of cards of either pool."""
        return tuple(dict.fromkeys(name for pool in self.pools for name in pool.prices.bounds))

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of energy of cards of either pool."""
        return tuple(dict.fromkeys(name for pool in self.pools for name in pool.joules.parts))

    @property
    def memories(self) -> tuple[str, ...]:
        """Near memories in one name, and the far one if there is one."""
        each = [pool.prices.memories for pool in self.pools]
        near = " or ".join(dict.fromkeys(names[0] for names in each))
        return (near, *dict.fromkeys(name for names in each for name in names[1:]))


def assemble_pools(
    resolved: Resolved, assemble: tuple[Assemble, Assemble], mapped: MapOf | None = None
) -> PooledMachine:
    """Place each pool on its cards of one topology, and price it.

    Raises
    ------
    ValueError
        Raised by ``assemble``, with the pool's name in front.
    """
    if resolved.pools is None:
        raise ValueError("the scenario has no pools")
    found = (mapped or map_of)(resolved.scenario, resolved.racks)
    prefill, decode = (
        _named(*each, lambda *_: found)
        for each in zip(POOLS, resolved.pools, assemble, strict=True)
    )
    _refuse_cut(found[1], prefill, decode)
    if decode.prices.replicas == 1:  # whatever the router, it needs to look at nothing
        decode = replace(decode, limits=replace(decode.limits, router="round_robin"))
    own = {field.name: getattr(prefill, field.name) for field in fields(Machine)}
    own["routes"] = found[1]
    kv = kv_path(resolved, resolved.pools, found[1], (prefill.cards, decode.cards))
    owner = _owners(resolved, found, prefill)
    return PooledMachine(
        **own,
        pools=(prefill, decode),
        kv=kv,
        owner=owner,
        facilities=(prefill.facility,)
        if resolved.mixed is None
        else shared_facilities(kv.figures, found[1], owner),
    )


def _owners(resolved: Resolved, found: tuple["Graph", Routes], prefill: Machine) -> Integers:
    """[card] 0 or 1: cards of one kind by what they are, of two pools of a kind by their ranks."""
    graph, routes = found
    if resolved.mixed is not None:
        named = [graph.nodes[card]["hardware"] for card in routes.card_id.tolist()]
        return np.array([int(name != resolved.mixed.first.name) for name in named], np.int64)
    owner = np.ones(len(routes.card_id), np.int64)
    owner[prefill.cards.ravel()] = 0
    return owner


def _refuse_cut(routes: Routes, prefill: Machine, decode: Machine) -> None:
    """KV goes from every prefill replica to every decode replica."""
    first, second = prefill.cards[:, 0, 0], decode.cards[:, 0, 0]
    cut = np.argwhere(routes.latency_ps(first[:, None], second) >= UNREACHABLE_PS)
    if len(cut):
        source, target = routes.card_id[first[cut[0, 0]]], routes.card_id[second[cut[0, 1]]]
        raise PlacementError(f"no path is left for KV from {source} to {target}")


def _named(name: str, pool: Resolved, assemble: Assemble, mapped: MapOf) -> Machine:
    try:
        return assemble(pool, mapped)
    except ValueError as error:
        if not hasattr(error, "exit_code"):
            raise
        raise type(error)(f"pools.{name}: {error}") from error
