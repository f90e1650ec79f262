"""The plan of a run and of its pools; ``auto`` is replaced by the estimator's choice."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypeVar, cast

import numpy as np

from cluster.scenario.formats import formats_of
from cluster.scenario.load import ScenarioError
from cluster.scenario.operations import seated
from cluster.scenario.pools import pool_scenario
from cluster.scenario.router_settings import router_name
from cluster.scenario.routers import OF_POOLS
from cluster.scenario.scheduler_check import check_scheduler
from cluster.scenario.schema import AUTO, PlanSettings, Pool, Pools, Scenario
from cluster.scenario.workload import ProgramSteps
from workloads.plan import Plan, PlanError, check_plan

if TYPE_CHECKING:
    from cluster.scenario.resolve import Planned, Resolved
    from workloads.requests import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChoice:
    """What ``plan: auto`` has become."""

    scenario: Scenario
    """With the plan written out, and what the scenario left open of memory mode and batch."""
    reason: str
    """What was chosen, and by which objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A replica that cannot work, since parts of the cluster are down."""

    replica: int
    """Its number among the replicas as they are placed."""
    reason: str


class NoReplicaError(ValueError):
    """Parts that are down have taken every replica."""

    exit_code: ClassVar[int] = 3


FindLosses: TypeAlias = "Callable[[Planned], tuple[Loss, ...]]"
ChoosePlan: TypeAlias = Callable[["Resolved"], PlanChoice]
"""Chooses the plan of a run whose ``scenario.plan`` is ``auto``; everything else is resolved."""


def estimated_plan(draft: "Resolved") -> PlanChoice:
    """The estimator's choice.

    It is named by a string, since the estimator prices whole machines: it belongs to a package
    above this one. ``Openers`` pass it down.
    """
    choose = import_module("cluster.studies.plan.automatic").choose
    return cast("PlanChoice", choose(draft))


def placed_losses(planned: "Planned") -> tuple[Loss, ...]:
    """The replicas that the scenario's state takes, which placing them on the map shows.

    Named by a string as ``estimated_plan`` is.
    """
    return cast("tuple[Loss, ...]", import_module("cluster.serving.run").losses(planned))


def placeholder(draft: "Resolved") -> PlanChoice:
    """One card a replica, for studies that choose plans themselves."""
    scenario = draft.scenario.model_copy(update={"plan": PlanSettings()})
    return PlanChoice(scenario=scenario, reason="")


def plan_of(scenario: Scenario, cards: int | None = None) -> Plan:
    """The plan with its replicas resolved, on ``cards`` cards (None: all of the cluster).

    Of ``auto``, which is to be chosen yet: one card.
    """
    wanted, size = scenario.plan, scenario.cluster
    if not isinstance(wanted, PlanSettings):
        return Plan()
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


def with_plan(draft: "Resolved", choose: ChoosePlan) -> "Resolved":
    """The same run with its plan, or the plans of its pools, chosen and checked.

    Raises
    ------
    PlanError, ScenarioError
        The plan does not divide the model, or the scheduler does not go with it.
    """
    pools = draft.scenario.pools
    if pools is not None:
        return _with_pool_plans(draft, pools, choose)
    if draft.scenario.plan == AUTO:
        choice = choose(draft.healthy)
        draft = replace(
            draft,
            scenario=with_state_of(draft.scenario, choice.scenario),
            plan=plan_of(choice.scenario),
            plan_reasons=(choice.reason,),
        )
    check_plan(draft.plan, draft.model)
    check_scheduler(draft.scenario.scheduler, draft.plan)
    return draft


def _with_pool_plans(draft: "Resolved", pools: Pools, choose: ChoosePlan) -> "Resolved":
    """The plans that the pools leave to ``choose``; the scenario's own is of no run then."""
    chosen, reasons = dict[str, Pool](), list[str]()
    for name, pool, first in _placed(draft, pools):
        if pool.plan == AUTO:
            choice = choose(_drafted(draft.healthy, name, pool, first))
            made = choice.scenario
            parts = {"plan": made.plan, "memory": made.memory, "scheduler": made.scheduler}
            chosen[name] = pool.model_copy(update=parts)
            reasons.append(f"pools.{name}: {choice.reason}")
    if not chosen:
        return draft
    scenario = draft.scenario.model_copy(update={"pools": pools.model_copy(update=chosen)})
    return replace(draft, scenario=scenario, plan_reasons=tuple(reasons))


def with_state_of(scenario: Scenario, chosen: Scenario) -> Scenario:
    """What was chosen for a healthy cluster, on the scenario's own."""
    return chosen.model_copy(update={"links": scenario.links, "state": scenario.state})


SomePlanned = TypeVar("SomePlanned", bound="Planned")


