"""From names to content: hardware, model, formats, plan and requests, and the run's identity.

The only opener of inputs: whatever comes after it depends on values alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cluster.scenario.formats import Formats
from cluster.scenario.load import ScenarioError
from cluster.scenario.pools import INHERITED, completed, pool_scenario
from cluster.scenario.power import clocked_hardware
from cluster.scenario.run_id import Encoded, described, encoded, run_id
from cluster.scenario.scheduler_check import check_scheduler
from cluster.scenario.schema import Pool, Pools, Scenario, Scheduler, Transfer
from cluster.scenario.traffic import traffic
from cluster.scenario.workload import Workload
from results.window import begin_ps
from topology.catalog import Hardware, load_hardware
from workloads.formats import get_format
from workloads.model import Model, load_model
from workloads.plan import Plan, PlanError, check_plan

if TYPE_CHECKING:
    from workloads.requests import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A scenario with everything that its names stood for."""

    scenario: Scenario
    hardware: Hardware
    model: Model
    formats: Formats
    plan: Plan
    """With ``replicas`` counted: ``auto`` has become as many as the cluster holds, at least 1."""
    requests: "Requests"
    concurrency: int
    """Users of a closed loop; 0 for arrivals as given."""
    max_model_len: int
    prefix_caching: bool
    inputs: tuple[Mapping[str, object], ...]
    """Files that were read: what for, name, sha256, bytes."""
    run_id: str
    machine_id: str
    """The same for runs that differ in their traffic only: they share layout and prices."""
    cards: range | None = None
    """The cards of the map that it may use; None: all."""
    role: Literal["prefill", "decode"] | None = None
    """Of one pool; None: it does both."""
    pools: "tuple[Resolved, Resolved] | None" = None
    """Of a disaggregated run, prefill and decode as runs of their own; ``plan`` is the first's."""

    @property
    def begin_ps(self) -> int:
        """Where the window begins that all figures of the run are of; the same for its pools."""
        return begin_ps(self.requests.arrival_ps, self.scenario.warmup_s)

    def carrying(self, requests: "Requests") -> "Resolved":
        """The same with these requests, in its pools too."""
        pools = None
        if self.pools is not None:
            prefill, decode = (replace(pool, requests=requests) for pool in self.pools)
            pools = prefill, decode
        return replace(self, requests=requests, pools=pools)


