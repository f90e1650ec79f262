"""What a scenario says of memory."""

from cluster.machine.memory.stage import MemorySettings
from cluster.machine.residency.loading import other_bytes
from cluster.machine.residency.places import Pins
from cluster.scenario.resolve import Resolved
from cluster.scenario.resolve_replay import Planned
from workloads.model import load_model


def memory_settings(resolved: Resolved | Planned) -> MemorySettings:
    """Formats, modes, pins and sizes, and what other models take of LPDDR."""
    scheduler, memory = resolved.scenario.scheduler, resolved.scenario.memory
    return MemorySettings(
        weights=resolved.formats.weights,
        kv=resolved.formats.kv,
        mode=memory.mode,
        block_size=scheduler.block_size,
        max_num_seqs=scheduler.max_num_seqs,
        pins=Pins(**memory.pin.model_dump()),
        lpddr_taken_bytes=sum(
            other_bytes(load_model(name), resolved.formats.weights, resolved.plan)
            for name in memory.also_resident
        ),
    )
