"""What operations move and compute, in whole numbers; joules are constants times these."""

from dataclasses import dataclass

import numpy as np

from cluster.machine.price.inputs import PriceInputs
from cluster.machine.price.operations import bench_of
from cluster.machine.tables import Integers
from workloads.program import Operations, Program
from workloads.program.words import KINDS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkCounts:
    """Of n operations; what goes over links is ``ProgramPrice.tier_bytes``."""

    macs: Integers
    """Multiply-adds of the matrix engine."""
    simd_ops: Integers
    """Elements of vector work."""
    sram_bytes: Integers
    lpddr_bytes: Integers


def work_counts(program: Program, operations: Operations, inputs: PriceInputs) -> WorkCounts:
    """Count the template's rows or any ``program.block``.

    Weights that do not stay in SRAM come from LPDDR: with the load that runs beside a stage, with
    the head, or, where there is no prefetch, with every product.
    """
    memory = bench_of(inputs).memory
    kind, stationary = operations.kind, operations.weight_class
    classes = program.words["weight_class"]
    product = kind == KINDS.index("matmul")
    cached = (kind == KINDS.index("attention")) & np.isin(stationary, _codes(classes, "kv"))
    loads = np.isin(kind, (KINDS.index("load"), KINDS.index("store")))
    streamed = loads
    if memory == "prefetched":
        streamed = loads | (product & np.isin(stationary, _codes(classes, "head")))
    elif memory == "on_demand":
        streamed = loads | product
    moved = operations.read_bytes + operations.write_bytes
    multiplies = product | cached
    return WorkCounts(
        macs=np.where(multiplies, operations.flop // 2, 0),
        simd_ops=np.where(multiplies, 0, operations.flop),
        sram_bytes=np.where(loads, 0, moved),
        lpddr_bytes=np.where(streamed, moved, 0),
    )


def _codes(words: tuple[str, ...], word: str) -> list[int]:
    return [code for code, known in enumerate(words) if known == word]
