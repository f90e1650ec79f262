"""Resolves names to content: hardware, model, formats, plan and requests, and the run's identity.

Only this module opens inputs; all later code depends on values alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cluster.scenario.formats import Formats
from cluster.scenario.input_digests import described
from cluster.scenario.load import ScenarioError
from cluster.scenario.pools import INHERITED, completed, pool_scenario
from cluster.scenario.power import clocked_hardware
from cluster.scenario.run_id import Encoded, encoded, run_id
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
    from workloads.columns import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A scenario with its names resolved."""

    scenario: Scenario
    hardware: Hardware
    model: Model
    formats: Formats
    plan: Plan
    """With ``replicas`` resolved: ``auto`` is as many as the cluster holds, at least 1."""
    requests: "Requests"
    concurrency: int
    """Users of a closed loop; 0 for an open loop."""
    max_model_len: int
    prefix_caching: bool
    inputs: tuple[Mapping[str, object], ...]
    """Files that were read: use, name, sha256, bytes."""
    run_id: str
    machine_id: str
    """Equal for runs that differ in their traffic only: they share placement and prices."""
    cards: range | None = None
    """The cards of the topology that it may use; None: all."""
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


OF_TRAFFIC = ("requests", "slo", "warmup_s")
"""Keys of a run's content that change neither placement nor prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Openers:
    """Opener of a scenario's inputs; a caller that resolves many may cache them."""

    hardware: Callable[[str, Mapping[str, float]], Hardware]
    model: Callable[[str], Model]
    traffic: Callable[[Workload, int], tuple["Requests", int]]
    content: Callable[["Hardware | Model | Requests"], Encoded]
    described: Callable[[str, Path], dict[str, object]]


def content_text(opened: "Hardware | Model | Requests") -> Encoded:
    """An opened input as part of a run's identity: without names and notes."""
    if isinstance(opened, Hardware):
        return encoded({name: figure.value for name, figure in opened.figures.items()})
    if isinstance(opened, Model):
        return encoded({**asdict(opened), "name": "", "notes": ()})
    return encoded(opened.digest)


@lru_cache(maxsize=64)
def formats_text(formats: Formats) -> Encoded:
    """Number formats as part of a run's identity: without names."""
    return encoded({use: {**each, "name": ""} for use, each in asdict(formats).items()})


FROM_DISK = Openers(
    hardware=load_hardware,
    model=load_model,
    traffic=traffic,
    content=content_text,
    described=described,
)


def resolve(scenario: Scenario, openers: Openers = FROM_DISK) -> Resolved:
    """Open the scenario's inputs and compute the run's identity.

    Raises
    ------
    ScenarioError, ModelError, FormatError, PlanError, TraceError, TopologyError, DocumentError
        From the package of the input; all have ``exit_code`` 2.
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
    """The content of a run besides hardware, model, scheduler and requests."""
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
    """The scheduler with ``auto`` and defaults resolved."""
    scheduler = scenario.scheduler
    return {
        **scheduler.model_dump(),
        "max_model_len": _max_model_len(scheduler, model),
        "enable_prefix_caching": _caches(scheduler, requests),
    }


def _pools_content(
    pools: Pools, transfer: Transfer | None, content: Mapping[str, object]
) -> dict[str, object]:
    """The same of a disaggregated run; a pool's own keys are under the pool."""
    kept = {name: content[name] for name in content if name not in (*INHERITED, "router")}
    return {
        **kept,
        "pools": pools.model_dump(),
        "transfer": (transfer or Transfer()).model_dump(),
    }


def _max_model_len(scheduler: Scheduler, model: Model) -> int:
    return scheduler.max_model_len or model.max_context


def _caches(scheduler: Scheduler, requests: "Requests") -> bool:
    """Whether prefix caching is used: if it is enabled and requests have block ids."""
    return requests.hash_ids is not None and scheduler.enable_prefix_caching in (True, "auto")


def _divided(whole: Resolved, requested: Pools) -> Resolved:
    """The run with its pools, each a run on its own cards."""
    prefill = _pool(whole, "prefill", requested.prefill, 0)
    decode = _pool(whole, "decode", requested.decode, requested.prefill.cards)
    router = requested.decode.router
    if decode.plan.replicas > 1 and router not in ("round_robin", "random"):
        raise ScenarioError(
            f"pools.decode.router is {router!r}; must be 'round_robin' or 'random' for "
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
        max_model_len=_max_model_len(pool.scheduler, whole.model),
        prefix_caching=_caches(pool.scheduler, whole.requests),
        machine_id=f"{whole.machine_id}-{name}",
        cards=range(first, first + pool.cards),
        role=name,
    )


def _machine_id(content: Mapping[str, object], scenario: Scenario, model: Model) -> str:
    """The identity of layout and prices.

    It includes the seed if tokens are routed to experts, and the requests if ``auto`` places
    weights.
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
