"""One price class: a run of layers on one tensor group, with the work of a first or last stage."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.perf_model.attention import ATTENTION, WIDTH
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.memory.shard import KvBlock, index_block, kv_block
from cluster.perf_model.prices.inputs import (
    LayerKind,
    PriceInputs,
    index_heads,
    kinds_in,
    layer_kinds,
)
from cluster.perf_model.prices.stage_collectives import StageGroups
from cluster.perf_model.prices.stage_parts import Part, StageParts, widths
from cluster.perf_model.tables import FAR_BLOCKS, Records
from corsair_common.names import STATE
from corsair_common.units import Floats, Integers
from workloads.model import Layer, distinct_layers
from workloads.plan import stage_layers

Switches: TypeAlias = npt.NDArray[np.bool_]

Sizes: TypeAlias = tuple[Integers, Integers]
"""Counts of scheduled tokens and of emitting rows, in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterPlaces:
    """Whether these are in SRAM; True if the stage has none."""

    embedding: bool
    head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Contents of a stage; equal stages on equal links share a price."""

    layers: tuple[tuple[Layer, LayerPlaces, int], ...]
    """Kinds of layers, placement of their weights, and the number of each."""
    first: bool
    last: bool
    places: OuterPlaces


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePrice:
    """The rows of PriceTables of one class, without its send."""

    sharded: Switches
    """[t] whether norms are sharded by token."""

    linear_by_bound_ps: Integers
    collective_ps: Integers
    collective_by_tier_ps: Integers
    head_by_tier_ps: Integers
    collective_bytes: Integers
    floor_ps: Integers
    head_by_bound_ps: Integers
    attention: Records
    far_block_ps: Floats
    token_counts: Integers
    head_counts: Integers
    attention_counts: Integers


def stage_of(inputs: PriceInputs, number: int) -> Stage:
    """Count the kinds of layers of one stage."""
    layers, places = stage_layers(inputs.plan, inputs.model)[number], inputs.places(number)
    first, last = number == 0, number == inputs.plan.pipeline_parallel_size - 1
    distinct, numbers = distinct_layers(inputs.model)
    kinds = Counter(zip(numbers[layers.start : layers.stop], places.layers, strict=True))
    return Stage(
        layers=tuple((distinct[layer], where, count) for (layer, where), count in kinds.items()),
        first=first,
        last=last,
        places=OuterPlaces(embedding=not first or places.embedding, head=not last or places.head),
    )


def stage_price(
    inputs: PriceInputs,
    device: Device,
    groups: StageGroups,
    stage: Stage,
    sizes: Sizes | None = None,
) -> StagePrice:
    """Price every count of tokens and of emitting rows, or only those of ``sizes``."""
    tokens, rows = sizes or (np.arange(inputs.max_tokens + 1), np.arange(inputs.max_rows + 1))
    shared = StageParts(inputs, device, groups, tokens)
    sharded, summed = _cheaper(inputs, device, shared, stage, tokens)
    linear, token_counts, ps, tier_bytes, floor_ps = summed
    head, head_counts, head_by_tier_ps = shared.head(stage.last, stage.places.head, rows)
    return StagePrice(
        sharded=sharded,
        linear_by_bound_ps=linear,
        collective_ps=ps.sum(axis=1),
        collective_by_tier_ps=ps,
        head_by_tier_ps=head_by_tier_ps,
        collective_bytes=tier_bytes,
        floor_ps=floor_ps if device.memory == "prefetched" else np.zeros_like(tokens),
        head_by_bound_ps=head,
        attention=_attention(inputs, device, stage),
        far_block_ps=_far_block_ps(inputs, device, stage),
        token_counts=token_counts,
        head_counts=head_counts,
        attention_counts=_attention_counts(inputs, device, stage),
    )


def _cheaper(
    inputs: PriceInputs, device: Device, shared: StageParts, stage: Stage, tokens: Integers
) -> tuple[Switches, Part]:
    """[t] whether norms are sharded by token, and the sums of ``_summed`` that follow from it.

    One choice for all layers of the stage, since their residual stream is then sharded as well. An
    all-reduce that is set by its algorithm or its chunks is kept whole.
    """
    whole = inputs.all_reduce == inputs.chunks == "auto"
    if not device.compiled or inputs.norms == "replicated":
        return np.zeros(len(tokens), np.bool_), _summed(
            shared, stage, inputs.overlap, sharded=False
        )
    if inputs.norms == "sharded":
        return np.ones(len(tokens), np.bool_), _summed(shared, stage, inputs.overlap, sharded=True)
    replicated = _summed(shared, stage, inputs.overlap, sharded=False)
    if not whole:
        return np.zeros(len(tokens), np.bool_), replicated
    parted = _summed(shared, stage, inputs.overlap, sharded=True)
    less = _time_ps(parted) < _time_ps(replicated)
    return less, tuple(
        np.where(less if one.ndim == 1 else less[:, None], one, other)
        for one, other in zip(parted, replicated, strict=True)
    )


def _time_ps(summed: Part) -> Integers:
    linear, _, ps, _, _ = summed
    total: Integers = linear.sum(axis=1) + ps.sum(axis=1)
    return total


def _summed(shared: StageParts, stage: Stage, overlap: str, *, sharded: bool) -> Part:
    """linear[t, bound], counts[t, COUNTS], collectives' ps[t, tier] and bytes[t, tier],
    floor_ps[t]."""
    outer = shared.outer(stage.first, stage.places.embedding, last=stage.last, sharded=sharded)
    linear, token_counts, ps, tier_bytes = (part.copy() for part in outer)
    floor_ps = np.zeros(len(ps), np.int64)
    for layer, places, count in stage.layers:
        work, counts, far_ps = shared.layer(layer, places, sharded=sharded)
        exchanged_ps, exchanged_bytes = shared.exchanges(layer, sharded=sharded)
        linear += count * work
        token_counts += count * counts
        floor_ps += count * far_ps
        ps += count * exchanged_ps
        tier_bytes += count * exchanged_bytes
        if overlap == "chunked":
            hidden = shared.overlap(layer, places, sharded=sharded)
            for sums, change in zip((linear, token_counts, ps, tier_bytes), hidden, strict=True):
                sums += count * change
    return linear, token_counts, ps, tier_bytes, floor_ps


def _counted(stage: Stage) -> Counter[Layer]:
    counts: Counter[Layer] = Counter()
    for layer, _, count in stage.layers:
        counts[layer] += count
    return counts


def _attention(inputs: PriceInputs, device: Device, stage: Stage) -> Records:
    """[op] products of attention, kind by kind; absent if the stage has no such layer."""
    kinds = layer_kinds(inputs)
    layers: Counter[LayerKind] = Counter()
    for layer, count in _counted(stage).items():
        for kind in kinds_in(inputs, layer):
            layers[kind] += count
    records = [
        device.attention_records(kind.heads, layers[kind], number)
        for number, kind in enumerate(kinds)
    ]
    return np.concatenate(records).view(ATTENTION)  # records, whose fields are attributes


def _far_block_ps(inputs: PriceInputs, device: Device, stage: Stage) -> Floats:
    """[kind] the far memory's time for one KV block of all layers of the kind; 0 without layers."""
    kinds = layer_kinds(inputs)
    found = np.zeros(len(kinds))
    if inputs.placed.kv != "sram":
        for layer, count in _counted(stage).items():
            for kind in kinds_in(inputs, layer):
                stored = _moved_block(inputs, device, layer, kind).chiplet * count
                found[kinds.index(kind)] += device.far_ps(float(stored))
    return found


