"""Memory settings of a scenario."""

from cluster.perf_model.devices import module_of
from cluster.perf_model.memory.loading import other_bytes
from cluster.perf_model.memory.placement import Pins
from cluster.perf_model.memory.stage import MemorySettings
from cluster.scenario.formats import Formats
from cluster.scenario.load import ScenarioError
from cluster.scenario.memory_modes import Memory
from cluster.scenario.resolve import Planned
from workloads.model import load_model
from workloads.plan import Plan


def memory_settings(resolved: Planned, formats: Formats, plan: Plan) -> MemorySettings:
    """Formats, modes, pins and sizes, and what other models take of LPDDR under the same plan.

    Raises
    ------
    ScenarioError
        Settings of a far memory on a device that has none.
    """
    scheduler, memory = resolved.scenario.scheduler, resolved.scenario.memory
    _check_memories(resolved, memory)
    return MemorySettings(
        weights=formats.weights,
        tail_bits=module_of(resolved.hardware).TAIL_BITS,
        latent_copies=module_of(resolved.hardware).latent_copies(resolved.hardware),
        kv=formats.kv,
        mode=memory.mode,
        block_size=scheduler.block_size,
        max_num_seqs=scheduler.max_num_seqs,
        max_model_len=resolved.max_model_len,
        prefix_caching=resolved.prefix_caching,
        pins=Pins(**memory.pin.model_dump()),
        lpddr_taken_bytes=sum(
            other_bytes(load_model(name), formats.weights, plan) for name in memory.also_resident
        ),
    )


def _check_memories(resolved: Planned, memory: Memory) -> None:
    """Name what only a second memory has a meaning for."""
    device = module_of(resolved.hardware)
    if len(device.MEMORIES) > 1:
        return
    settings = {
        "mode": memory.mode,
        **{f"pin.{name}": place for name, place in memory.pin.model_dump().items()},
        "load": memory.load,
        "also_resident": list(memory.also_resident),
        "kv_tiers": [tier.tier for tier in memory.kv_tiers if tier.tier == "lpddr"],
    }
    allowed = {
        "mode": ("performance", "auto"),
        "load": ("none", "host"),
        "also_resident": ([],),
        "kv_tiers": ([],),
    }
    strange = [
        f"memory.{name}: {value}"
        for name, value in settings.items()
        if value not in allowed.get(name, (None, "sram"))
    ]
    if strange:
        raise ScenarioError(
            f"{', '.join(strange)}: {resolved.hardware.name} has one memory "
            f"({device.MEMORIES[0].upper()}), in which all weights and KV lie; leave "
            f"{'it' if len(strange) == 1 else 'them'} out"
        )
