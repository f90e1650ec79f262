"""Places both pools on one topology; KV shared by each pair of ranks."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

from cluster.perf_model.devices import module_of
from cluster.perf_model.kv_transfer_map import KvShares, kv_shares
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.protocols import Figures
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.serving.run import Machine, MapOf, map_of

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


def _named(name: str, pool: Resolved, assemble: Assemble, mapped: MapOf) -> Machine:
    try:
        return assemble(pool, mapped)
    except ValueError as error:
        if not hasattr(error, "exit_code"):
            raise
        raise type(error)(f"pools.{name}: {error}") from error
