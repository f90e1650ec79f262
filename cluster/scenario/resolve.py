"""From names to content: hardware, model, formats, plan and traffic, and the run's identity.

Only this module opens inputs; all later code depends on values alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np

from cluster.scenario.drafts import Draft, content_of, drafted
from cluster.scenario.formats import Formats, formats_of
from cluster.scenario.hardware import hardware_of, own_hardware, with_formats
from cluster.scenario.input_digests import described, input_files
from cluster.scenario.load import ScenarioError
from cluster.scenario.operations import endpoint_of, operations_of, seated
from cluster.scenario.plans import (
    ChoosePlan,
    FindLosses,
    Loss,
    divided,
    estimated_plan,
    placed_losses,
    plan_of,
    program_plan,
    program_requests,
    with_plan,
    without_lost,
)
from cluster.scenario.pools import completed
from cluster.scenario.run_content import (
    content_text,
    machine_id,
    replayed_content,
    served_content,
)
from cluster.scenario.run_id import JsonText, encoded, run_id
from cluster.scenario.schema import AUTO, Scenario
from cluster.scenario.traffic import traffic
from cluster.scenario.workload import Workload
from results.window import begin_ps
from topology.astra_network import Network, read_network
from topology.catalog import Hardware, load_hardware
from topology.mixed import AnyHardware, MixedHardware
from workloads.model import Model, load_model
from workloads.plan import Plan, check_plan

if TYPE_CHECKING:
    from workloads.chakra.program import Endpoint
    from workloads.program import Program
    from workloads.requests import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A model to be laid on racks of cards."""

    scenario: Scenario
    hardware: Hardware
    model: Model
    formats: Formats
    plan: Plan
    """With ``replicas`` counted: ``auto`` has become as many as the cluster holds, at least 1."""
    max_model_len: int
    concurrency: int = 0
    """Users of a closed loop; 0 for arrivals as given."""
    prefix_caching: bool = False
    cards: range | None = None
    """The cards of the map that it may use; None: all."""
    lost: tuple[Loss, ...] = ()
    """Replicas that are down; ``plan`` has those that are left."""
    draft: Draft | None = None
    """Of speculative decoding with a model."""
    mixed: MixedHardware | None = None
    """Hardware of all servers, where pools have hardware of their own; ``hardware`` is that of the
    first pool, or of the pool that this is."""

    @property
    def racks(self) -> AnyHardware:
        """Hardware of all servers."""
        return self.mixed or self.hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Planned):
    """A scenario of requests with everything that its names stood for."""

    requests: "Requests"
    inputs: tuple[Mapping[str, object], ...]
    """Files that were read: use, name, sha256, bytes."""
    run_id: str
    machine_id: str
    """The same for runs that differ in their traffic only: they share layout and prices."""
    role: Literal["prefill", "decode"] | None = None
    """Role of one pool; None: prefill and decode."""
    pools: "tuple[Resolved, Resolved] | None" = None
    """Of a disaggregated run, prefill and decode as separate runs; ``plan`` is the first's."""
    plan_reasons: tuple[str, ...] = ()
    """Which plans ``auto`` has become, and why; of no part of the run's content."""

    @property
    def begin_ps(self) -> int:
        """Start of the window of all figures of the run; the same for its pools."""
        return begin_ps(self.requests.arrival_ps, self.scenario.warmup_s)

    @property
    def healthy(self) -> "Resolved":
        """A copy on a cluster without faults."""
        return replace(self, scenario=self.scenario.healthy)

    def caches(self, scenario: Scenario) -> bool:
        """Whether prefixes are looked up: where ``scenario`` wants it and requests share them.

        A state of fixed size is that of the last token, so no other sequence can begin with it.
        """
        wanted = scenario.scheduler.enable_prefix_caching in (True, "auto")
        return (
            self.requests.shares_prefixes and wanted and not self.model.state_elements_per_sequence
        )

    def carrying(self, requests: "Requests") -> "Resolved":
        """A copy with these requests, in its pools too."""
        pools = None
        if self.pools is not None:
            prefill, decode = (replace(pool, requests=requests) for pool in self.pools)
            pools = prefill, decode
        return replace(self, requests=requests, pools=pools)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedReplay:
    """A scenario of operations with everything that its names stood for."""

    scenario: Scenario
    program: "Program | None"
    """As read; None where it is generated, which takes the machine's own figures."""
    network: Network | None
    """A plain network in place of racks."""
    hardware: Hardware | None
    """Of the racks."""
    planned: Planned | None
    """The model on the racks, where one is named."""
    endpoint: "Endpoint | None"
    notes: tuple[str, ...]
    """What a reader of the trace could not use."""
    inputs: tuple[Mapping[str, object], ...]
    """Files that were read: what for, name, sha256, bytes."""
    run_id: str
    plan_reasons: tuple[str, ...] = ()
    """Which plan ``auto`` has become, and why."""


Traffic: TypeAlias = Literal["requests", "operations", "either"]

