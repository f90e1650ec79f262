"""Placement of weights and KV cache in SRAM and LPDDR, and whether they fit."""

from cluster.perf_model.memory.fit import DoesNotFit, Fit, Holding, fit
from cluster.perf_model.memory.shard import MemoryInputError
from cluster.perf_model.memory.stage import MemorySettings, StageMemory, stage_memory

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
