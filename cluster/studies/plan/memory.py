"""Memory of a shape's stages as integers, from which every batch can be checked."""

from fractions import Fraction

import numpy as np

from cluster.perf_model.memory import MemorySettings, stage_memory
from cluster.perf_model.memory.capacity import units_of
from cluster.perf_model.memory.placement import Residency
from cluster.perf_model.memory.stage import chiplets_of, stage_kv
from cluster.perf_model.protocols import Figures
from corsair_common.units import Integers
from workloads.model import Model
from workloads.plan import Plan

FREE, TAILS, TAIL_PARTS, BLOCK, BLOCK_PARTS, LACKS, UNIT, UNIT_PARTS, UNITS = range(9)
"""Columns of a stage's row: SRAM bytes for tails and blocks; bytes of a sequence's tail and of a
block (of the first kind, with its share of others: ``StageMemory.block_bytes``), as fractions;
missing LPDDR bytes; bytes of a unit, as a fraction. From UNITS on: units of a block of each
kind of layers."""

LEAST = Fraction(1, 2**20)
"""Bytes of a block in a stage whose layers store nothing of a sequence."""


def stage_rows(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    residency: Residency,
) -> Integers:
    """[distinct stages, 8 + k] as named above, for KV in SRAM; for any ``max_num_seqs``."""
    rows = set()
    stages = stage_memory(model, plan, hardware, settings, residency)
    held = stage_kv(model, plan, chiplets_of(hardware), settings)
    distinct = {id(stage): (stage, kv) for stage, kv in zip(stages, held, strict=True)}
    for stage, kv in distinct.values():
        tail, block = sum(each.tail_chiplet for each in kv.values()), stage.block_bytes
        units, unit = units_of(stage.kind_bytes)
        if not stage.stores_kv:
            units, unit, block = (1, *units[1:]), LEAST, LEAST
        rows.add(
            (
                stage.sram_bytes - (stage.reserved_bytes - stage.tail_bytes),
                *tail.as_integer_ratio(),
                *block.as_integer_ratio(),
                max(0, stage.lpddr_needed_bytes - stage.lpddr_bytes),
                *unit.as_integer_ratio(),
                *units,
            )
        )
    return np.array(sorted(rows), np.int64)
