"""Speculative decoding of a run: its limits, and the draft model laid out, priced and counted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.energy.coefficients import costing, joules_of
from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.memory import (
    DoesNotFit,
    Fit,
    MemorySettings,
    StageMemory,
    fit,
    stage_memory,
)
from cluster.perf_model.memory.placement import NO_PINS, Residency, uniform
from cluster.perf_model.placement import place
from cluster.perf_model.prices import PriceInputs, Pricing, price_tables
from cluster.perf_model.prices.drafting import drafted_passes, host_drafting, with_drafting
from cluster.perf_model.protocols import Figures
from cluster.perf_model.tables import MEASURED, MEASURES, PriceTables, Records, as_integers
from cluster.perf_model.tco import Purchase, inventories_of
from cluster.scenario.drafts import Draft
from cluster.scenario.resolve import Planned, Resolved
from cluster.scenario.speculative import Speculative, draws_of, probabilities
from cluster.serving.interface import Limits, Speculation
from corsair_common.units import PS_PER_S, Integers
from topology.route import Routes
from workloads.model import Model
from workloads.plan import Plan

if TYPE_CHECKING:
    from cluster.serving.outcome import Outcome

ID_BYTES = 4
"""Of a token on its way to a draft model or back."""
PROBABILITY_BYTES = 2
"""Of one entry of a draft's distribution, which probabilistic sampling compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLayout:
    """A draft model on its cards."""

    draft: Draft
    cards: Integers
    """[replica, 1, position]"""
    inputs: PriceInputs
    routes: Routes
    fit: Fit | None
    """Of cards of its own; else it is in the model's."""
    sent_ps: tuple[Integers, Integers]
    """[t] to cards of its own and back, by tokens of a step; empty on those of the last stage."""


def speculation_of(planned: Planned) -> Speculation | None:
    """The engines' part of the scenario's speculation."""
    speculative = planned.scenario.speculative
    if speculative is None:
        return None
    drafts = speculative.num_speculative_tokens
    return Speculation(
        num_speculative_tokens=drafts,
        num_lookahead_tokens=0 if speculative.method == "ngram" else drafts,
        max_num_new_slots_for_drafting=int(speculative.method == "draft_model"),
        accepted=draws_of(probabilities(speculative), planned.scenario.seed),
    )


def memory_beside(planned: Planned, settings: MemorySettings) -> StageMemory | None:
    """What a draft model takes of the cards of the last stage."""
    draft = planned.draft
    if draft is None or draft.cards is not None:
        return None
    if draft.layer_of is None:
        return stage_memory(*_memory_of(draft, settings))[0]
    # Between a first and a last stage lies one layer, without the embedding and the head.
    layers = draft.model.layers * 3
    alone = replace(
        draft,
        model=replace(draft.model, layers=layers),
        plan=replace(draft.plan, pipeline_parallel_size=3),
    )
    return stage_memory(*_memory_of(alone, settings))[1]


def _memory_of(
    draft: Draft, settings: MemorySettings
) -> tuple[Model, Plan, Figures, MemorySettings, Residency]:
    own = replace(
        settings,
        weights=draft.formats.weights,
        kv=draft.formats.kv,
        mode="performance",
        pins=NO_PINS,
        lpddr_taken_bytes=0,
        tail_bits=module_of(draft.hardware).TAIL_BITS,
        latent_copies=module_of(draft.hardware).latent_copies(draft.hardware),
    )
    placed = uniform("performance", draft.model, draft.plan)
    return draft.model, draft.plan, draft.hardware, own, placed


def lay_out_draft(
    planned: Planned,
    inputs: PriceInputs,
    routes: Routes,
    settings: MemorySettings,
) -> DraftLayout | None:
    """Place a draft model; ``inputs`` and ``routes`` are the model's, and of all cards.

    Raises
    ------
    PlacementError, DoesNotFit
        It has too few cards of its own, or they too little memory.
    """
    draft = planned.draft
    if draft is None:
        return None
    cards, own_fit, own_routes = inputs.cards[:, -1:], None, routes
    sent_ps = np.empty(0, np.int64), np.empty(0, np.int64)
    if draft.cards is not None:
        own_routes = routes.between(list(draft.cards))
        cards = place(
            own_routes,
            tensor_parallel_size=draft.plan.tensor_parallel_size,
            pipeline_parallel_size=1,
            replicas=draft.plan.replicas,
            within=draft.cards,
        ).astype(np.int64)
        if planned.mixed is not None:
            own_routes = routes.between(cards)
        try:
            own_fit = fit(*_memory_of(draft, settings))
        except DoesNotFit as error:
            raise DoesNotFit(f"speculative.draft_on: {error}") from None
        sent_ps = _sent_ps(planned, inputs, routes, cards)
    own_inputs = replace(
        inputs,
        hardware=draft.hardware,
        routes=own_routes,
        model=draft.model,
        plan=draft.plan,
        formats=draft.formats,
        cards=cards,
        residency=None,
        composed_ahead=True,  # no scheduling between passes
    )
    return DraftLayout(
        draft=draft,
        cards=cards,
        inputs=own_inputs,
        routes=own_routes,
        fit=own_fit,
        sent_ps=sent_ps,
    )


