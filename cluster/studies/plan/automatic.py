"""``plan: auto``: the estimator's best plan for a scenario's cluster and traffic.

A coarse search: cards in powers of two, filled with replicas, in the scenario's number formats.
Memory mode and batch stay as the scenario has them; what it leaves open is varied only if no plan
fits, carries the load and meets the SLO with the defaults.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.memory import DoesNotFit
from cluster.perf_model.placement import PlacementError
from cluster.scenario.memory_modes import UNIFORM_MODES, Mode
from cluster.scenario.plans import PlanChoice
from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import PlanSettings, Scenario
from cluster.serving.run import lay_out
from cluster.studies.plan import batch_scores
from cluster.studies.plan.context import Demand
from cluster.studies.plan.demand import demand_of, rate_of
from cluster.studies.plan.ranking import columns_of
from cluster.studies.plan.score import score
from cluster.studies.plan.space import Choices, plans_of
from workloads.plan import Plan, PlanError, check_plan

WIDEST_GROUP = 64
"""Cards of the largest tensor group that is tried."""
EXPERTS = (1, 2, 8, 32)
MANY_SEQS = (1, 4, 16, 60, 128, 256)
MANY_BUDGETS = (256, 512, 2048)
SCHEDULER = ("max_num_seqs", "max_num_batched_tokens")
FULLEST: Demand = (batch_scores.LOAD, 0.7)
"""For the capacity of plans, which does not depend on the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """The best row of one search."""

    scenario: Scenario
    meets_slo: bool


def choose(draft: Resolved) -> PlanChoice:
    """The best plan for a run whose plan is open.

    By the lowest mean latency (TTFT and the rest of the answer) at the offered load or with the
    users of a closed loop, among plans whose means meet the SLO; by the highest capacity where all
    requests come at once, or no plan carries the load.

    Raises
    ------
    PlacementError, PriceError
        No plan fits the cluster; both carry ``exit_code`` 3.
    """
    at_once = rate_of(draft) is None and not draft.concurrency
    goal = "the highest capacity" if at_once else "the lowest mean latency"
    demand, missed = demand_of(draft, "auto" if at_once else "offered"), None
    searches = list(_searches(draft))
    tokens = draft.requests.prompt_tokens + draft.requests.output_tokens
    if tokens.min() > draft.max_model_len:  # all will be refused: there is no traffic to score
        return _largest(draft, searches[-1])
    for choices in searches:
        found = _best(draft, choices, demand)
        if found is not None and found.meets_slo:
            return _said(draft, found.scenario, goal)
        missed = found or missed
    if missed is not None:
        goal = f"{goal}; no plan meets the SLO on the mean"
        return _said(draft, missed.scenario, goal)
    found = None if at_once else _best(draft, choices, FULLEST)
    if found is not None:
        goal = "the highest capacity; no plan carries the offered load"
        return _said(draft, found.scenario, goal)
    return _largest(draft, choices)


def _searches(draft: Resolved) -> Iterator[Choices]:
    """The search with the scenario's own settings, then with what it leaves open."""
    scenario = draft.scenario
    scheduler = scenario.scheduler
    own: dict[str, tuple[int, ...]] = {name: (getattr(scheduler, name),) for name in SCHEDULER}
    modes = _modes(draft)
    narrow = _choices(draft, modes[:1], own)
    yield narrow
    open_ = {"max_num_seqs": MANY_SEQS, "max_num_batched_tokens": MANY_BUDGETS}
    if draft.role is None or not draft.concurrency:
        own |= {name: open_[name] for name in SCHEDULER if name not in scheduler.model_fields_set}
    wide = _choices(draft, modes, own)
    if wide != narrow:
        yield wide


def _modes(draft: Resolved) -> tuple[Mode, ...]:
    """Memory modes that are tried, the default first; weights that ``auto`` places fit where
    uniform ones do."""
    far = len(module_of(draft.hardware).MEMORIES) > 1
    memory = draft.scenario.memory
    if not far:
        return UNIFORM_MODES[:1]
    if "mode" in memory.model_fields_set and memory.mode != "auto":
        return (memory.mode,)
    return UNIFORM_MODES


