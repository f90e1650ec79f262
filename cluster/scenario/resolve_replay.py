"""Resolves names to content for an operation trace, and the run's identity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.scenario.formats import Formats
from cluster.scenario.input_digests import described
from cluster.scenario.load import ScenarioError
from cluster.scenario.power import clocked_hardware
from cluster.scenario.resolve import content_text, formats_of, formats_text, plan_of
from cluster.scenario.run_id import run_id
from cluster.scenario.schema import Scenario
from cluster.scenario.workload import ChakraFolder, ProgramSteps
from topology.astra_network import Network, read_network
from topology.catalog import Hardware, load_hardware
from workloads.formats import get_format
from workloads.model import Model, load_model
from workloads.plan import Plan, check_plan

if TYPE_CHECKING:
    from workloads.chakra.program import Endpoint
    from workloads.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A model to place on racks of cards."""

    scenario: Scenario
    hardware: Hardware
    model: Model
    formats: Formats
    plan: Plan
    max_model_len: int
    concurrency: int = 0
    prefix_caching: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedReplay:
    """A replay with its names resolved."""

    scenario: Scenario
    program: "Program | None"
    """The program as read; None if it is generated, which needs the hardware's figures."""
    network: Network | None
    """A plain network instead of racks."""
    hardware: Hardware | None
    """Of the racks."""
    planned: Planned | None
    """The model on the racks, if one is named."""
    endpoint: "Endpoint | None"
    notes: tuple[str, ...]
    """Notes of the reader about unused content."""
    inputs: tuple[Mapping[str, object], ...]
    """Files that were read: use, name, sha256, bytes."""
    run_id: str


def resolve_replay(scenario: Scenario) -> ResolvedReplay:
    """Open the scenario's inputs and compute the run's identity.

    Raises
    ------
    ScenarioError, ProgramError, ChakraError, ModelError, FormatError, PlanError, TopologyError,
    DocumentError
        From the package of the input; all have ``exit_code`` 2.
    """
    workload = scenario.workload
    if not workload.is_replayed:
        raise ScenarioError(
            "the workload is a request trace (trace or synthetic), and this takes operations "
            "(program or chakra): use corsair-sim serve"
        )
    endpoint = _endpoint(scenario)
    network = read_network(scenario.network) if scenario.network else None
    hardware = None
    if network is None:
        hardware = clocked_hardware(scenario, load_hardware)
    planned = _planned(scenario, hardware)
    program, notes = _program(scenario, endpoint)
    inputs = tuple(_inputs(scenario))
    read = None if program is None else [entry for entry in inputs if entry["use"] in READ]
    content = {
        "replay": _request_content(planned)
        if read is None
        else [entry["sha256"] for entry in read],
        **_content(scenario, network, hardware, planned, endpoint),
    }
    return ResolvedReplay(
        scenario=scenario,
        program=program,
        network=network,
        hardware=hardware,
        planned=planned,
        endpoint=endpoint,
        notes=notes,
        inputs=inputs,
        run_id=run_id(content),
    )


READ = ("program", "chakra")
"""Uses of files that hold operations."""


def _content(
    scenario: Scenario,
    network: Network | None,
    hardware: Hardware | None,
    planned: Planned | None,
    endpoint: "Endpoint | None",
) -> dict[str, object]:
    """The content of a run besides the operations themselves."""
    return {
        "reading": _reading(scenario),
        "network": None if network is None else _network_content(network),
        "hardware": {} if hardware is None else content_text(hardware),
        "cluster": scenario.cluster.model_dump(),
        "links": [link.model_dump() for link in scenario.links],
        **_planned_content(planned),
        "wire": {**asdict(get_format(scenario.formats.wire)), "name": ""} if hardware else None,
        "endpoint": None if endpoint is None else asdict(endpoint),
        "collectives": scenario.collectives.model_dump(),
        "fabric": scenario.fabric.model_dump(),
    }


def _endpoint(scenario: Scenario) -> "Endpoint | None":
    from workloads.chakra.program import Endpoint

    rates = scenario.endpoint
    if rates is None:
        return None
    return Endpoint(flop_per_s=rates.flop_per_s, bytes_per_s=rates.bytes_per_s)