def without_lost(planned: SomePlanned, find: FindLosses) -> SomePlanned:
    """The same run without the replicas that are lost.

    Raises
    ------
    NoReplicaError
        None is left.
    """
    if not planned.scenario.down:
        return planned
    lost = find(planned)
    left = planned.plan.replicas - len(lost)
    if not left:
        down = ", ".join(planned.scenario.down)
        raise NoReplicaError(
            f"no replica of {len(lost)} is left with {down} down: {lost[0].reason}"
        )
    return replace(planned, plan=replace(planned.plan, replicas=left), lost=lost)


def program_requests(scenario: Scenario) -> "Requests":
    """The sequences of a generated program as requests; a single one for recorded operations."""
    from workloads.requests import Requests

    steps = scenario.workload.program
    batch, prompt, output = 1, 1, 1
    if isinstance(steps, ProgramSteps):
        reads = steps.phase == "prefill"
        batch, prompt = steps.batch, (steps.prompt_tokens if reads else steps.context) or 1
        output = 1 if reads else 1 + (steps.steps or 1)
    return Requests(
        arrival_ps=np.zeros(batch, np.int64),
        prompt_tokens=np.full(batch, prompt, np.int64),
        output_tokens=np.full(batch, output, np.int64),
    )


def program_plan(draft: "Resolved", choose: ChoosePlan) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario with the plan of its operations, and the reason.

    A generated program is taken as a closed loop of its sequences in a prefill pool (of prompts)
    or a decode pool. Recorded operations have the ranks that they were recorded with: the plan is
    one card a replica unless it is named.

    Raises
    ------
    ScenarioError
        ``auto`` is named for recorded operations.
    """
    scenario = draft.scenario
    steps = scenario.workload.program
    if not isinstance(steps, ProgramSteps):
        if "plan" in scenario.model_fields_set:
            raise ScenarioError(
                "plan auto is for requests and generated programs; recorded operations have the "
                "ranks that they were recorded with: name plan.tensor_parallel_size and the like"
            )
        return placeholder(draft).scenario, ()
    closed = replace(
        draft,
        scenario=seated(scenario, draft.plan),
        concurrency=steps.batch,
        role="prefill" if steps.phase == "prefill" else "decode",
    )
    choice = choose(closed.healthy)
    # Its seats are its sequences: they are no choice.
    chosen = {"plan": choice.scenario.plan, "memory": choice.scenario.memory}
    return scenario.model_copy(update=chosen), (choice.reason,)


def divided(whole: "Resolved", requested: Pools, find: FindLosses) -> "Resolved":
    """The run with its pools, each a run on its own cards."""
    prefill, decode = (_pool(whole, find, *each) for each in _placed(whole, requested))
    router = router_name(requested.decode.router or "round_robin")
    if decode.plan.replicas > 1 and router not in OF_POOLS:
        raise ScenarioError(
            f"pools.decode.router is {router!r}; must be {', '.join(map(repr, OF_POOLS))} for "
            f"{decode.plan.replicas} replicas: others look for the prefix or the session of a "
            "request that arrives"
        )
    return replace(whole, plan=prefill.plan, pools=(prefill, decode))


Role: TypeAlias = Literal["prefill", "decode"]


def _placed(whole: "Resolved", pools: Pools) -> list[tuple[Role, Pool, int]]:
    """Each pool and its first card: that of another kind of hardware is in another server."""
    size, mixed = whole.scenario.cluster, whole.mixed
    second = mixed.first_servers * size.cards_per_server if mixed else pools.prefill.cards
    return [("prefill", pools.prefill, 0), ("decode", pools.decode, second)]


def _pool(whole: "Resolved", find: FindLosses, name: Role, pool: Pool, first: int) -> "Resolved":
    """One pool, on ``pool.cards`` cards from the ``first`` on."""
    made = _drafted(whole, name, pool, first)
    try:
        check_plan(made.plan, whole.model)
        check_scheduler(made.scenario.scheduler, made.plan)
        return without_lost(made, find)
    except (PlanError, ScenarioError, NoReplicaError) as error:
        raise type(error)(f"pools.{name}: {error}") from None


def _drafted(whole: "Resolved", name: Role, pool: Pool, first: int) -> "Resolved":
    scenario, mixed = pool_scenario(whole.scenario, pool), whole.mixed
    second = mixed is not None and name == "decode"
    return replace(
        whole,
        scenario=scenario,
        hardware=mixed.second if mixed and second else whole.hardware,
        formats=formats_of(pool.formats),
        plan=plan_of(scenario, pool.cards),
        max_model_len=pool.scheduler.max_model_len or whole.model.max_context,
        prefix_caching=whole.caches(scenario),
        machine_id=f"{whole.machine_id}-{name}",
        cards=range(first, first + pool.cards),
        role=name,
    )
