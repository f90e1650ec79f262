"""One serving run: from a resolved scenario to engine results. No files and no globals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.useful import Peaks
from cluster.perf_model.energy.coefficients import Joules, joules_of
from cluster.perf_model.energy.facility import Facility, facility_of
from cluster.perf_model.memory import Fit, fit
from cluster.perf_model.memory.expected_load import traffic_of
from cluster.perf_model.memory.loading import host_load_s, lpddr_load_s
from cluster.perf_model.memory.optimizer import place_weights
from cluster.perf_model.memory.settings import memory_settings
from cluster.perf_model.placement import place
from cluster.perf_model.prices import PriceInputs, Pricing, price_stages, price_tables
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import ScenarioError
from cluster.scenario.plans import Loss
from cluster.scenario.resolve import Planned, Resolved
from cluster.scenario.router_settings import router_name, router_weights
from cluster.scenario.schema import Scenario
from cluster.scenario.speculative import Speculative
from cluster.serving.arrivals import arrivals_of
from cluster.serving.check import check_prices
from cluster.serving.drafts import (
    DraftLayout,
    capacity_with,
    lay_out_draft,
    memory_beside,
    priced_with,
    speculation_of,
)
from cluster.serving.interface import Arrivals, Limits, Observer, OnSteps
from cluster.serving.kv_tiers import kv_tiers
from cluster.serving.outcome import Outcome, RunAccounts
from cluster.serving.state import broken_replicas, cards_left, levels_of
from corsair_common.units import PS_PER_S, Integers
from topology.build import build_pod, scale_links
from topology.mixed import AnyHardware
from topology.route import Routes, compile_routes
from topology.state import take_down

if TYPE_CHECKING:
    from topology.types import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The hardware of a run with the model placed on it, without prices."""

    graph: "Graph"
    routes: Routes
    cards: Integers
    """[replica, stage, position] card of every rank."""
    fit: Fit
    inputs: PriceInputs
    limits: Limits
    speculative: Speculative | None = None
    draft: DraftLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The hardware of a run with the model placed on it, and the prices of all steps."""

    graph: "Graph"
    routes: Routes
    cards: Integers
    """[replica, stage, position] card of every rank."""
    fit: Fit
    prices: PriceTables
    limits: Limits
    joules: Joules
    facility: Facility
    peaks: Peaks
    draft: DraftLayout | None = None
    """A draft model, if there is one."""


def assemble(resolved: Resolved, mapped: "MapOf | None" = None) -> Machine:
    """Build the topology, place the model, check that it fits, and price it.

    ``mapped`` replaces ``map_of`` to pass an existing topology.

    Raises
    ------
    PlacementError, DoesNotFit, PriceError
        It cannot run; all carry ``exit_code`` 3.
    """
    return priced(lay_out(resolved, mapped))


def priced(layout: Layout, pricing: Pricing = price_stages) -> Machine:
    """Price every step of the cards.

    Raises
    ------
    PriceError, TooSlowError
        A step that is not modelled or would last for hours; both carry ``exit_code`` 3.
    """
    prices = price_tables(layout.inputs, pricing)
    own = layout.speculative, layout.draft, layout.inputs.hardware
    return priced_as(layout, priced_with(prices, *own, pricing))


def priced_as(layout: Layout, prices: PriceTables) -> Machine:
    """The machine with these prices, which may be of more tokens and rows than it schedules."""
    check_prices(prices, layout.limits)
    return Machine(
        graph=layout.graph,
        routes=layout.routes,
        cards=layout.cards,
        fit=layout.fit,
        prices=prices,
        limits=layout.limits,
        joules=joules_of(layout.inputs.hardware, layout.routes, layout.cards),
        facility=facility_of(layout.inputs.hardware, layout.routes),
        peaks=module_of(layout.inputs.hardware).peaks(
            layout.inputs.hardware, layout.inputs.formats
        ),
        draft=layout.draft,
    )


def map_of(scenario: Scenario, hardware: AnyHardware) -> tuple["Graph", Routes]:
    """Build the racks with the scenario's changes of links and parts, and compile their routes."""
    size = scenario.cluster
    graph = build_pod(
        hardware,
        racks=size.racks,
        servers_per_rack=size.servers_per_rack,
        cards_per_server=size.cards_per_server,
    )
    for link in scenario.links:
        if link.bandwidth_scale:
            graph = scale_links(graph, link.match, link.bandwidth_scale, link.latency_scale)
    if not scenario.down:
        return graph, compile_routes(graph)
    graph = take_down(graph, scenario.down)
    return graph, compile_routes(graph, cut=True)


def losses(planned: Planned) -> tuple[Loss, ...]:
    """The replicas that the scenario's state takes."""
    scenario = planned.scenario
    maps = (map_of(each, planned.racks)[1] for each in (scenario.healthy, scenario))
    return broken_replicas(planned, *maps)


MapOf: TypeAlias = Callable[[Scenario, AnyHardware], tuple["Graph", Routes]]
"""``map_of`` or a substitute."""