def _planned(scenario: Scenario, hardware: Hardware | None) -> Planned | None:
    if hardware is None or scenario.model is None or scenario.workload.chakra is not None:
        return None
    model = load_model(scenario.model)
    plan = plan_of(scenario)
    check_plan(plan, model)
    return Planned(
        scenario=_seated(scenario, plan),
        hardware=hardware,
        model=model,
        formats=formats_of(scenario),
        plan=plan,
        max_model_len=scenario.scheduler.max_model_len or model.max_context,
    )


def _seated(scenario: Scenario, plan: Plan) -> Scenario:
    """The scenario with max_num_seqs raised to all sequences of a generated program."""
    requested = scenario.workload.program
    if not isinstance(requested, ProgramSteps):
        return scenario
    slots = plan.pipeline_parallel_size if requested.slots == "auto" else requested.slots
    sequences = requested.batch + (slots if requested.phase == "mixed" else 0)
    seats = max(scenario.scheduler.max_num_seqs, sequences)
    scheduler = scenario.scheduler.model_copy(update={"max_num_seqs": seats})
    return scenario.model_copy(update={"scheduler": scheduler})


def _program(
    scenario: Scenario, endpoint: "Endpoint | None"
) -> "tuple[Program | None, tuple[str, ...]]":
    """The program if it is read, and notes about it."""
    workload = scenario.workload
    if isinstance(workload.program, ProgramSteps):
        return None, ()
    if workload.program is not None:
        from workloads.program.file import read_program

        return read_program(workload.program), ()
    from workloads.chakra.program import to_program
    from workloads.chakra.read import read_chakra

    requested = _folder(scenario)
    trace = read_chakra(
        requested.folder,
        control=requested.control,
        groups=requested.groups,
        copies=requested.copies,
    )
    notes = trace.notes.lines()
    if scenario.model is not None:
        notes = (*notes, "model and plan are not used: a Chakra trace has its own operations")
    return to_program(trace, endpoint), notes


def _folder(scenario: Scenario) -> ChakraFolder:
    requested = scenario.workload.chakra
    return requested if isinstance(requested, ChakraFolder) else ChakraFolder(folder=str(requested))


def _request_content(planned: Planned | None) -> dict[str, object]:
    """A generated program, its defaults filled in."""
    requested = planned.scenario.workload.program if planned else None
    if planned is None or not isinstance(requested, ProgramSteps):
        return {}
    content = requested.model_dump(mode="json")
    if requested.slots == "auto":
        content["slots"] = planned.plan.pipeline_parallel_size
    if requested.phase == "decode":
        content |= {"steps": requested.steps or 1, "growing": requested.growing is not False}
    return content


def _reading(scenario: Scenario) -> dict[str, object]:
    """Options of reading a Chakra folder, without its path."""
    if scenario.workload.chakra is None:
        return {}
    return _folder(scenario).model_dump(include={"control", "copies"})


def _network_content(network: Network) -> list[dict[str, object]]:
    return [asdict(dimension) for dimension in network.dimensions]


def _planned_content(planned: Planned | None) -> dict[str, object]:
    """The content that a model's operations depend on, without keys of serving."""
    if planned is None:
        return {}
    scenario = planned.scenario
    scheduler = scenario.scheduler
    return {
        "model": content_text(planned.model),
        "formats": formats_text(planned.formats),
        "plan": asdict(planned.plan),
        "memory": scenario.memory.model_dump(),
        "scheduler": {
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "block_size": scheduler.block_size,
            "max_model_len": planned.max_model_len,
        },
        "experts": scenario.experts.model_dump(),
        "seed": scenario.seed,
    }


def _inputs(scenario: Scenario) -> list[dict[str, object]]:
    workload = scenario.workload
    named: list[tuple[str, Path]] = []
    if scenario.network is not None:
        named.append(("network", Path(scenario.network)))
    else:
        named.append(("hardware", Path(scenario.hardware)))
    if scenario.model is not None:
        named.append(("model", Path(scenario.model)))
    if isinstance(workload.program, str):
        named.append(("program", Path(workload.program)))
    if workload.chakra is not None:
        requested = _folder(scenario)
        files = sorted(Path(requested.folder).iterdir())
        named += [("chakra", file) for file in files if file.is_file()]
        named += [("chakra", Path(requested.groups))] if requested.groups else []
    return [described(use, path) for use, path in named if path.exists()]
