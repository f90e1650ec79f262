"""KV tiers of a scenario as the engines take them: blocks of a replica, and what loading one costs.

A block's load is that of the stage with the most to load, at the rate of its own memory: LPDDR of
each chiplet, the host's PCIe port shared by the cards of its switch, or the NICs of the switch,
shared likewise, to a store. What is written costs no time.
"""

import math

from cluster.perf_model.memory import Fit
from cluster.perf_model.memory.loading import host_rate, lpddr_rate, nic_rate
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
        Tiers without prefix caching or for one request at a time, twice the same, of the host or a
        store without a size, a store that is not the last, or LPDDR below KV in LPDDR.
    """
    wanted = resolved.scenario.memory.kv_tiers
    names = [each.tier for each in wanted]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ScenarioError(f"memory.kv_tiers has {twice} twice")
    if "store" in names[:-1]:
        raise ScenarioError("memory.kv_tiers: store is the last one")
    if names and resolved.scenario.scheduler.max_num_seqs == 1:
        raise ScenarioError(
            "memory.kv_tiers needs scheduler.max_num_seqs of at least 2, found 1: a request whose "
            "blocks are loaded would wait for the running one, which may wait for its blocks"
        )
    if not resolved.prefix_caching:
        if wanted and resolved.scenario.scheduler.enable_prefix_caching is False:
            raise ScenarioError("memory.kv_tiers needs scheduler.enable_prefix_caching")
        return ()
    return tuple(_tier(each, resolved, fitted) for each in wanted)


def _tier(wanted: KvTierSettings, resolved: Planned, fitted: Fit) -> KvTier:
    rate, shared = _rate(wanted, resolved, fitted), wanted.tier == "store"
    stages = [stage for stage in fitted.stages if stage.stores_kv]
    load_s = max((float(stage.block_bytes) / rate for stage in stages), default=0.0)
    blocks = _blocks(wanted, stages, resolved)
    if blocks < 1:
        raise ScenarioError(f"memory.kv_tiers: {wanted.tier} has no room for a KV block")
    # a read over the network: there, and back with the blocks
    latency_s = 2 * resolved.hardware["rack.network_latency_s"] if shared else 0.0
    return KvTier(
        blocks=blocks,
        block_ps=math.ceil(load_s * PS_PER_S),
        latency_ps=math.ceil(latency_s * PS_PER_S),
        shared=shared,
    )


def _rate(wanted: KvTierSettings, resolved: Planned, fitted: Fit) -> float:
    """Bytes a second to each chiplet."""
    hardware, cards = resolved.hardware, resolved.scenario.cluster.cards_per_server
    if wanted.capacity_bytes is None and wanted.tier != "lpddr":
        whose = "each card's part" if wanted.tier == "host" else "all replicas together"
        raise ScenarioError(f"memory.kv_tiers: {wanted.tier} needs capacity_bytes, of {whose}")
    if wanted.tier == "host":
        return host_rate(hardware, cards) / chiplets_of(hardware)
    if wanted.tier == "store":
        return nic_rate(hardware, cards) / chiplets_of(hardware)
    if fitted.residency.kv != "sram":
        raise ScenarioError(
            f"memory.kv_tiers: lpddr is below KV in SRAM; memory.pin.kv is "
            f"{fitted.residency.kv}, so that blocks are in LPDDR already"
        )
    return lpddr_rate(hardware)


def _blocks(wanted: KvTierSettings, stages: list[StageMemory], resolved: Planned) -> int:
    """Blocks of a replica, or of all in a store, which has the parts of all cards of one.

    In LPDDR they have at most what weights leave.
    """
    chiplets, size = chiplets_of(resolved.hardware), wanted.capacity_bytes
    if not stages:
        return 1
    if wanted.tier == "store" and size is not None:
        ranks = chiplets * resolved.plan.tensor_parallel_size
        return int(size // (ranks * math.fsum(float(stage.block_bytes) for stage in stages)))
    part = math.inf if size is None else size / chiplets
    left = [
        min(part, stage.lpddr_bytes - stage.lpddr_weight_bytes) if wanted.tier == "lpddr" else part
        for stage in stages
    ]
    return min(int(room // s.block_bytes) for room, s in zip(left, stages, strict=True))
