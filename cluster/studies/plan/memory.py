"""What a shape's stages have and need, as whole numbers from which every batch can be judged."""

import numpy as np

from cluster.machine.memory import MemorySettings, stage_memory
from cluster.machine.memory.shard import KvBlock, kv_block
from cluster.machine.memory.stage import chiplets_of
from cluster.machine.residency.places import Residency, uniform
from cluster.machine.tables import Integers
from cluster.machine.views import Figures
from workloads.formats import Format
from workloads.model import Model
from workloads.plan import Plan, stage_layers

FREE, TAILS, TAIL_PARTS, BLOCK, BLOCK_PARTS, LACKS = range(6)
"""Columns of a stage's row: SRAM bytes for tails and blocks; what a sequence's tail takes and what
a block takes, as fractions; LPDDR bytes that it lacks."""


def stage_rows(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    residency: Residency | None = None,
) -> Integers:
    """[distinct stages, 6] as named above, for KV in SRAM; whatever ``max_num_seqs`` is set.

    Without a residency weights lie as the mode has them.
    """
    placed = residency or uniform(settings.mode, model, plan, settings.pins)
    rows = set()
    for stage, kv in zip(
        stage_memory(model, plan, hardware, settings, placed),
        _blocks(model, plan, chiplets_of(hardware), settings.kv),
        strict=True,
    ):
        rows.add(
            (
                stage.sram_bytes - (stage.reserved_bytes - stage.tail_bytes),
                kv.tail_chiplet.numerator,
                kv.tail_chiplet.denominator,
                stage.block_bytes.numerator,
                stage.block_bytes.denominator,
                max(0, stage.lpddr_needed_bytes - stage.lpddr_bytes),
            )
        )
    return np.array(sorted(rows), np.int64)


def _blocks(model: Model, plan: Plan, chiplets: int, kv: Format) -> list[KvBlock]:
    """64 tokens of KV in each stage."""
    each = {
        attention: kv_block(attention, plan, chiplets, kv)
        for attention in {layer.attention for layer in model.layers}
    }
    found = []
    for layers in stage_layers(plan, model):
        first, *others = (each[model.layers[layer].attention] for layer in layers)
        found.append(sum(others, first))
    return found
