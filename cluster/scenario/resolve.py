"""From names to content: hardware, model, formats, plan and traffic, and the run's identity.

Only this module opens inputs; all later code depends on values alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np

from cluster.scenario.formats import Formats
from cluster.scenario.input_digests import described, input_files
from cluster.scenario.load import ScenarioError
from cluster.scenario.operations import endpoint_of, operations_of, seated
from cluster.scenario.pools import completed, pool_scenario
from cluster.scenario.power import clocked_hardware
from cluster.scenario.routers import STATELESS
from cluster.scenario.run_content import (
    content_text,
    machine_id,
    replayed_content,
    served_content,
)
from cluster.scenario.run_id import JsonText, encoded, run_id
from cluster.scenario.scheduler_check import check_scheduler
from cluster.scenario.schema import AUTO, PLAIN_WIRE, Pool, Pools, Scenario
from cluster.scenario.traffic import traffic
from cluster.scenario.workload import Workload
from results.window import begin_ps
from topology.astra_network import Network, read_network
from topology.catalog import Hardware, load_hardware
from workloads.formats import get_format
from workloads.model import Model, load_model
from workloads.plan import Plan, PlanError, check_plan

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

    @property
    def begin_ps(self) -> int:
        """Start of the window of all figures of the run; the same for its pools."""
        return begin_ps(self.requests.arrival_ps, self.scenario.warmup_s)

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

    hardware: Callable[[str, Mapping[str, float]], Hardware]
    model: Callable[[str], Model]
    traffic: Callable[[Workload, int], tuple["Requests", int]]
    content: Callable[["Hardware | Model | Requests"], JsonText]
    described: Callable[[str, Path], dict[str, object]]


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
    hardware = clocked_hardware(scenario, openers.hardware)
    scenario = with_formats(scenario, hardware)
    planned = _planned(scenario, hardware, openers)
    if planned is None:
        raise ScenarioError("model is missing")
    if scenario.pools is None:
        check_plan(planned.plan, planned.model)
        check_scheduler(scenario.scheduler, planned.plan)
    requests, concurrency = openers.traffic(scenario.workload, scenario.seed)
    if planned.model.pooling:
        requests = _without_answers(scenario, requests)
    caching = _caches(scenario, requests, planned.model)
    planned = replace(planned, concurrency=concurrency, prefix_caching=caching)
    found: dict[str, object] = {
        **served_content(planned),
        "hardware": openers.content(hardware),
        "model": openers.content(planned.model),
        "requests": openers.content(requests),
    }
    content = {name: encoded(piece) for name, piece in found.items()}  # once, for both names
    whole = Resolved(
        **{field.name: getattr(planned, field.name) for field in fields(Planned)},
        requests=requests,
        inputs=tuple(input_files(scenario, openers.described)),
        run_id=run_id(content),
        machine_id=machine_id(content, scenario, planned.model),
    )
    return whole if scenario.pools is None else _divided(whole, scenario.pools)


def _replayed(scenario: Scenario, openers: Openers) -> ResolvedReplay:
    endpoint = endpoint_of(scenario)
    network = read_network(scenario.network) if scenario.network else None
    hardware = None if network else clocked_hardware(scenario, openers.hardware)
    scenario = with_formats(scenario, hardware)
    planned = None
    if hardware is not None and scenario.workload.chakra is None:
        planned = _planned(scenario, hardware, openers)
    if planned is not None:
        check_plan(planned.plan, planned.model)
        planned = replace(planned, scenario=seated(scenario, planned.plan))
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
    )


def with_formats(scenario: Scenario, hardware: Hardware | None) -> Scenario:
    """The same scenario, ``auto`` formats replaced by the first that the hardware file names."""
    named = {"wire": (PLAIN_WIRE,)} if hardware is None else hardware.formats
    found = {use: named[use][0] for use, name in scenario.formats if name == AUTO and use in named}
    if not found:
        return scenario
    return scenario.model_copy(update={"formats": scenario.formats.model_copy(update=found)})


def _planned(scenario: Scenario, hardware: Hardware, openers: Openers) -> Planned | None:
    """The model on its cards; None where none is named."""
    if scenario.model is None:
        return None
    model = openers.model(scenario.model)
    return Planned(
        scenario=scenario,
        hardware=hardware,
        model=model,
        formats=Formats(**{use: get_format(name) for use, name in scenario.formats}),
        plan=plan_of(scenario),
        max_model_len=scenario.scheduler.max_model_len or model.max_context,
    )


def _caches(scenario: Scenario, requests: "Requests", model: Model) -> bool:
    """Whether prefixes are looked for: they are where it is wanted and requests tell of them.

    A state of fixed size is that of the last token, so no other sequence can begin with it.
    """
    wanted = scenario.scheduler.enable_prefix_caching in (True, "auto")
    return requests.hash_ids is not None and wanted and not model.state_elements_per_sequence


def _without_answers(scenario: Scenario, requests: "Requests") -> "Requests":
    """The same prompts for a model that generates nothing: done with the last token of each."""
    if scenario.pools is not None:
        raise ScenarioError("pools are for models that generate tokens; this one makes vectors")
    return replace(requests, output_tokens=np.ones_like(requests.output_tokens))


def _divided(whole: Resolved, requested: Pools) -> Resolved:
    """The run with its pools, each a run on its own cards."""
    prefill = _pool(whole, "prefill", requested.prefill, 0)
    decode = _pool(whole, "decode", requested.decode, requested.prefill.cards)
    router = requested.decode.router
    if decode.plan.replicas > 1 and router not in STATELESS:
        raise ScenarioError(
            f"pools.decode.router is {router!r}; must be {' or '.join(map(repr, STATELESS))} for "
            f"{decode.plan.replicas} replicas: KV is sent before the replica's load at "
            "its arrival is known"
        )
    return replace(whole, plan=prefill.plan, pools=(prefill, decode))


def _pool(whole: Resolved, name: Literal["prefill", "decode"], pool: Pool, first: int) -> Resolved:
    """One pool, on ``pool.cards`` cards from the ``first`` on."""
    scenario = pool_scenario(whole.scenario, pool)
    plan = plan_of(scenario, pool.cards)
    try:
        check_plan(plan, whole.model)
        check_scheduler(scenario.scheduler, plan)
    except (PlanError, ScenarioError) as error:
        raise type(error)(f"pools.{name}: {error}") from None
    return replace(
        whole,
        scenario=scenario,
        plan=plan,
        max_model_len=pool.scheduler.max_model_len or whole.model.max_context,
        prefix_caching=_caches(scenario, whole.requests, whole.model),
        machine_id=f"{whole.machine_id}-{name}",
        cards=range(first, first + pool.cards),
        role=name,
    )


def plan_of(scenario: Scenario, cards: int | None = None) -> Plan:
    """The plan with its replicas resolved, on ``cards`` cards (None: all of the cluster)."""
    wanted, size = scenario.plan, scenario.cluster
    if cards is None:
        cards = size.racks * size.servers_per_rack * size.cards_per_server
    per_replica = wanted.tensor_parallel_size * wanted.pipeline_parallel_size
    replicas = max(1, cards // per_replica) if wanted.replicas == "auto" else wanted.replicas
    return Plan(
        tensor_parallel_size=wanted.tensor_parallel_size,
        pipeline_parallel_size=wanted.pipeline_parallel_size,
        expert_parallel_size=wanted.expert_parallel_size,
        replicas=replicas,
    )
