"""Price tables of a model on cards: finds the distinct stages and prices each once."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import ATTENTION
from cluster.perf_model.collectives import Cost, SendCost, nothing_sent, shared_costs, tiers_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.prices.inputs import (
    LayerKind,
    PriceInputs,
    check_inputs,
    device_for,
    layer_kinds,
)
from cluster.perf_model.prices.stage import Stage, StagePrice, stage_of, stage_price
from cluster.perf_model.prices.stage_collectives import stage_groups_of
from cluster.perf_model.tables import KIND, PriceTables, Records
from corsair_common.lru import LruCache, Same
from corsair_common.names import STATE
from corsair_common.units import Integers
from workloads.model.scan import SCAN_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob:
    """A distinct stage to price, on one of its tensor groups."""

    stage: Stage
    cards: Integers
    """[position]"""


Pricing: TypeAlias = Callable[[PriceInputs, Sequence[StageJob]], Sequence[StagePrice]]
"""Prices each of the jobs, in their order."""


def price_stages(inputs: PriceInputs, jobs: Sequence[StageJob]) -> list[StagePrice]:
    """Price distinct stages in sequence; those of other machines that cost the same are kept."""
    device, found = device_for(inputs), []
    for job in jobs:
        groups = stage_groups_of(inputs, job.cards)
        made = partial(stage_price, inputs, device, groups, job.stage)
        found.append(_PRICES.get((*_content(inputs), groups.cost_key, job.stage), made))
    return found


def _content(inputs: PriceInputs) -> tuple[Hashable, ...]:
    """All that sets a stage's price but the stage and its groups."""
    own = ("routes", "cards", "residency", "plan", "hardware", "model")
    others = (getattr(inputs, field.name) for field in fields(inputs) if field.name not in own)
    plan = replace(inputs.plan, replicas=1)
    return Same(inputs.hardware), Same(inputs.model), plan, inputs.placed.streams, *others


def _weight(price: StagePrice) -> int:
    return sum(getattr(price, field.name).nbytes for field in fields(price))


_PRICES: LruCache[StagePrice] = LruCache(256, 64 * 2**20, _weight)


def price_tables(inputs: PriceInputs, pricing: Pricing = price_stages) -> PriceTables:
    """Tabulate all durations of serving steps.

    Stages with the same kinds of layers, on groups and sends of the same links, share a class.

    Raises
    ------
    PriceError
        Layers or formats that are not modelled.
    """
    check_inputs(inputs)
    host_ps = _host_ps(inputs)
    replicas, stages, _ = inputs.cards.shape
    classes = _Classes(
        host=bool(host_ps.any()),
        stages=[stage_of(inputs, number) for number in range(stages)],
    )
    stage_class = np.zeros((replicas, stages), np.int64)
    for replica in range(replicas):
        for stage in range(stages):
            stage_class[replica, stage] = _classify(inputs, classes, (replica, stage))
    priced = pricing(inputs, list(classes.jobs.values()))
    prices = [priced[job] for job in classes.priced_as]
    sends = _sends(inputs, classes.sends)
    linear = np.stack([price.linear_by_bound_ps for price in prices])
    head = np.stack([price.head_by_bound_ps for price in prices])
    module = module_of(inputs.hardware)
    hidden = inputs.composed_ahead and device_for(inputs).host_overlaps
    if not hidden:  # every step waits for its host at the first stage
        head[np.unique(stage_class[:, 0]), :, module.BOUNDS.index(module.HOST_BOUND)] += host_ps
    return PriceTables(
        linear_ps=linear.sum(axis=-1),
        collective_ps=np.stack([price.collective_ps for price in prices]),
        floor_ps=np.stack([price.floor_ps for price in prices]),
        send_ps=np.stack([cost.ps for cost in sends]),
        head_ps=head.sum(axis=-1),
        attention=np.stack([price.attention for price in prices]).view(ATTENTION),
        far_block_ps=np.stack([price.far_block_ps for price in prices]),
        linear_by_bound_ps=linear,
        head_by_bound_ps=head,
        collective_bytes=np.stack([price.collective_bytes for price in prices]),
        send_bytes=np.stack([cost.tier_bytes.sum(axis=-1) for cost in sends]),
        token_counts=np.stack([price.token_counts for price in prices]),
        head_counts=np.stack([price.head_counts for price in prices]),
        attention_counts=np.stack([price.attention_counts for price in prices]),
        stage_class=stage_class,
        return_ps=_return_ps(inputs),
        kinds=kinds_of(inputs),
        bounds=module.BOUNDS,
        memories=module.MEMORIES,
        far_bound=module.BOUNDS.index(module.FAR_BOUND or module.HOST_BOUND),
        ahead=module.room(inputs.hardware).buffer_bytes > 0,
        host_ps=int(host_ps[0]) if hidden else 0,
        host_rows_ps=np.zeros(0, np.int64) if hidden else host_ps,
        host_bound=module.BOUNDS.index(module.HOST_BOUND),
        collective_by_tier_ps=np.stack([price.collective_by_tier_ps for price in prices]),
        head_by_tier_ps=np.stack([price.head_by_tier_ps for price in prices]),
        tiers=tiers_of(inputs.routes),
    )