MISPLACED = {
    "requests": "the workload is an operation trace (program or chakra), and this takes requests "
    "(trace or synthetic): use corsair-sim replay",
    "operations": "the workload is a request trace (trace or synthetic), and this takes operations "
    "(program or chakra): use corsair-sim serve",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Openers:
    """Functions that open what a scenario names; a study that resolves many caches them."""

    hardware: Callable[[str, Mapping[str, float], str], Hardware]
    model: Callable[[str], Model]
    traffic: Callable[[Workload, int], tuple["Requests", int]]
    content: Callable[["Hardware | Model | Requests"], JsonText]
    described: Callable[[str, Path], dict[str, object]]
    plan: ChoosePlan = estimated_plan
    losses: FindLosses = placed_losses


FROM_DISK = Openers(
    hardware=load_hardware,
    model=load_model,
    traffic=traffic,
    content=content_text,
    described=described,
)


@overload
def resolve(
    scenario: Scenario, openers: Openers = ..., *, wanted: Literal["requests"] = ...
) -> Resolved: ...
@overload
def resolve(
    scenario: Scenario, openers: Openers = ..., *, wanted: Literal["operations"]
) -> ResolvedReplay: ...
@overload
def resolve(
    scenario: Scenario, openers: Openers = ..., *, wanted: Traffic
) -> Resolved | ResolvedReplay: ...
def resolve(
    scenario: Scenario, openers: Openers = FROM_DISK, *, wanted: Traffic = "requests"
) -> Resolved | ResolvedReplay:
    """Open what the scenario names and give the run its identity.

    Raises
    ------
    ScenarioError
        Another kind of traffic than ``wanted``, or settings that contradict each other.
    ModelError, FormatError, PlanError, TraceError, ProgramError, ChakraError, TopologyError,
    DocumentError
        From the package that knows the input; all carry ``exit_code`` 2.
    """
    replayed = scenario.workload.is_replayed
    if wanted != "either" and replayed != (wanted == "operations"):
        raise ScenarioError(MISPLACED[wanted])
    if replayed:
        return _replayed(scenario, openers)
    return _served(completed(scenario), openers)


def _served(scenario: Scenario, openers: Openers) -> Resolved:
    """The run, whose pools, if it has any, are runs on cards of their own."""
    scenario, hardware, mixed = hardware_of(scenario, openers.hardware)
    planned = _planned(scenario, hardware, openers)
    if planned is None:
        raise ScenarioError("model is missing")
    planned = replace(planned, mixed=mixed)
    requests, concurrency = openers.traffic(scenario.workload, scenario.seed)
    if requests.previous is not None and scenario.pools is not None:
        raise ScenarioError(
            "pools serve requests that arrive at known times; the workload has sessions, whose "
            "turns wait for answers"
        )
    if planned.model.pooling:
        requests = _without_answers(scenario, requests)
    draft = _draft(replace(planned, concurrency=concurrency), requests)
    whole = with_plan(replace(draft, prefix_caching=draft.caches(scenario)), openers.plan)
    whole = drafted(whole, openers)
    mixed = whole.mixed
    if whole.scenario.pools is None:
        whole = without_lost(whole, openers.losses)
    found: dict[str, object] = {
        **served_content(whole),
        "hardware": openers.content(hardware)
        if mixed is None
        else [openers.content(mixed.first), openers.content(mixed.second)],
        "model": openers.content(whole.model),
        "requests": openers.content(requests),
    }
    if whole.draft is not None:
        found["draft"] = content_of(whole.draft, openers.content)
    content = {name: encoded(piece) for name, piece in found.items()}  # once, for both names
    whole = replace(
        whole,
        inputs=tuple(input_files(scenario, openers.described)),
        run_id=run_id(content),
        machine_id=machine_id(content, whole.scenario, whole.model),
    )
    pools = whole.scenario.pools
    return whole if pools is None else divided(whole, pools, openers.losses)


def _draft(planned: Planned, requests: "Requests") -> Resolved:
    """A run without identity, whose plan may be open."""
    known = {field.name: getattr(planned, field.name) for field in fields(Planned)}
    return Resolved(**known, requests=requests, inputs=(), run_id="", machine_id="")


def _replayed(scenario: Scenario, openers: Openers) -> ResolvedReplay:
    endpoint = endpoint_of(scenario)
    network = read_network(scenario.network) if scenario.network else None
    hardware = None if network else own_hardware(scenario, openers.hardware)
    scenario = with_formats(scenario, hardware)
    planned, reasons = None, tuple[str, ...]()
    if hardware is not None and scenario.workload.chakra is None:
        planned = _planned(scenario, hardware, openers)
    if planned is not None and scenario.plan == AUTO:
        draft = _draft(planned, program_requests(scenario))
        scenario, reasons = program_plan(draft, openers.plan)
        planned = replace(planned, scenario=scenario, plan=plan_of(scenario))
    if planned is not None:
        check_plan(planned.plan, planned.model)
        planned = replace(planned, scenario=seated(scenario, planned.plan))
        planned = without_lost(planned, openers.losses)
    program, notes = operations_of(scenario, endpoint)
    inputs = tuple(input_files(scenario, openers.described))
    content = replayed_content(scenario, network, planned, endpoint, inputs)
    content["hardware"] = openers.content(hardware) if hardware else {}
    if planned is not None:
        content["model"] = openers.content(planned.model)
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
        plan_reasons=reasons,
    )


def _planned(scenario: Scenario, hardware: Hardware, openers: Openers) -> Planned | None:
    """The model on its cards; None where none is named."""
    if scenario.model is None:
        return None
    model = openers.model(scenario.model)
    return Planned(
        scenario=scenario,
        hardware=hardware,
        model=model,
        formats=formats_of(scenario.formats),
        plan=plan_of(scenario),
        max_model_len=scenario.scheduler.max_model_len or model.max_context,
    )


def _without_answers(scenario: Scenario, requests: "Requests") -> "Requests":
    """The same prompts for a model that generates nothing: done with the last token of each."""
    if scenario.pools is not None:
        raise ScenarioError("pools are for models that generate tokens; this one makes vectors")
    return replace(requests, output_tokens=np.ones_like(requests.output_tokens))
