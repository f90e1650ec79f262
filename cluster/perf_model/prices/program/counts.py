"""What operations move and compute, in whole numbers; joules are constants times these."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.memory.placement import ALL, OF_ROLE
from cluster.perf_model.prices.inputs import PriceInputs, device_for
from cluster.perf_model.prices.program.resident import layer_places
from corsair_common.units import Integers
from workloads.program import Operations, Program
from workloads.program.schema import KINDS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkCounts:
    """Of n operations; what goes over links is ``ProgramPrice.tier_bytes``."""

    macs: Integers
    """Multiply-adds of the matrix engine."""
    simd_ops: Integers
    """Elements of vector work."""
    near_bytes: Integers
    far_bytes: Integers


def work_counts(program: Program, operations: Operations, inputs: PriceInputs) -> WorkCounts:
    """Count the template's rows or any ``program.block``.

    Weights that do not stay in SRAM come from LPDDR: with the load that runs beside a stage, with
    the head, or, where there is no prefetch, with every product.
    """
    memory = device_for(inputs).memory
    in_lpddr = _in_lpddr(program, operations, inputs)
    kind, stationary = operations.kind, operations.weight_class
    classes = program.words["weight_class"]
    product = kind == KINDS.index("matmul")
    cached = (kind == KINDS.index("attention")) & np.isin(stationary, _codes(classes, "kv"))
    loads = np.isin(kind, (KINDS.index("load"), KINDS.index("store")))
    streamed = loads
    if memory == "prefetched":
        streamed = loads | (product & in_lpddr & np.isin(stationary, _codes(classes, "head")))
    elif memory == "on_demand":
        streamed = loads | (product & in_lpddr)
    moved = operations.read_bytes + operations.write_bytes
    multiplies = product | cached
    return WorkCounts(
        macs=np.where(multiplies, operations.flop // 2, 0),
        simd_ops=np.where(multiplies, 0, operations.flop),
        near_bytes=np.where(loads, 0, moved),
        far_bytes=np.where(streamed, moved, 0),
    )


def _in_lpddr(
    program: Program, operations: Operations, inputs: PriceInputs
) -> npt.NDArray[np.bool_]:
    """[n] whether the weights of a row lie in LPDDR; experts of which some do, count so."""
    layers = layer_places(inputs)
    classes = program.words["weight_class"]
    outside = {"embedding": inputs.places(0).embedding, "head": inputs.placed.stages[-1].head}
    found = np.zeros(len(operations.kind), np.bool_)
    for code, word in enumerate(classes):
        if word in outside:
            found |= (operations.weight_class == code) & (not outside[word])
        elif word in OF_ROLE:
            chosen = OF_ROLE[word]
            cold = [
                each.hot_experts < ALL if chosen == "experts" else not getattr(each, chosen)
                for each in layers
            ]
            own = (operations.weight_class == code) & (operations.layer >= 0)
            found[own] = np.array(cold)[operations.layer[own]]
    return found


def _codes(words: tuple[str, ...], word: str) -> list[int]:
    return [code for code, known in enumerate(words) if known == word]
