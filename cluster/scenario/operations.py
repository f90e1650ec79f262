"""The operation trace of a replay, read from a program file or a Chakra folder."""

from typing import TYPE_CHECKING

from cluster.scenario.schema import Scenario
from cluster.scenario.workload import ChakraFolder, ProgramSteps
from workloads.plan import Plan

if TYPE_CHECKING:
    from workloads.chakra.program import Endpoint
    from workloads.program import Program


def chakra_folder(scenario: Scenario) -> ChakraFolder:
    """The folder of a Chakra trace, and how it is to be read."""
    requested = scenario.workload.chakra
    return requested if isinstance(requested, ChakraFolder) else ChakraFolder(folder=str(requested))


def seated(scenario: Scenario, plan: Plan) -> Scenario:
    """The scenario with seats for all sequences of a generated program: they are all there."""
    requested = scenario.workload.program
    if not isinstance(requested, ProgramSteps):
        return scenario
    slots = plan.pipeline_parallel_size if requested.slots == "auto" else requested.slots
    sequences = requested.batch + (slots if requested.phase == "mixed" else 0)
    seats = max(scenario.scheduler.max_num_seqs, sequences)
    scheduler = scenario.scheduler.model_copy(update={"max_num_seqs": seats})
    return scenario.model_copy(update={"scheduler": scheduler})


def endpoint_of(scenario: Scenario) -> "Endpoint | None":
    """Rates of bare endpoints, where some are given."""
    from workloads.chakra.program import Endpoint

    rates = scenario.endpoint
    if rates is None:
        return None
    return Endpoint(flop_per_s=rates.flop_per_s, bytes_per_s=rates.bytes_per_s)


def operations_of(
    scenario: Scenario, endpoint: "Endpoint | None"
) -> "tuple[Program | None, tuple[str, ...]]":
    """The program where it is read, and what is to be said about it."""
    workload = scenario.workload
    if isinstance(workload.program, ProgramSteps):
        return None, ()
    if workload.program is not None:
        from workloads.program.file import read_program

        return read_program(workload.program), ()
    from workloads.chakra.program import to_program
    from workloads.chakra.read import read_chakra

    requested = chakra_folder(scenario)
    trace = read_chakra(
        requested.folder,
        control=requested.control,
        groups=requested.groups,
        copies=requested.copies,
    )
    notes = trace.notes.lines()
    if scenario.model is not None:
        notes = (*notes, "model and plan play no part: a Chakra trace brings its own operations")
    return to_program(trace, endpoint), notes
