"""One replay: from a resolved operation trace to times. No files and no globals."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cluster.perf_model.collectives import Resources, TransferList, plain_resources, resources_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.energy.operations import ProgramEnergy, program_energy
from cluster.perf_model.placement import PlacementError
from cluster.perf_model.prices import PriceInputs
from cluster.perf_model.prices.program import (
    RowPricing,
    price_program,
    price_rows,
    program_inputs,
)
from cluster.replay.collective_calls import Calls, calls_of
from cluster.replay.engine import replay
from cluster.replay.expand import expand
from cluster.replay.interface import Observer, Operations, Replayed, ReplayError
from cluster.replay.op_durations import Work, bare_work
from cluster.replay.program_request import check_room, steps_of
from cluster.replay.transfers import Options, PlainTransfers, RackTransfers
from cluster.replay.translate import operations_of
from cluster.scenario.resolve import Planned, ResolvedReplay
from cluster.serving.run import lay_out, map_of
from cluster.serving.state import ranks_left
from corsair_common.units import Integers
from topology.astra_network import Network
from topology.route import Routes
from workloads.formats import get_format
from workloads.program import Program, generate_program

if TYPE_CHECKING:
    from topology.types import Graph


MOST_OPERATIONS = 10**8


class ProgramTooLongError(ValueError):
    """More operations than fit in memory."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Racks:
    """The cards that a replay runs on."""

    graph: "Graph"
    routes: Routes
    card_of: Integers
    """[rank] card of each rank, in the order of the topology."""
    stages: int
    """Stages of a replica; 0 without a known pipeline."""
    stage_of: Integers
    """[rank] replica x stages + stage; -1 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayMachine:
    """A program on hardware, with priced operations and transfers of all calls."""

    program: Program
    work: Work
    calls: Calls
    resources: Resources
    racks: Racks | None
    network: Network | None
    energy: ProgramEnergy | None = None
    """Of a model's program on cards; a recorded trace has no such counts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayOutcome:
    """The program and its times; the engine may have more rows than the program.

    If repeats were expanded, the template is the whole program here.
    """

    operations: Operations
    replayed: Replayed
    entry: Integers
    """[row of the template] row in which it starts."""
    exit: Integers
    """[row of the template] row in which it ends."""

    def moments(self, row: Integers, program: Program) -> tuple[Integers, Integers, Integers]:
        """[repeats x k] start, begin and end of rows of the program's template in each repeat;
        begin is -1 without a matched call."""
        replayed, repeats = self.replayed, self.operations.repeats
        if repeats != program.repeats:
            first = np.arange(program.repeats)[:, None] * len(program.operations)
            row = (first + row).ravel()
        met = replayed.matched_call[self.exit[row]]
        begin_ps = np.full((repeats, len(row)), -1)
        if (known := met >= 0).any():
            begin_ps[:, known] = replayed.begin_ps.reshape(repeats, -1)[:, met[known]]
        return (
            replayed.start_ps.reshape(repeats, -1)[:, self.entry[row]].ravel(),
            begin_ps.ravel(),
            replayed.end_ps.reshape(repeats, -1)[:, self.exit[row]].ravel(),
        )


def assemble_replay(resolved: ResolvedReplay, pricing: RowPricing = price_rows) -> ReplayMachine:
    """Generate the program if needed, price it and route its calls.

    ``pricing`` prices a model's program; recorded traces have times or sizes.

    Raises
    ------
    PlacementError, DoesNotFit, PriceError
        It cannot run; all carry ``exit_code`` 3.
    ProgramError, ReplayError, FabricError, CollectiveError
        The program is wrong; all carry ``exit_code`` 2.
    """
    if resolved.network is not None:
        return _on_network(resolved, resolved.network)
    if resolved.planned is not None:
        return _on_plan(resolved, resolved.planned, pricing)
    return _on_cards(resolved)


def run_replay(
    resolved: ResolvedReplay, machine: ReplayMachine, *, observer: Observer | None = None
) -> ReplayOutcome:
    """Run the program.

    Raises
    ------
    ReplayError, FabricError, DeadlockError
        Invalid or deadlocked operations.
    ProgramTooLongError, RunTooLongError
        More operations than memory holds, or more than 106 simulated days.
    """
    _check_length(len(machine.program), "")
    operations = operations_of(machine.program, machine.work, machine.calls)
    rows = np.arange(operations.rows)
    entry, leave = rows, rows
    if machine.calls.plans:
        longer = expand(operations, machine.calls.plans)
        operations, entry, leave = longer.operations, longer.entry, longer.exit
        _check_length(operations.total, ", with its collectives as messages")
    replayed = replay(
        operations,
        machine.calls.transfers,
        contended=resolved.scenario.fabric.contention,
        most_bins=resolved.scenario.store.most_bins,
        observer=observer,
    )
    return ReplayOutcome(operations=operations, replayed=replayed, entry=entry, exit=leave)