def _moved_block(inputs: PriceInputs, device: Device, layer: Layer, kind: LayerKind) -> KvBlock:
    """What moves for a block of a kind of one layer, on the fullest unit and on the rank.

    64 tokens of one sequence, of the index keys alone or of all else; a state is read and written.
    """
    module = module_of(inputs.hardware)
    stored = module.TAIL_BITS, module.latent_copies(inputs.hardware)
    attention, formats = layer.attention, inputs.formats
    if kind.heads == index_heads(attention):
        return index_block(attention, device.units, formats.kv)
    attention = replace(attention, index_dim=0)
    block = kv_block(attention, inputs.plan, device.units, formats.kv, *stored)
    return block + block if kind.window == STATE else block


def _attention_counts(inputs: PriceInputs, device: Device, stage: Stage) -> Integers:
    """[kind x MEASURES, counts] of one unit of each measure, all layers of its kind together."""
    kinds = layer_kinds(inputs)
    counts = np.zeros((len(kinds), WIDTH, widths(inputs)[1]), np.int64)
    for layer, count in _counted(stage).items():
        for kind in kinds_in(inputs, layer):
            own = counts[kinds.index(kind)]
            own += count * device.attention_counts(kind.heads)
            moved = _moved_block(inputs, device, layer, kind).card
            own[FAR_BLOCKS] += count * device.far_counts(moved)
    return counts.reshape(-1, counts.shape[-1])
