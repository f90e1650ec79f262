"""The pools of a scenario as separate scenarios, with the keys that they inherit."""

from typing import TypeVar

from cluster.scenario.base import Part
from cluster.scenario.routers import Router
from cluster.scenario.schema import Pool, Pools, Scenario

Settings = TypeVar("Settings", bound=Part)

POOLS = ("prefill", "decode")
"""In the order of their cards and of their replicas."""
INHERITED = ("plan", "memory", "scheduler")


def completed(scenario: Scenario) -> Scenario:
    """The same scenario with every key of its pools filled in."""
    if scenario.pools is None:
        return scenario
    prefill, decode = scenario.pools.prefill, scenario.pools.decode
    shared = decode.scheduler.enable_prefix_caching is True
    decode = _filled(scenario, decode, "round_robin")
    decode = decode.model_copy(
        update={"scheduler": decode.scheduler.model_copy(update={"enable_prefix_caching": shared})}
    )
    pools = Pools(prefill=_filled(scenario, prefill, scenario.router), decode=decode)
    return scenario.model_copy(update={"pools": pools})


def pool_scenario(scenario: Scenario, pool: Pool) -> Scenario:
    """The scenario of one pool alone."""
    changes = {name: getattr(pool, name) for name in (*INHERITED, "router")}
    return scenario.model_copy(update={**changes, "pools": None, "transfer": None})


def _filled(scenario: Scenario, pool: Pool, router: Router) -> Pool:
    parts = {name: _own(getattr(scenario, name), getattr(pool, name)) for name in INHERITED}
    return pool.model_copy(update={**parts, "router": pool.router or router})


def _own(base: Part | str, own: Part | str) -> Part | str:
    """The pool's settings, where it leaves any open with those of ``base``; either may be auto."""
    if not isinstance(own, Part):
        return own
    if not isinstance(base, Part):
        return own if own.model_fields_set else base
    return _over(base, own)


def _over(base: Settings, own: Settings) -> Settings:
    """``base`` with the keys that ``own`` sets."""
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
