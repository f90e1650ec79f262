"""What lies where on the chiplets, whether it fits, and what would."""

from cluster.machine.memory.fit import DoesNotFit, Fit, Holding, fit
from cluster.machine.memory.shard import MemoryInputError
from cluster.machine.memory.stage import MemorySettings, StageMemory, stage_memory

__all__ = [
    "DoesNotFit",
    "Fit",
    "Holding",
    "MemoryInputError",
    "MemorySettings",
    "StageMemory",
    "fit",
    "stage_memory",
]