def lay_out(resolved: Planned, mapped: MapOf | None = None) -> Layout:
    """Build the topology, place the model and check that it fits.

    Raises
    ------
    PlacementError, DoesNotFit
        It cannot run; both carry ``exit_code`` 3.
    ScenarioError
        The scenario has pools, each of which is placed by itself.
    """
    if isinstance(resolved, Resolved) and resolved.pools is not None:
        raise ScenarioError("pools are for corsair-sim serve and check; here cards are undivided")
    plan = resolved.plan
    graph, routes = (mapped or map_of)(resolved.scenario, resolved.racks)
    if resolved.scenario.down:
        _, healthy = map_of(resolved.scenario.healthy, resolved.racks)
        cards = cards_left(resolved, healthy, routes)
    else:
        cards = place(
            levels_of(resolved, routes),
            tensor_parallel_size=plan.tensor_parallel_size,
            pipeline_parallel_size=plan.pipeline_parallel_size,
            replicas=plan.replicas,
            within=resolved.cards,
        ).astype(np.int64)
    whole = routes
    if resolved.mixed is not None:
        routes = routes.between(cards)
    settings = memory_settings(resolved, resolved.formats, resolved.plan)
    inputs = price_inputs(resolved, routes, cards)
    residency = place_weights(inputs, settings, traffic_of(resolved))
    fitted = fit(
        resolved.model,
        plan,
        resolved.hardware,
        settings,
        residency,
        memory_beside(resolved, settings),
    )
    draft = lay_out_draft(resolved, inputs, whole, settings)
    fitted = capacity_with(fitted, draft)
    inputs = replace(inputs, residency=residency)
    return Layout(
        graph=graph,
        routes=routes,
        cards=inputs.cards,
        fit=fitted,
        inputs=inputs,
        limits=_limits(resolved, fitted),
        speculative=resolved.scenario.speculative,
        draft=draft,
    )


def without_drafts(resolved: Resolved, layout: Layout) -> tuple[Resolved, Layout]:
    """The same cards and memory for a run without speculative decoding."""
    if layout.speculative is None:
        return resolved, layout
    scenario = resolved.scenario.model_copy(update={"speculative": None})
    plain = replace(layout.limits, speculation=None)
    return (
        replace(resolved, scenario=scenario, draft=None),
        replace(layout, limits=plain, speculative=None, draft=None),
    )


def price_inputs(resolved: Planned, routes: Routes, cards: Integers) -> PriceInputs:
    """Inputs of pricing for ``cards[replica, stage, position]``, without weight placement."""
    scenario, scheduler = resolved.scenario, resolved.scenario.scheduler
    rows = 1 + (scenario.speculative.num_speculative_tokens if scenario.speculative else 0)
    return PriceInputs(
        hardware=resolved.hardware,
        routes=routes,
        model=resolved.model,
        plan=resolved.plan,
        formats=resolved.formats,
        cards=cards,
        max_tokens=scheduler.max_num_batched_tokens,
        max_rows=min(scheduler.max_num_seqs * rows, scheduler.max_num_batched_tokens),
        max_context=resolved.max_model_len,
        all_reduce=scenario.collectives.all_reduce,
        norms=scenario.collectives.norms,
        overlap=scenario.collectives.overlap,
        expert_skew=scenario.experts.skew if scenario.experts.routing == "zipf" else 0.0,
        seed=scenario.seed,
        composed_ahead=scheduler.async_scheduling,
    )


def _limits(resolved: Planned, fitted: Fit) -> Limits:
    """Limits of the scheduler and the KV capacity."""
    scheduler = resolved.scenario.scheduler
    return Limits(
        max_num_seqs=scheduler.max_num_seqs,
        max_num_batched_tokens=scheduler.max_num_batched_tokens,
        block_size=scheduler.block_size,
        blocks=fitted.blocks,
        max_model_len=resolved.max_model_len,
        router=router_name(resolved.scenario.router),
        router_weights=router_weights(resolved.scenario.router),
        concurrency=resolved.concurrency,
        prefix_caching=resolved.prefix_caching,
        kv_tiers=kv_tiers(resolved, fitted),
        kv_write=resolved.scenario.memory.kv_write,
        kv_policy=resolved.scenario.memory.kv_policy,
        long_prefill_token_threshold=scheduler.long_prefill_token_threshold,
        async_scheduling=scheduler.async_scheduling,
        sram_blocks=fitted.sram_blocks if fitted.residency.kv != "sram" else fitted.blocks,
        windowed=fitted.capacity if fitted.windowed else None,
        ready_ps=_ready_ps(resolved, fitted),
        speculation=speculation_of(resolved),
    )


def _ready_ps(resolved: Planned, fitted: Fit) -> int:
    """Time at which the weights are loaded; 0 unless loading is simulated."""
    scenario, hardware = resolved.scenario, resolved.hardware
    wait_s = {
        "none": 0.0,
        "lpddr": lpddr_load_s(fitted, hardware),
        "host": host_load_s(fitted, hardware, scenario.cluster.cards_per_server),
    }
    return round(wait_s[scenario.memory.load] * PS_PER_S)


def execute(
    resolved: Resolved,
    machine: Machine,
    *,
    arrivals: Arrivals | None = None,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
) -> Outcome:
    """Serve the requests (or these ``arrivals``) on the machine and account for every step."""
    from cluster.serving.engine import serve  # ``check`` lays out, and serves nothing

    requested = arrivals_of(resolved) if arrivals is None else arrivals
    accounts = RunAccounts(resolved, machine, requested)
    served = serve(
        requested,
        machine.prices,
        machine.limits,
        observer=observer,
        on_steps=on_steps,
        on_cycles=accounts.add,
        on_log=accounts.divide if accounts.divides else None,
    )
    return accounts.outcome(served, requested)
