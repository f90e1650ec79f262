"""What every operation of a program costs by itself.

A row of the model at hand (its name, layer, tokens and sizes as ``workloads.program`` writes them)
costs what the price tables count for it; so the rows of a batch at a stage sum to the tables' entry
to the picosecond. Any other work is priced by its own columns, and so is all that communicates. A
recorded duration wins over any price.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives import tiers_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.prices.inputs import PriceError, PriceInputs, check_inputs
from cluster.perf_model.prices.program.distinct import distinct
from cluster.perf_model.prices.program.network import PASSED
from cluster.perf_model.prices.program.resident import layer_places
from cluster.perf_model.prices.program.rows import RowJob, RowPrice, RowPricing, price_rows
from corsair_common.units import Integers
from workloads.model import Layer
from workloads.program import Program
from workloads.program.schema import COMMUNICATION, KINDS

RECORDED = -1
"""The bound of an operation whose duration was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramPrice:
    """Prices of the n rows of a program's template, and of what varies from repeat to repeat."""

    duration_ps: Integers
    """[n] of each alone, nobody in its way and nobody late."""
    dispatch_ps: Integers
    """[n] what of it is dispatch; of communication, what the rank does before it."""
    bound: npt.NDArray[np.int8]
    """[n] position in ``bounds`` of what sets the rest; RECORDED where the duration was given."""
    by_columns: npt.NDArray[np.bool_]
    """[n] whether it is work of no row of the model, and priced by its columns."""
    tier_bytes: Integers
    """[n, tier] bytes that the card puts on each tier."""
    varying_ps: Integers
    """[repeats, varies] durations of the rows that vary."""
    bounds: tuple[str, ...]
    """What can set the time of the device."""

    def block(self, program: Program, first: int, last: int) -> Integers:
        """Durations of repeats ``first`` to ``last - 1``, in the order of ``program.block``."""
        varies = program.operations.varies
        whole = np.tile(self.duration_ps, (last - first, 1))
        whole[:, varies >= 0] = self.varying_ps[first:last, varies[varies >= 0]]
        return whole.ravel()


def price_program(
    program: Program, inputs: PriceInputs, pricing: RowPricing = price_rows
) -> ProgramPrice:
    """Price every operation; rank r runs on card ``inputs.cards.ravel()[r]``.

    Raises
    ------
    PriceError
        More ranks than cards; layers or formats that are not modelled.
    """
    check_inputs(inputs)
    if program.ranks > inputs.cards.size:
        raise PriceError(f"the program has {program.ranks} ranks, the plan {inputs.cards.size}")
    requests, which = distinct(program, _layer_kinds(inputs), _where(program, inputs))
    slots = _slots(program, which)
    priced = pricing(
        inputs,
        [
            RowJob(
                request=request,
                ranks=program.groups[request.group] if request.group >= 0 else (request.rank,),
                varying=np.moveaxis(program.varying[:, slots.get(index, [])], 0, 1),
            )
            for index, request in enumerate(requests)
        ],
    )
    own = program.operations
    recorded = own.duration_ps >= 0
    dispatch_ps = np.array([price.dispatch_ps for price in priced], np.int64)
    duration_ps = dispatch_ps + [price.ps for price in priced]
    bound = np.array([price.bound for price in priced], np.int64)
    by_columns = np.array([price.by_columns for price in priced], np.bool_)
    tier_bytes = np.array([price.tier_bytes for price in priced], np.int64)
    return ProgramPrice(
        duration_ps=np.where(recorded, own.duration_ps, duration_ps[which]),
        dispatch_ps=np.where(recorded, 0, dispatch_ps[which]),
        bound=np.where(recorded, RECORDED, bound[which]).astype(np.int8),
        by_columns=by_columns[which] & ~recorded,
        tier_bytes=tier_bytes.reshape(-1, len(tiers_of(inputs.routes)))[which],
        varying_ps=_varying_ps(program, slots, priced),
        bounds=module_of(inputs.hardware).BOUNDS,
    )


def _layer_kinds(inputs: PriceInputs) -> Integers:
    """[layer] the first layer like it, whose weights lie alike."""
    first: dict[tuple[Layer, LayerPlaces], int] = {}
    layers = zip(inputs.model.layers, layer_places(inputs), strict=True)
    return np.array([first.setdefault(layer, number) for number, layer in enumerate(layers)])


def _where(program: Program, inputs: PriceInputs) -> Integers:
    """What a row's price depends on beside its sizes: its group, its path, or its stage."""
    own, size = program.operations, inputs.plan.tensor_parallel_size
    rank, peer = own.rank.astype(np.int64), own.peer.astype(np.int64)
    stages = program.ranks // size + 1
    passed = [code for code, name in enumerate(program.words["name"]) if name in PASSED]
    between = np.where(
        np.isin(own.name, passed) & (rank % size == peer % size),
        rank // size * stages + peer // size,
        stages * stages + rank * program.ranks + peer,
    )
    kinds = {name: own.kind == KINDS.index(name) for name in (*COMMUNICATION, "load")}
    return np.select(
        [kinds["send"] | kinds["recv"], kinds["collective"], kinds["load"]],
        [between, own.group.astype(np.int64), rank // size],
        0,
    )


def _slots(program: Program, which: Integers) -> dict[int, list[int]]:
    """By kind of row: the columns of the varying values that are such a row's, as it is asked."""
    slots: dict[int, list[int]] = defaultdict(list)
    for slot, row in _varying_rows(program):
        if program.operations.duration_ps[row] < 0:
            slots[int(which[row])].append(slot)
    return slots


def _varying_rows(program: Program) -> list[tuple[int, int]]:
    """Every column of the varying values that has a row, and the first such row."""
    varies = program.operations.varies
    rows = np.flatnonzero(varies >= 0)
    slots, first = np.unique(varies[rows], return_index=True)
    return list(zip(slots.tolist(), rows[first].tolist(), strict=True))


def _varying_ps(
    program: Program, slots: Mapping[int, list[int]], priced: Sequence[RowPrice]
) -> Integers:
    """[repeats, varies] durations with their dispatch."""
    durations = np.zeros(program.varying.shape[:2], np.int64)
    for slot, row in _varying_rows(program):
        durations[:, slot] = program.operations.duration_ps[row]
    for index, own in slots.items():
        durations[:, own] = priced[index].varying_ps.T
    return durations