def _check_length(operations: int, how: str) -> None:
    if operations > MOST_OPERATIONS:
        raise ProgramTooLongError(
            f"the program has {operations:,} operations{how}; at most {MOST_OPERATIONS:,} are "
            "replayed, each takes about 40 bytes of memory: fewer steps"
        )


def _on_plan(resolved: ResolvedReplay, planned: Planned, pricing: RowPricing) -> ReplayMachine:
    """A model's program on the cards of its plan."""
    layout = lay_out(planned)
    program = resolved.program
    if program is None:
        steps = steps_of(planned)
        check_room(planned, steps, layout.fit)
        program = generate_program(program_inputs(layout.inputs), steps)
    _refuse_lost(planned, program)
    work = price_program(program, layout.inputs, pricing)
    stages, size = planned.plan.pipeline_parallel_size, planned.plan.tensor_parallel_size
    racks = Racks(
        graph=layout.graph,
        routes=layout.routes,
        card_of=layout.inputs.cards.ravel()[: program.ranks],
        stages=stages,
        stage_of=np.arange(program.ranks) // size,
    )
    machine = _on_racks(resolved, program, work, racks, layout.inputs)
    energy = program_energy(program, layout.inputs, layout.routes, work.tier_bytes)
    return replace(machine, energy=energy)


def _refuse_lost(planned: Planned, program: Program) -> None:
    """The program's replicas must be whole: its ranks are numbered through all of them."""
    for loss in planned.lost:
        if loss.replica * planned.plan.cards_per_replica < program.ranks:
            raise PlacementError(
                f"the program cannot be replayed: of replica {loss.replica}, {loss.reason}"
            )


def _on_cards(resolved: ResolvedReplay) -> ReplayMachine:
    """A recorded trace on cards in the order of the topology, rank by rank."""
    program, hardware = _read(resolved), resolved.hardware
    if hardware is None:
        raise ReplayError("neither hardware nor a network is named")
    graph, routes = map_of(resolved.scenario, hardware)
    healthy = map_of(resolved.scenario.healthy, hardware)[1] if resolved.scenario.down else routes
    cards = len(healthy.card_id)
    if program.ranks > cards:
        raise PlacementError(
            f"the trace has {program.ranks} ranks and the cluster {cards} cards; cluster: {{racks, "
            "servers_per_rack, cards_per_server} says how many there are"
        )
    card_of: Integers = np.arange(program.ranks)
    if resolved.scenario.down:
        card_of = ranks_left(healthy, routes, program.ranks)
    racks = Racks(
        graph=graph,
        routes=routes,
        card_of=card_of,
        stages=0,
        stage_of=np.full(program.ranks, -1),
    )
    device = module_of(hardware)
    work = bare_work(program, resolved.endpoint, device.dispatch_ps(hardware), device.BOUNDS)
    return _on_racks(resolved, program, work, racks, None)


def _on_racks(
    resolved: ResolvedReplay,
    program: Program,
    work: Work,
    racks: Racks,
    inputs: PriceInputs | None,
) -> ReplayMachine:
    hardware = resolved.hardware
    if hardware is None:
        raise ReplayError("racks without hardware")
    wire = inputs.formats.wire if inputs else get_format(resolved.scenario.formats.wire)
    transfers = RackTransfers(
        hardware=hardware,
        routes=racks.routes,
        resources=resources_of(hardware, racks.routes),
        card_of=racks.card_of.astype(np.int64),
        wire_bits=float(wire.bits_per_element),
        options=_options(resolved),
    )
    return _with_transfers(program, work, transfers, racks=racks)


def _on_network(resolved: ResolvedReplay, network: Network) -> ReplayMachine:
    program = _read(resolved)
    if program.ranks > network.ranks:
        raise PlacementError(
            f"the trace has {program.ranks} ranks and {network.name} only {network.ranks}"
        )
    work = bare_work(program, resolved.endpoint)
    transfers = PlainTransfers(
        network=network, resources=plain_resources(network), options=_options(resolved)
    )
    return _with_transfers(program, work, transfers, network=network)


def _with_transfers(
    program: Program,
    work: Work,
    transfers: RackTransfers | PlainTransfers,
    *,
    racks: Racks | None = None,
    network: Network | None = None,
) -> ReplayMachine:
    """Make the transfers of all calls of the program."""
    return ReplayMachine(
        program=program,
        work=work,
        calls=calls_of(program, work, transfers, TransferList(transfers.resources)),
        resources=transfers.resources,
        racks=racks,
        network=network,
    )


def _read(resolved: ResolvedReplay) -> Program:
    if resolved.program is None:
        raise ReplayError("a generated program needs a model and hardware")
    return resolved.program


def _options(resolved: ResolvedReplay) -> Options:
    scenario = resolved.scenario
    return Options(
        all_reduce=scenario.collectives.all_reduce,
        collectives=scenario.fabric.collectives,
        stored=scenario.fabric.forwarding == "store_and_forward",
    )