def _choices(draft: Resolved, modes: tuple[Mode, ...], batch: dict[str, Any]) -> Choices:
    cards, formats = _cards(draft), draft.scenario.formats
    groups = _doublings(min(cards, WIDEST_GROUP))
    stages = {*_doublings(cards), *_doublings(cards, 3), *(cards // group for group in groups)}
    if draft.scenario.scheduler.async_scheduling:
        stages = {1}
    return Choices(
        tensor_parallel_size=tuple(groups),
        pipeline_parallel_size=tuple(sorted(stages)),
        expert_parallel_size=EXPERTS,
        replicas=(1,) if draft.role and draft.concurrency else None,
        memory_mode=modes,
        weights=(formats.weights,),
        activations=formats.activations,
        kv=(formats.kv,),
        **batch,
    )


def _cards(draft: Resolved) -> int:
    size = draft.scenario.cluster
    whole = size.racks * size.servers_per_rack * size.cards_per_server
    return whole if draft.cards is None else len(draft.cards)


def _doublings(most: int, first: int = 1) -> list[int]:
    return [first << power for power in range(most.bit_length()) if first << power <= most]


def _best(draft: Resolved, choices: Choices, demand: Demand) -> _Best | None:
    """The best row; None if there is none."""
    scored = score(_with_near_kv(draft), choices, demand)
    if not len(scored.shape):
        return None
    slo = draft.scenario.slo.model_dump() if demand is not FULLEST else {}
    columns = columns_of(scored, draft, slo)
    if demand[0] == batch_scores.LOAD:
        worst = -columns["capacity_output_throughput"]
    else:
        worst = columns["ttft_ms"] + np.nan_to_num(columns["tpot_ms"]) * scored.decodes
    ties = ("max_num_batched_tokens", "max_num_seqs", "cards")
    row = np.lexsort((*(columns[tie] for tie in ties), worst, ~columns["meets_slo"]))[0]
    best = {name: column[row] for name, column in columns.items()}
    return _Best(
        scenario=_written(draft.scenario, best),
        meets_slo=bool(best["meets_slo"]),
    )


def _with_near_kv(draft: Resolved) -> Resolved:
    """KV that is pinned elsewhere is simulated, but not scored: it is taken to lie in SRAM."""
    scenario = draft.scenario
    pin = scenario.memory.pin.model_copy(update={"kv": "sram"})
    memory = scenario.memory.model_copy(update={"pin": pin})
    return replace(draft, scenario=scenario.model_copy(update={"memory": memory}))


def _written(scenario: Scenario, best: dict[str, Any]) -> Scenario:
    """The scenario with the choices of a row; ``auto`` places weights in that mode still."""
    plan = PlanSettings(**{name: int(best[name]) for name in PlanSettings.model_fields})
    memory, scheduler = scenario.memory, scenario.scheduler
    if memory.mode != "auto" and memory.mode != best["memory_mode"]:
        memory = memory.model_copy(update={"mode": str(best["memory_mode"])})
    changed = {
        name: int(best[name])
        for name in SCHEDULER
        if best.get(name, getattr(scheduler, name)) != getattr(scheduler, name)
    }
    if changed:
        scheduler = scheduler.model_copy(update=changed)
    return scenario.model_copy(update={"plan": plan, "memory": memory, "scheduler": scheduler})


def _said(draft: Resolved, best: Scenario, goal: str) -> PlanChoice:
    return PlanChoice(
        scenario=best, reason=f"plan auto took {_taken(draft.scenario, best)}: {goal}"
    )


def _taken(before: Scenario, after: Scenario) -> str:
    """The plan, and what else is not as the scenario had it."""
    words = [f"{name} {value}" for name, value in after.model_dump()["plan"].items()]
    if after.memory.mode != before.memory.mode:
        words.append(f"memory.mode {after.memory.mode}")
    words += [
        f"scheduler.{name} {getattr(after.scheduler, name)}"
        for name in SCHEDULER
        if getattr(after.scheduler, name) != getattr(before.scheduler, name)
    ]
    return ", ".join(words)


def _largest(draft: Resolved, choices: Choices) -> PlanChoice:
    """One replica on as many cards as can be, in the mode with most room.

    If it can be laid out, only KV for the longest requests is missing: they are refused.
    """
    plans = [plan for plan in plans_of(draft.model, _cards(draft), choices) if _legal(plan, draft)]
    if not plans:
        raise PlacementError(
            f"plan auto: {draft.model.name} cannot be divided over {_cards(draft)} cards"
        )
    plan = max(plans, key=lambda each: (each.cards_per_replica, each.tensor_parallel_size))
    best = {**asdict(plan), "memory_mode": _modes(draft)[-1]}
    scenario = _written(draft.scenario, best)
    try:
        lay_out(replace(draft, scenario=scenario, plan=plan))
    except DoesNotFit as error:
        raise PlacementError(f"plan auto: no plan fits; the largest: {error}") from None
    return _said(draft, scenario, "the most room; the longest requests have no room for their KV")


def _legal(plan: Plan, draft: Resolved) -> bool:
    try:
        check_plan(plan, draft.model)
    except PlanError:
        return False
    return True
