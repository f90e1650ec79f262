"""What every operation of a program costs by itself.

A row of the model at hand (its name, layer, tokens and sizes as ``workloads.program`` writes them)
costs what the price tables count for it; so the rows of a batch at a stage sum to the tables' entry
to the picosecond. Any other work is priced by its own columns, and so is all that communicates. A
recorded duration wins over any price.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cluster.machine.chiplet import DISPATCH, NETWORK, ridge_rows
from cluster.machine.collective import TIERS
from cluster.machine.price.inputs import PriceError, PriceInputs, check_inputs
from cluster.machine.price.operations import Bench, bench_of
from cluster.machine.price.program.columns import column_price
from cluster.machine.price.program.distinct import Request, distinct
from cluster.machine.price.program.model import OVER_CACHE, ModelRows
from cluster.machine.price.program.network import PASSED, NetworkRows
from cluster.machine.price.program.resident import layer_places, loads_of
from cluster.machine.residency.places import LayerPlaces
from cluster.machine.tables import Integers
from workloads.model import Layer
from workloads.program import Program, ProgramInputs
from workloads.program.words import KINDS, VARYING

RECORDED = -1
"""The bound of an operation whose duration was recorded."""

WIRED = ("send", "recv", "collective")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramPrice:
    """Prices of the n rows of a program's template, and of what varies from repeat to repeat."""

    duration_ps: Integers
    """[n] of each alone, nobody in its way and nobody late."""
    dispatch_ps: Integers
    """[n] what of it is dispatch; of communication, what the rank does before it."""
    bound: npt.NDArray[np.int8]
    """[n] position in BOUNDS of what sets the rest; RECORDED where the duration was given."""
    by_columns: npt.NDArray[np.bool_]
    """[n] whether it is work of no row of the model, and priced by its columns."""
    tier_bytes: Integers
    """[n, tier] bytes that the card puts on each tier."""
    varying_ps: Integers
    """[repeats, varies] durations of the rows that vary."""

    def block(self, program: Program, first: int, last: int) -> Integers:
        """Durations of repeats ``first`` to ``last - 1``, in the order of ``program.block``."""
        varies = program.operations.varies
        whole = np.tile(self.duration_ps, (last - first, 1))
        whole[:, varies >= 0] = self.varying_ps[first:last, varies[varies >= 0]]
        return whole.ravel()


def program_inputs(inputs: PriceInputs) -> ProgramInputs:
    """Return what the program of this model on these cards is to be generated with."""
    bench = bench_of(inputs)
    return ProgramInputs(
        model=inputs.model,
        plan=inputs.plan,
        formats=inputs.formats,
        max_tokens=inputs.max_tokens,
        chiplets=bench.chiplets,
        ridge_rows=ridge_rows(bench.chiplet, bench.mode),
        expert_skew=inputs.expert_skew,
        seed=inputs.seed,
        streamed=bench.memory == "prefetched",
        loads=loads_of(inputs, bench),
    )


def price_program(program: Program, inputs: PriceInputs) -> ProgramPrice:
    """Price every operation; rank r runs on card ``inputs.cards.ravel()[r]``.

    Raises
    ------
    PriceError
        More ranks than cards; layers or formats that are not modelled.
    """
    check_inputs(inputs)
    if program.ranks > inputs.cards.size:
        raise PriceError(f"the program has {program.ranks} ranks, the plan {inputs.cards.size}")
    bench = bench_of(inputs)
    model = ModelRows(inputs, program_inputs(inputs), bench)
    requests, which = distinct(program, _layer_kinds(inputs), _where(program, inputs))
    priced = _Prices.of(len(requests))
    wired = [index for index, request in enumerate(requests) if request.kind in WIRED]
    network = NetworkRows(inputs, bench, program.groups)
    for index, price in zip(wired, network.price([requests[i] for i in wired]), strict=True):
        priced.set(index, price.ps, NETWORK, price.dispatches * bench.dispatch_ps)
        priced.tier_bytes[index] = price.tier_bytes
    for index, request in enumerate(requests):
        if request.kind not in WIRED:
            found = model.price(request)
            work = found or column_price(bench, request)
            priced.set(index, work.ps, work.bound, work.dispatches * bench.dispatch_ps)
            priced.by_columns[index] = found is None
    recorded = program.operations.duration_ps >= 0
    durations = np.where(recorded, program.operations.duration_ps, priced.duration_ps[which])
    bound = np.where(recorded, RECORDED, priced.bound[which]).astype(np.int8)
    return ProgramPrice(
        duration_ps=durations,
        dispatch_ps=np.where(recorded, 0, priced.dispatch_ps[which]),
        bound=bound,
        by_columns=priced.by_columns[which] & ~recorded,
        tier_bytes=priced.tier_bytes[which],
        varying_ps=_varying_ps(program, model, bench, requests, which),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prices:
    """Prices of the distinct rows, to be filled in."""

    duration_ps: Integers
    dispatch_ps: Integers
    bound: Integers
    by_columns: npt.NDArray[np.bool_]
    tier_bytes: Integers

    @classmethod
    def of(cls, rows: int) -> "_Prices":
        return cls(
            duration_ps=np.zeros(rows, np.int64),
            dispatch_ps=np.zeros(rows, np.int64),
            bound=np.zeros(rows, np.int64),
            by_columns=np.zeros(rows, np.bool_),
            tier_bytes=np.zeros((rows, len(TIERS)), np.int64),
        )

    def set(self, index: int, ps: int, bound: int, dispatch_ps: int) -> None:
        self.duration_ps[index] = ps + dispatch_ps
        self.dispatch_ps[index] = dispatch_ps
        self.bound[index] = bound if ps else DISPATCH


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
    kinds = {name: own.kind == KINDS.index(name) for name in (*WIRED, "load")}
    return np.select(
        [kinds["send"] | kinds["recv"], kinds["collective"], kinds["load"]],
        [between, own.group.astype(np.int64), rank // size],
        0,
    )


def _varying_ps(
    program: Program, model: ModelRows, bench: Bench, requests: list[Request], which: Integers
) -> Integers:
    """[repeats, varies] durations with their dispatch."""
    own, varying = program.operations, program.varying
    durations = np.zeros(varying.shape[:2], np.int64)
    rows = np.flatnonzero(own.varies >= 0)
    for slot, first in zip(*np.unique(own.varies[rows], return_index=True), strict=True):
        row = rows[first]
        request = requests[which[row]]
        values = dict(zip(VARYING, varying[:, slot].T, strict=True))
        if own.duration_ps[row] >= 0:
            durations[:, slot] = own.duration_ps[row]
        elif request.name in OVER_CACHE and model.price(request):
            cached = model.cache_ps(request, values["context_tokens"], values["n"])
            durations[:, slot] = cached + bench.dispatch_ps
        else:
            durations[:, slot] = [
                _by_columns(bench, replace(request, **{k: int(v[r]) for k, v in values.items()}))
                for r in range(program.repeats)
            ]
    return durations


def _by_columns(bench: Bench, request: Request) -> int:
    work = column_price(bench, request)
    return work.ps + work.dispatches * bench.dispatch_ps
