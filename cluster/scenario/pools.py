"""The pools of a scenario as separate scenarios, with the keys that they inherit."""

from typing import TypeVar

from cluster.scenario.base import Part
from cluster.scenario.router_settings import AnyRouter
from cluster.scenario.schema import Pool, Pools, Power, Scenario

Settings = TypeVar("Settings", bound=Part)

POOLS = ("prefill", "decode")
"""In the order of their cards and of their replicas."""
INHERITED = ("plan", "memory", "scheduler")
OF_HARDWARE = ("hardware", "hardware_set", "formats", "power")
"""What goes with a pool's hardware: a pool with hardware of its own inherits none of it."""


def completed(scenario: Scenario) -> Scenario:
    """The same scenario with every key of its pools filled in; its hardware is the first pool's."""
    if scenario.pools is None:
        return scenario
    prefill, decode = scenario.pools.prefill, scenario.pools.decode
    shared = decode.scheduler.enable_prefix_caching is True
    decode = _filled(scenario, decode, "round_robin")
    decode = decode.model_copy(
        update={"scheduler": decode.scheduler.model_copy(update={"enable_prefix_caching": shared})}
    )
    prefill = _filled(scenario, prefill, scenario.router)
    own = {name: getattr(prefill, name) for name in OF_HARDWARE}
    return scenario.model_copy(update={**own, "pools": Pools(prefill=prefill, decode=decode)})


def pool_scenario(scenario: Scenario, pool: Pool) -> Scenario:
    """The scenario of one pool alone."""
    changes = {name: getattr(pool, name) for name in (*OF_HARDWARE, *INHERITED, "router")}
    return scenario.model_copy(update={**changes, "pools": None, "transfer": None})


def _filled(scenario: Scenario, pool: Pool, router: AnyRouter) -> Pool:
    parts = {name: _own(getattr(scenario, name), getattr(pool, name)) for name in INHERITED}
    return pool.model_copy(
        update={**_of_hardware(scenario, pool), **parts, "router": pool.router or router}
    )


def _of_hardware(scenario: Scenario, pool: Pool) -> dict[str, object]:
    """What a pool leaves open of OF_HARDWARE, filled in."""
    if pool.hardware is not None:
        return {"power": pool.power or Power()}
    return {
        "hardware": scenario.hardware,
        "hardware_set": {**scenario.hardware_set, **pool.hardware_set},
        "formats": _over(scenario.formats, pool.formats),
        "power": pool.power or scenario.power,
    }


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