OF_TRAFFIC = ("requests", "slo", "warmup_s")
"""Of a run's content, what changes neither layout nor prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Openers:
    """Who opens what a scenario names; whoever resolves many keeps what was opened."""

    hardware: Callable[[str, Mapping[str, float]], Hardware]
    model: Callable[[str], Model]
    traffic: Callable[[Workload, int], tuple["Requests", int]]
    content: Callable[["Hardware | Model | Requests"], Encoded]
    described: Callable[[str, Path], dict[str, object]]


def content_text(opened: "Hardware | Model | Requests") -> Encoded:
    """What has been opened as the identity of a run has it: without names and notes."""
    if isinstance(opened, Hardware):
        return encoded({name: figure.value for name, figure in opened.figures.items()})
    if isinstance(opened, Model):
        return encoded({**asdict(opened), "name": "", "notes": ()})
    return encoded(opened.digest)


@lru_cache(maxsize=64)
def formats_text(formats: Formats) -> Encoded:
    """Number formats as the identity of a run has them: without names."""
    return encoded({use: {**each, "name": ""} for use, each in asdict(formats).items()})


FROM_DISK = Openers(
    hardware=load_hardware,
    model=load_model,
    traffic=traffic,
    content=content_text,
    described=described,
)


def resolve(scenario: Scenario, openers: Openers = FROM_DISK) -> Resolved:
    """Open what the scenario names and give the run its identity.

    Raises
    ------
    ScenarioError, ModelError, FormatError, PlanError, TraceError, TopologyError, DocumentError
        From the room that knows the input; all carry ``exit_code`` 2.
    """
    scenario = completed(scenario)
    if scenario.workload.is_replayed or scenario.model is None:
        raise ScenarioError(
            "the workload is an operation trace (program or chakra), and this takes requests "
            "(trace or synthetic): use corsair-sim replay"
        )
    hardware = clocked_hardware(scenario, openers.hardware)
    model = openers.model(scenario.model)
    formats, plan = formats_of(scenario), plan_of(scenario)
    if scenario.pools is None:
        check_plan(plan, model)
        check_scheduler(scenario.scheduler, plan)
    requests, concurrency = openers.traffic(scenario.workload, scenario.seed)
    content: dict[str, object] = {
        **_settings_content(scenario, formats, plan),
        "hardware": openers.content(hardware),
        "model": openers.content(model),
        "scheduler": _scheduler_content(scenario, model, requests),
        "requests": openers.content(requests),
        "concurrency": concurrency,
    }
    if scenario.pools is not None:
        content = _pools_content(scenario.pools, scenario.transfer, content)
    content = {name: encoded(piece) for name, piece in content.items()}  # once, for both names
    whole = Resolved(
        scenario=scenario,
        hardware=hardware,
        model=model,
        formats=formats,
        plan=plan,
        requests=requests,
        concurrency=concurrency,
        max_model_len=_max_model_len(scenario.scheduler, model),
        prefix_caching=_caches(scenario.scheduler, requests),
        inputs=tuple(_inputs(scenario, openers)),
        run_id=run_id(content),
        machine_id=_machine_id(content, scenario, model),
    )
    return whole if scenario.pools is None else _divided(whole, scenario.pools)


def _settings_content(scenario: Scenario, formats: Formats, plan: Plan) -> dict[str, object]:
    """What a run depends on beside hardware, model, scheduler and requests."""
    return {
        "cluster": scenario.cluster.model_dump(),
        "links": [link.model_dump() for link in scenario.links],
        "formats": formats_text(formats),
        "plan": asdict(plan),
        "memory": scenario.memory.model_dump(),
        "collectives": scenario.collectives.model_dump(),
        "experts": scenario.experts.model_dump(),
        "router": scenario.router,
        "slo": scenario.slo.model_dump(),
        "warmup_s": scenario.warmup_s,
        "seed": scenario.seed,
    }


def _scheduler_content(scenario: Scenario, model: Model, requests: "Requests") -> dict[str, object]:
    """The scheduler with what its ``auto`` and its defaults have become."""
    scheduler = scenario.scheduler
    return {
        **scheduler.model_dump(),
        "max_model_len": _max_model_len(scheduler, model),
        "enable_prefix_caching": _caches(scheduler, requests),
    }


def _pools_content(
    pools: Pools, transfer: Transfer | None, content: Mapping[str, object]
) -> dict[str, object]:
    """The same of a disaggregated run: what each pool has of its own stands with the pool."""
    kept = {name: content[name] for name in content if name not in (*INHERITED, "router")}
    return {
        **kept,
        "pools": pools.model_dump(),
        "transfer": (transfer or Transfer()).model_dump(),
    }


def _max_model_len(scheduler: Scheduler, model: Model) -> int:
    return scheduler.max_model_len or model.max_context


def _caches(scheduler: Scheduler, requests: "Requests") -> bool:
    """Whether prefixes are looked for: they are where it is wanted and requests tell of them."""
    return requests.hash_ids is not None and scheduler.enable_prefix_caching in (True, "auto")


def _divided(whole: Resolved, requested: Pools) -> Resolved:
    """The run with its pools, each of which is a run on cards of its own."""
    prefill = _pool(whole, "prefill", requested.prefill, 0)
    decode = _pool(whole, "decode", requested.decode, requested.prefill.cards)
    router = requested.decode.router
    if decode.plan.replicas > 1 and router not in ("round_robin", "random"):
        raise ScenarioError(
            f"pools.decode.router is {router!r}; must be 'round_robin' or 'random' for "
            f"{decode.plan.replicas} replicas: KV is sent to a replica before it is known how busy "
            "that will be when the KV arrives"
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
        max_model_len=_max_model_len(pool.scheduler, whole.model),
        prefix_caching=_caches(pool.scheduler, whole.requests),
        machine_id=f"{whole.machine_id}-{name}",
        cards=range(first, first + pool.cards),
        role=name,
    )


def _machine_id(content: Mapping[str, object], scenario: Scenario, model: Model) -> str:
    """The identity of layout and prices.

    The seed matters where tokens are dealt to experts, the requests where ``auto`` places weights
    for them.
    """
    dropped = {*OF_TRAFFIC, "seed"}
    if any(layer.mlp.experts for layer in model.layers):
        dropped.remove("seed")
    pools = scenario.pools
    parts = (scenario,) if pools is None else (pools.prefill, pools.decode)
    if any(part.memory.mode == "auto" for part in parts):
        dropped.remove("requests")
    return run_id({key: value for key, value in content.items() if key not in dropped})


def formats_of(scenario: Scenario) -> Formats:
    """The number formats by their names."""
    return Formats(**{use: get_format(name) for use, name in scenario.formats})


def plan_of(scenario: Scenario, cards: int | None = None) -> Plan:
    """The plan with its replicas counted, on so many cards (None: all of the cluster)."""
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


def _inputs(scenario: Scenario, openers: Openers) -> list[dict[str, object]]:
    synthetic = scenario.workload.synthetic
    lengths = (synthetic.prompt_tokens, synthetic.output_tokens) if synthetic else ()
    named = {
        "hardware": scenario.hardware,
        "model": scenario.model,
        "trace": scenario.workload.trace,
    }
    for use, length in zip(("prompt_tokens", "output_tokens"), lengths, strict=False):
        if length is not None and length.empirical is not None:
            named[use] = length.empirical.trace
    return [
        openers.described(use, Path(name))
        for use, name in named.items()
        if name is not None and Path(name).exists()
    ]
