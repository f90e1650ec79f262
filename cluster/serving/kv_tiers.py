"""KV tiers of a scenario as the engines take them: blocks of a replica, and what loading one costs.

A block's load is that of the stage with the most to load, at the rate of its own memory: LPDDR of
each chiplet, or the host's PCIe port shared by the cards of its switch. Stores cost no time.
"""

import math

from cluster.perf_model.memory import Fit
from cluster.perf_model.memory.loading import host_rate, lpddr_rate
from cluster.perf_model.memory.stage import StageMemory, chiplets_of
from cluster.scenario.load import ScenarioError
from cluster.scenario.memory_modes import KvTierSettings
from cluster.scenario.resolve import Planned
from cluster.serving.interface import KvTier
from corsair_common.units import PS_PER_S


def kv_tiers(resolved: Planned, fitted: Fit) -> tuple[KvTier, ...]:
    """The tiers of the scenario, empty if no prefixes are looked up.

    Raises
    ------
    ScenarioError
        Tiers without prefix caching, twice the same, of the host without a size, or LPDDR below KV
        in LPDDR.
    """
    wanted = resolved.scenario.memory.kv_tiers
    names = [each.tier for each in wanted]
    if len(set(names)) < len(names):
        raise ScenarioError(f"memory.kv_tiers has {names[0]} twice")
    if not resolved.prefix_caching:
        if wanted and resolved.scenario.scheduler.enable_prefix_caching is False:
            raise ScenarioError("memory.kv_tiers needs scheduler.enable_prefix_caching")
        return ()
    return tuple(_tier(each, resolved, fitted) for each in wanted)


def _tier(wanted: KvTierSettings, resolved: Planned, fitted: Fit) -> KvTier:
    chiplets, size = chiplets_of(resolved.hardware), wanted.capacity_bytes
    if wanted.tier == "host":
        if size is None:
            raise ScenarioError("memory.kv_tiers: host needs capacity_bytes, of each card's part")
        rate = host_rate(resolved.hardware, resolved.scenario.cluster.cards_per_server) / chiplets
    else:
        if fitted.residency.kv != "sram":
            raise ScenarioError(
                f"memory.kv_tiers: lpddr is below KV in SRAM; memory.pin.kv is "
                f"{fitted.residency.kv}, so that blocks are in LPDDR already"
            )
        rate = lpddr_rate(resolved.hardware)
    stages = [stage for stage in fitted.stages if stage.stores_kv]
    load_s = max((float(stage.block_bytes) / rate for stage in stages), default=0.0)
    blocks = [_blocks(wanted, stage, None if size is None else size / chiplets) for stage in stages]
    if min(blocks, default=1) < 1:
        raise ScenarioError(f"memory.kv_tiers: {wanted.tier} has no room for a KV block")
    return KvTier(blocks=min(blocks, default=1), block_ps=math.ceil(load_s * PS_PER_S))


def _blocks(wanted: KvTierSettings, stage: StageMemory, size: float | None) -> int:
    """Blocks of a stage, in ``size`` bytes of each chiplet or in all that is left of its LPDDR."""
    left = stage.lpddr_bytes - stage.lpddr_weight_bytes
    if size is None:
        room: float = left
    else:
        room = min(size, left) if wanted.tier == "lpddr" else size
    return int(room // stage.block_bytes)
