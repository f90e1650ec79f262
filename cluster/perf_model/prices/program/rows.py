"""Distinct rows of a program, each priced once, on any of its cards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from cluster.perf_model.collectives import tiers_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.prices.inputs import PriceInputs, device_for
from cluster.perf_model.prices.program.columns import column_price
from cluster.perf_model.prices.program.distinct import Request
from cluster.perf_model.prices.program.model import ModelRows
from cluster.perf_model.prices.program.network import NetworkRows
from cluster.perf_model.prices.program.resident import loads_of
from cluster.perf_model.prices.stage import stage_of, stage_price
from cluster.perf_model.prices.stage_collectives import stage_groups_of
from corsair_common.units import Integers
from workloads.program import ProgramInputs
from workloads.program.schema import COMMUNICATION, VARYING


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowJob:
    """A distinct row to price, and its varying values."""

    request: Request
    ranks: tuple[int, ...]
    """Of the group of a collective, in order of position."""
    varying: Integers
    """[slots, repeats, VARYING] of each column of the program's varying values of this row that is
    not recorded."""

    def card(self, inputs: PriceInputs) -> int:
        """The first card that has such a row."""
        return int(inputs.cards.ravel()[self.request.rank])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowPrice:
    """Price of a distinct row."""

    ps: int
    """Without its dispatch."""
    bound: int
    dispatch_ps: int
    by_columns: bool
    """Whether it is not a row of the model, and priced by its columns."""
    tier_bytes: Integers
    """[tier]"""
    varying_ps: Integers
    """[slots, repeats] with the dispatch."""


RowPricing: TypeAlias = Callable[[PriceInputs, Sequence[RowJob]], Sequence[RowPrice]]
"""Prices each of the jobs, in their order."""


def program_inputs(inputs: PriceInputs) -> ProgramInputs:
    """Return what the program of this model on these cards is to be generated with."""
    device, module = device_for(inputs), module_of(inputs.hardware)
    return ProgramInputs(
        model=inputs.model,
        plan=inputs.plan,
        formats=inputs.formats,
        max_tokens=inputs.max_tokens,
        products=module.PRODUCTS,
        index_products=module.INDEX_PRODUCTS,
        state_products=module.STATE_PRODUCTS,
        layer_end_above=device.layer_end_above,
        chiplets=device.units,
        ridge_rows=device.ridge_rows,
        expert_skew=inputs.expert_skew,
        seed=inputs.seed,
        streamed=device.memory == "prefetched",
        loads=loads_of(inputs, device),
        sharded=_sharded(inputs, device),
    )


def _sharded(inputs: PriceInputs, device: Device) -> Callable[[int, int], bool] | None:
    """Whether the price tables shard the norms of a stage of the first replica, by token."""
    if not device.compiled or inputs.norms == "replicated":
        return None

    @cache
    def sharded(number: int, tokens: int) -> bool:
        groups = stage_groups_of(inputs, inputs.cards[0, number])
        sizes = np.array([tokens]), np.zeros(1, np.int64)
        price = stage_price(inputs, device, groups, stage_of(inputs, number), sizes)
        return bool(price.sharded[0])

    return sharded


def price_rows(inputs: PriceInputs, jobs: Sequence[RowJob]) -> list[RowPrice]:
    """Price distinct rows independently of each other."""
    device, module = device_for(inputs), module_of(inputs.hardware)
    bounds = module.BOUNDS
    model = ModelRows(inputs, program_inputs(inputs), device)
    network = NetworkRows(inputs, device, {job.request.group: job.ranks for job in jobs})
    wired = [job.request for job in jobs if job.request.kind in COMMUNICATION]
    exchanged = iter(network.price(wired))
    prices = []
    for job in jobs:
        if job.request.kind not in COMMUNICATION:
            prices.append(_work(model, device, job))
            continue
        wire = next(exchanged)
        prices.append(
            RowPrice(
                ps=wire.ps,
                bound=bounds.index("network" if wire.ps else module.HOST_BOUND),
                dispatch_ps=wire.dispatches * device.dispatch_ps,
                by_columns=False,
                tier_bytes=wire.tier_bytes,
                varying_ps=_varying_ps(model, device, job),
            )
        )
    return prices


def _work(model: ModelRows, device: Device, job: RowJob) -> RowPrice:
    """A card's own work, priced as a row of the model or by its columns."""
    module, found = module_of(model.inputs.hardware), model.price(job.request)
    work = found or column_price(device, job.request)
    return RowPrice(
        ps=work.ps,
        bound=work.bound if work.ps else module.BOUNDS.index(module.HOST_BOUND),
        dispatch_ps=work.dispatches * device.dispatch_ps,
        by_columns=found is None,
        tier_bytes=np.zeros(len(tiers_of(model.inputs.routes)), np.int64),
        varying_ps=_varying_ps(model, device, job),
    )


def _varying_ps(model: ModelRows, device: Device, job: RowJob) -> Integers:
    """[slots, repeats] durations with their dispatch."""
    slots, repeats, _ = job.varying.shape
    request = job.request
    values = dict(zip(VARYING, np.moveaxis(job.varying, -1, 0), strict=True))
    if model.over_cache(request) and slots and model.price(request):
        cached = model.cache_ps(request, values)
        return cached + device.dispatch_ps
    durations = np.zeros((slots, repeats), np.int64)
    for at in np.ndindex(slots, repeats):
        own: dict[str, Any] = {name: int(column[at]) for name, column in values.items()}
        work = column_price(device, replace(request, **own))
        durations[at] = work.ps + work.dispatches * device.dispatch_ps
    return durations