@dataclass(slots=True)
class _Classes:
    """Classes found so far, by their keys; groups with equal links have equal cost."""

    host: bool
    """Whether first stages have host time, and so differ from others."""
    stages: list[Stage]
    index: dict[tuple[object, ...], int] = field(default_factory=dict)
    sends: list[SendCost | None] = field(default_factory=list)
    """[class] None: it sends nothing."""
    priced_as: list[int] = field(default_factory=list)
    """[class] its job; classes that differ only in their sends share one."""
    jobs: dict[tuple[object, ...], StageJob] = field(default_factory=dict)


def _classify(inputs: PriceInputs, classes: _Classes, where: tuple[int, int]) -> int:
    """The class of one stage of one replica; a new class adds a job."""
    replica, number = where
    cards = inputs.cards[replica]
    last = number == len(cards) - 1
    costs, stage = shared_costs(inputs.hardware, inputs.routes), classes.stages[number]
    sent = None if last else costs.send(cards[number], cards[number + 1])
    own = (classes.stages.index(stage), costs.links(cards[number]))
    key = (*own, sent, number == 0 and classes.host)
    if key not in classes.index:
        classes.jobs.setdefault(own, StageJob(stage=stage, cards=cards[number]))
        classes.index[key] = len(classes.sends)
        classes.priced_as.append(list(classes.jobs).index(own))
        classes.sends.append(sent)
    return classes.index[key]


def links_of(inputs: PriceInputs, cards: Integers) -> bytes:
    """Key of equal cost of a stage's collectives."""
    return shared_costs(inputs.hardware, inputs.routes).links(cards)


def _host_ps(inputs: PriceInputs) -> Integers:
    """[s] host time of a step by its emitting rows."""
    return device_for(inputs).host_ps(np.arange(inputs.max_rows + 1))


def _sends(inputs: PriceInputs, sends: Sequence[SendCost | None]) -> list[Cost]:
    """Each card sends its part of the residual stream to its peer in the next stage."""
    tokens = np.arange(inputs.max_tokens + 1)
    payload = inputs.formats.wire.bytes_of(tokens * inputs.model.hidden)
    nothing = nothing_sent(tokens.size, len(tiers_of(inputs.routes)))
    costs = {each: nothing if each is None else each.of(payload) for each in set(sends)}
    return [costs[each] for each in sends]


def kinds_of(inputs: PriceInputs) -> Records:
    """[kind] the kinds of layers of the model (dtype KIND)."""
    device = device_for(inputs)
    kinds = layer_kinds(inputs)
    return np.array(
        [(kind.window, *pass_clocks(device, kind), kind.picked) for kind in kinds], KIND
    )


def pass_clocks(device: Device, kind: LayerKind) -> tuple[int, int]:
    """Clocks of a query of a kind, and of a pass; a state's passes are chunks of 64 tokens."""
    if kind.window == STATE:
        return 1, SCAN_TOKENS
    return device.clocks_per_query * kind.heads.queries_per_kv_head, device.clocks_per_pass


def _return_ps(inputs: PriceInputs) -> Integers:
    """[replica] latency of the longest path from last stage to first."""
    first, last = inputs.cards[:, 0], inputs.cards[:, -1]
    latency = np.asarray(inputs.routes.latency_ps(last.ravel(), first.ravel()), np.int64)
    back_ps: Integers = latency.reshape(first.shape).max(axis=1)
    return back_ps