def _sent_ps(
    planned: Planned, inputs: PriceInputs, routes: Routes, cards: Integers
) -> tuple[Integers, Integers]:
    """[t] of accepted tokens to a draft's cards, and of drafts back, by tokens of the step.

    The slowest replica's path, alone on it.
    """
    speculative = planned.scenario.speculative
    if speculative is None or speculative.draft_on is None:
        raise ValueError("drafts have no cards of their own")
    tokens = np.arange(inputs.max_tokens + 1)
    back = ID_BYTES
    if speculative.draft_sample_method == "probabilistic":
        back += PROBABILITY_BYTES * planned.model.vocab
    last, first = inputs.cards[:, -1, 0], inputs.cards[:, 0, 0]
    there_ps = _path_ps(routes, last, cards[:, 0, 0], ID_BYTES * tokens)
    back_ps = _path_ps(routes, cards[:, 0, 0], first, back * tokens)
    handover_ps = round(speculative.draft_on.handover_s * PS_PER_S)
    return there_ps + handover_ps, back_ps + handover_ps


def _path_ps(routes: Routes, source: Integers, target: Integers, sizes: Integers) -> Integers:
    """[n] of messages of these bytes over the slowest of the paths."""
    latency_ps = int(np.asarray(routes.latency_ps(source, target)).max())
    rate = min(
        float((routes.link_bandwidth_bytes_per_s[path] * routes.link_efficiency[path]).min())
        for path in (routes.path(int(a), int(b)) for a, b in zip(source, target, strict=True))
    )
    return latency_ps + np.rint(sizes / rate * PS_PER_S).astype(np.int64)


def capacity_with(fitted: Fit, draft: DraftLayout | None) -> Fit:
    """The model's KV, of which no block has none in a draft's own cards."""
    if draft is None or draft.fit is None:
        return fitted
    blocks, capacity = draft.fit.blocks, fitted.capacity
    if blocks >= fitted.blocks:
        return fitted
    if not fitted.windowed:
        own = KvCapacity.of_blocks(blocks, min(blocks, fitted.sram_blocks))
        return replace(
            fitted, blocks=blocks, sram_blocks=min(blocks, fitted.sram_blocks), capacity=own
        )
    units = np.zeros((1, len(capacity.windows)), np.int64)
    units[0, 0] = 1
    return replace(
        fitted,
        capacity=replace(
            capacity,
            block_units=np.concatenate([capacity.block_units, units]),
            room_units=np.append(capacity.room_units, blocks),
        ),
    )


def priced_with(
    prices: PriceTables,
    speculative: Speculative | None,
    draft: DraftLayout | None,
    hardware: Figures,
    pricing: Pricing,
) -> PriceTables:
    """The model's prices with those of drafting."""
    if speculative is None:
        return prices
    if draft is None:
        bound = prices.bounds.index(module_of(hardware).HOST_BOUND)
        return host_drafting(prices, round(speculative.host_s_per_request * PS_PER_S), bound)
    own = price_tables(draft.inputs, pricing)
    return with_drafting(prices, own, speculative.num_speculative_tokens, sent_ps=draft.sent_ps)


def draft_work(layout: DraftLayout | None, limits: Limits) -> "DraftWork | None":
    """Counts of drafts that have cards of their own."""
    if layout is None or layout.fit is None:
        return None
    return DraftWork(layout, limits.drafts, limits)


class DraftWork:
    """Busy time and energy of cards that drafts have for themselves."""

    def __init__(self, layout: DraftLayout, drafts: int, limits: Limits) -> None:
        self._layout, self._drafts = layout, drafts
        own = price_tables(layout.inputs)
        heads = limits.max_num_seqs + 1
        self._prices = drafted_passes(own, drafts, heads)
        self._tokens = np.zeros(own.linear_ps.shape[1], np.int64)
        self._rows = np.zeros(heads, np.int64)
        self._measures = np.zeros(len(own.kinds) * len(MEASURES), np.int64)

    def add(self, window: Records, kinds: int) -> None:
        """Add a window of the log, whose last of ``kinds`` kinds of layers are the draft's."""
        self._tokens += np.bincount(window["tokens"], minlength=len(self._tokens))
        self._rows += np.bincount(window["drafting"], minlength=len(self._rows))
        first = MEASURED + len(MEASURES) * kinds - len(self._measures)
        own = as_integers(window)[:, first : first + len(self._measures)]
        self._measures += own.sum(axis=0)

    def joules(self, cards: int, duration_s: float) -> float:
        """Of drafts' cards, the last of all ``cards``: work, and static power for so long; no
        links."""
        layout = self._layout
        joules = joules_of(layout.draft.hardware, layout.routes, layout.cards)
        counts = self._prices.token_counts[0].T @ self._tokens
        counts = counts + self._prices.head_counts[0].T @ self._rows
        each = self._prices.attention_counts[0].copy()
        each[:: len(MEASURES)] *= self._drafts - 1
        counts = counts + each.T @ self._measures
        spent = float(costing(counts, joules.count_j).sum()) * layout.cards.shape[2]
        own = range(cards)[layout.draft.cards.start :] if layout.draft.cards else range(0)
        return float(spent + joules.static_w * len(own) * duration_s)


def purchases_with_drafts(
    resolved: Resolved, watts: Sequence[float | None], outcome: "Outcome"
) -> list[Purchase]:
    """Servers of the model and of its drafts; power of the latter is their cards' alone."""
    mixed, size = resolved.mixed, resolved.scenario.cluster
    if mixed is None:
        raise ValueError("the cluster has servers of one kind")
    second = size.racks * size.servers_per_rack - mixed.first_servers
    kinds = ((mixed.first.figures, mixed.first_servers), (mixed.second.figures, second))
    bought = inventories_of(kinds, racks=size.racks, cards_per_server=size.cards_per_server)
    lasted_s = outcome.end_ps / PS_PER_S
    drafts_w = outcome.draft_j / lasted_s if outcome.draft_j is not None and lasted_s else None
    power = [None if None in watts else math.fsum(w for w in watts if w is not None), drafts_w]
    return [
        Purchase(figures=figures, bought=own, power_w=power_w)
        for (figures, _), own, power_w in zip(kinds, bought, power, strict=True)
    ]
