"""Places both pools on one topology; KV shared by each pair of ranks."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.kv_transfer_map import KvShares, kv_shares
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.placement import PlacementError
from cluster.perf_model.protocols import Figures
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.serving.run import Machine, MapOf, map_of
from topology.paths import UNREACHABLE_PS
from topology.route import Routes

Assemble: TypeAlias = Callable[[Resolved, MapOf | None], Machine]
"""``serving.run.assemble`` or a substitute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledMachine(Machine):
    """The machine of both pools; its inherited fields are those of the prefill pool."""

    pools: tuple[Machine, Machine]
    """Prefill, decode."""
    shares: KvShares
    figures: Figures


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
    found = (mapped or map_of)(resolved.scenario, resolved.hardware)
    prefill, decode = (
        _named(*each, lambda *_: found)
        for each in zip(POOLS, resolved.pools, assemble, strict=True)
    )
    _refuse_cut(found[1], prefill, decode)
    # The decode replica is chosen when the prefill ends (see run.py), so its router is precomputed.
    decode = replace(decode, limits=replace(decode.limits, router="random"))
    requested, inputs = resolved.pools
    shares = kv_shares(
        resolved.model,
        requested.plan,
        inputs.plan,
        chiplets_of(resolved.hardware),
        resolved.formats.kv,
        tail_bits=module_of(resolved.hardware).TAIL_BITS,
        whole=requested.prefix_caching and inputs.prefix_caching,
    )
    own = {field.name: getattr(prefill, field.name) for field in fields(Machine)}
    return PooledMachine(**own, pools=(prefill, decode), shares=shares, figures=resolved.hardware)


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
