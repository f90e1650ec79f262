"""Memory settings of a scenario."""

from cluster.perf_model.devices import module_of
from cluster.perf_model.memory.loading import other_bytes
from cluster.perf_model.memory.placement import Pins
from cluster.perf_model.memory.stage import MemorySettings
from cluster.scenario.formats import Formats
from cluster.scenario.resolve import Planned
from workloads.model import load_model
from workloads.plan import Plan


def memory_settings(resolved: Planned, formats: Formats, plan: Plan) -> MemorySettings:
    """Formats, modes, pins and sizes, and the LPDDR of other models under the same plan."""
    scheduler, memory = resolved.scenario.scheduler, resolved.scenario.memory
    return MemorySettings(
        weights=formats.weights,
        tail_bits=module_of(resolved.hardware).TAIL_BITS,
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
