"""Context shared by all shapes of a study, and the prices of one shape."""

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import row_reach
from cluster.perf_model.energy.coefficients import Joules, joules_of
from cluster.perf_model.kv_capacity import held_blocks
from cluster.perf_model.memory import MemorySettings
from cluster.perf_model.memory.settings import memory_settings
from cluster.perf_model.memory.stage import windows_of
from cluster.perf_model.placement import place
from cluster.perf_model.prices import PriceError, PriceInputs, price_tables
from cluster.perf_model.tables import PriceTables, TooSlowError
from cluster.scenario.resolve import Resolved
from cluster.serving.run import price_inputs
from cluster.studies.plan.batch_scores import LOAD
from cluster.studies.plan.space import Choices, Shape
from cluster.studies.plan.traffic import Near, Traffic, traffic_of
from corsair_common.lru import LruCache
from corsair_common.units import Floats, Integers
from topology.route import Routes
from workloads.plan import Plan

Demand: TypeAlias = tuple[int, float]
"""One of LOAD, OFFERED and USERS, and its amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """Inputs that all shapes share: topology and traffic."""

    resolved: Resolved
    routes: Routes
    traffic: Traffic
    choices: Choices
    mean_blocks: Floats
    """[k] KV blocks of a request at its end, in layers of each kind: the mean of those inside at
    a random moment, where long answers are more often."""
    windows: Integers
    """[k] windows of the kinds, behind which blocks are freed; 0: never freed."""
    demand: Floats
    placed: LruCache[Integers] = field(default_factory=lambda: LruCache(1), compare=False)
    """Cards of the last plan: shapes of one plan follow one another."""

    def most_blocks(self, budgets: Integers) -> Integers:
        """[n, k] peak blocks of each kind of the longest request, prefilled in chunks of at most
        ``budgets[n]`` tokens."""
        longest = np.full(len(budgets), self.traffic.sequences[-1])
        size = self.resolved.scenario.scheduler.block_size
        return held_blocks(self.windows, longest, budgets[:, None], size)


def study_context_of(
    resolved: Resolved, routes: Routes, choices: Choices, demand: Demand, near: Near = None
) -> StudyContext:
    """Describe the traffic, with tables of bursts ``near`` a point, and every candidate's load."""
    requests, scheduler = resolved.requests, resolved.scenario.scheduler
    seen = sorted({row_reach(layer.attention) for layer in resolved.model.layers})
    prompts, outputs = requests.prompt_tokens, requests.output_tokens
    if resolved.role == "prefill":
        outputs = np.ones_like(outputs)
    fitting = prompts + outputs <= resolved.max_model_len
    kind, much = demand
    traffic = traffic_of(
        prompts[fitting],
        outputs[fitting],
        seen,
        None if resolved.concurrency else requests.arrival_ps[fitting],
        load=much if kind == LOAD else None,
        carried=resolved.role == "decode",
        near=near,
    )
    settings = memory_settings(resolved, resolved.formats, resolved.plan)
    windows = np.array(windows_of(resolved.model, settings), np.int64)
    blocks = held_blocks(windows, traffic.sequences, 1, scheduler.block_size)
    return StudyContext(
        resolved=resolved,
        routes=routes,
        traffic=traffic,
        choices=choices,
        mean_blocks=np.average(blocks, axis=0, weights=traffic.stays),
        windows=windows,
        demand=np.array([much, kind], np.float64),
    )


def cards_of(study: StudyContext, plan: Plan) -> Integers:
    """[replica, stage, position] card of every rank; fewer replicas use the first of them."""

    def made() -> Integers:
        cards = place(
            study.routes,
            tensor_parallel_size=plan.tensor_parallel_size,
            pipeline_parallel_size=plan.pipeline_parallel_size,
            replicas=plan.replicas,
            within=study.resolved.cards,
        )
        return cards.astype(np.int64)

    return study.placed.get(plan, made)


def site_of(study: StudyContext, cards: Integers) -> tuple[int, int]:
    """Number of servers and of racks of these cards."""
    routes = study.routes
    servers, racks = np.asarray(routes.server)[cards], np.asarray(routes.rack)[cards]
    return len(np.unique(servers)), len(np.unique(racks))


def settings_of(study: StudyContext, shape: Shape) -> MemorySettings:
    """Memory settings of a shape, with the tail of one sequence, since max_num_seqs is open."""
    settings = memory_settings(study.resolved, shape.formats, shape.plan)
    return replace(settings, mode=shape.memory_mode, max_num_seqs=1)


def priced(study: StudyContext, inputs: PriceInputs) -> tuple[PriceTables, Joules] | None:
    """Price a shape; None if it is not modelled or too slow."""
    try:
        prices = price_tables(inputs)
    except (PriceError, TooSlowError):
        return None
    return prices, joules_of(study.resolved.hardware, study.routes, inputs.cards)


def inputs_of(study: StudyContext, shape: Shape, cards: Integers) -> PriceInputs:
    """Price inputs of the first and the last replica on ``cards[replica, stage, position]``."""
    plan, tokens = shape.plan, int(study.choices.budgets[-1])
    resolved = replace(study.resolved, plan=plan, formats=shape.formats)
    residency = settings_of(study, shape).uniform(resolved.model, plan)
    ends = cards[sorted({0, plan.replicas - 1})]
    return replace(
        price_inputs(resolved, study.routes, ends),
        residency=residency,
        max_tokens=tokens,
        max_rows=int(min(tokens, study.choices.batch_sizes[-1])),
    )
