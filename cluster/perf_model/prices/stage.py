"""One price class: a run of layers on one tensor group, with the work of a first or last stage."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH
from cluster.perf_model.collectives import Cost, all_gather
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import UNIT, Operation, Product, StoredWeights
from cluster.perf_model.memory.placement import ALL_IN_SRAM, LayerPlaces
from cluster.perf_model.memory.shard import KvBlock, index_block, kv_block
from cluster.perf_model.prices.attention_layer import attention_operations
from cluster.perf_model.prices.inputs import (
    LayerKind,
    PriceInputs,
    index_heads,
    kinds_in,
    layer_kinds,
)
from cluster.perf_model.prices.mlp_layer import mlp_operations, routed
from cluster.perf_model.prices.stage_collectives import (
    StageGroups,
    attention_exchanges,
    mlp_exchanges,
    total,
)
from cluster.perf_model.tables import FAR_BLOCKS, Records
from corsair_common.names import STATE
from corsair_common.units import Floats, Integers
from workloads.model import Layer
from workloads.plan import cut, stage_layers

Sizes: TypeAlias = tuple[Integers, Integers]
"""Counts of scheduled tokens and of emitting rows, in any order."""

CANDIDATES = 64
"""Logits from each chiplet to the sampler: its top k."""

CANDIDATE_BYTES = 6
"""A logit in FP16 and a 32-bit token."""


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

    linear_by_bound_ps: Integers
    collective_ps: Integers
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
    shapes = (inputs.model.layers[layer] for layer in layers)
    kinds = Counter(zip(shapes, places.layers, strict=True))
    return Stage(
        layers=tuple((layer, where, count) for (layer, where), count in kinds.items()),
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
    bounds, counts = _widths(inputs)
    outer, outer_costs = _outer(inputs, device, groups, stage, tokens)
    linear = by_bound(device, bounds, outer, tokens)
    token_counts = counted(outer, tokens, counts)
    floor_ps = np.zeros_like(tokens)
    costs = [(cost, 1) for cost in outer_costs]
    exchanges = {
        layer: layer_exchanges(inputs, device, groups, layer, tokens) for layer in _counted(stage)
    }  # with any placement of weights
    for layer, places, count in stage.layers:
        operations = layer_operations(inputs, device, layer, places, tokens, exchanges[layer])
        linear += count * by_bound(device, bounds, operations, tokens)
        token_counts += count * counted(operations, tokens, counts)
        floor_ps += count * sum(operation.far_ps for operation in operations)
    for layer, count in _counted(stage).items():
        costs += [(cost, count) for cost in exchanges[layer]]
    collective_ps, collective_bytes = total(costs, len(tokens), groups.stage.fabric.tiers)
    return StagePrice(
        linear_by_bound_ps=linear,
        collective_ps=collective_ps,
        collective_bytes=collective_bytes,
        floor_ps=floor_ps if device.memory == "prefetched" else np.zeros_like(tokens),
        head_by_bound_ps=head_by_bound(inputs, device, groups, stage, rows),
        attention=_attention(inputs, device, stage),
        far_block_ps=_far_block_ps(inputs, device, stage),
        token_counts=token_counts,
        head_counts=_head_counts(inputs, device, stage, rows),
        attention_counts=_attention_counts(inputs, device, stage),
    )


def _counted(stage: Stage) -> Counter[Layer]:
    counts: Counter[Layer] = Counter()
    for layer, _, count in stage.layers:
        counts[layer] += count
    return counts


def layer_operations(
    inputs: PriceInputs,
    device: Device,
    layer: Layer,
    places: LayerPlaces,
    tokens: Integers,
    exchanges: Sequence[Cost] = (),
) -> list[Operation]:
    """Every dispatch of one layer with this placement of weights, in order.

    ``exchanges`` are its collectives, of which some software waits for the whole.
    """
    hidden = inputs.model.hidden
    found = routed(inputs, device, layer.mlp, places)
    attention: list[Operation] = []
    if layer.attention.kind != "none":
        own, heads = device.holding(places.attention), inputs.heads_of(layer)
        attention = attention_operations(own, layer.attention, heads, hidden, tokens)
    operations = [
        *attention,
        *mlp_operations(device, layer, hidden, tokens, found, places),
    ]
    if layer.mlp.kind == "none":  # the other half of a layer ends it
        return operations
    durations = [*(each.ps for each in operations), *(each.ps for each in exchanges)]
    works_ps: Integers = np.sum(durations, axis=0)
    return [*operations, *device.layer_end(tokens, works_ps)]


def layer_exchanges(
    inputs: PriceInputs, device: Device, groups: StageGroups, layer: Layer, tokens: Integers
) -> list[Cost]:
    """Every collective of one layer."""
    found = routed(inputs, device, layer.mlp, ALL_IN_SRAM)
    table = None if found is None else found.table
    inside: list[Cost] = []
    if layer.attention.kind != "none":
        heads = inputs.heads_of(layer)
        inside = attention_exchanges(device, groups, layer.attention, heads, tokens)
    return [*inside, *mlp_exchanges(device, groups, layer, inputs.model.hidden, tokens, table)]


def _outer(
    inputs: PriceInputs, device: Device, groups: StageGroups, stage: Stage, tokens: Integers
) -> tuple[list[Operation], list[Cost]]:
    """Before the first layer: token embedding, or the gather of received activations.

    The table is cut by vocabulary: each chiplet writes its own rows (in the worst case all), cast
    to FP16, and an all-reduce merges them.
    """
    hidden = inputs.model.hidden
    whole = device.wire.bytes_of(tokens * hidden)
    if not stage.first:
        return [device.elsewhere("receive gather", tokens)], [all_gather(groups.stage, whole)]
    table = device.holding(stage.places.embedding)
    outer = [
        table.lookup("embedding", tokens, hidden),
        device.elsewhere("embedding all-reduce", tokens),
    ]
    return outer, [groups.reduce_all(whole)]


def head_by_bound(
    inputs: PriceInputs, device: Device, groups: StageGroups, stage: Stage, rows: Integers
) -> Integers:
    """[s, bound] final norm, LM head, per-chiplet top k, and the gather of the candidates.

    A head in LPDDR streams while it runs: the slower of both counts.
    """
    device = device.holding(stage.places.head)
    bounds = module_of(inputs.hardware).BOUNDS
    operations = head_operations(inputs, device, rows) if stage.last else []
    split = by_bound(device, bounds, operations, rows)
    if stage.last and not inputs.model.pooling:
        head = operations[1]
        gathered = all_gather(groups.stage, rows * (device.ranks * CANDIDATES * CANDIDATE_BYTES))
        split[:, bounds.index("network")] += gathered.ps
        if device.memory == "prefetched":
            far = bounds.index(module_of(inputs.hardware).FAR_BOUND or "")
            split[:, far] += np.maximum(0, head.far_ps - head.ps)
    return split


def _head_counts(inputs: PriceInputs, device: Device, stage: Stage, rows: Integers) -> Integers:
    """[s, COUNTS]"""
    own = device.holding(stage.places.head)
    operations = head_operations(inputs, own, rows) if stage.last else []
    return counted(operations, rows, _widths(inputs)[1])


def head_operations(inputs: PriceInputs, device: Device, rows: Integers) -> list[Operation]:
    """Every dispatch after the last layer, in order; an embedding model ends with its norm."""
    if inputs.model.pooling:
        hidden = inputs.model.hidden
        return [
            device.vector("final norm+quant", (rows * hidden, ("norm", "quantize")), normed=rows)
        ]
    hidden, vocab = inputs.model.hidden, device.of_group(inputs.model.vocab)
    card = len(cut(inputs.model.vocab, device.cards)[0])
    depth = math.ceil(math.log2(CANDIDATES))
    return [
        device.vector("final norm+quant", (rows * hidden, ("norm", "quantize")), normed=rows),
        device.matmul(
            "LM head",
            Product(m=rows, k=hidden, n=vocab),
            StoredWeights(k=hidden, n=card, shares=-(-card // UNIT)),
        ),
        device.vector("top-k", (rows * vocab, ("compare",) * depth)),
        device.elsewhere("sample", rows),
    ]


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
    tail_bits = module_of(inputs.hardware).TAIL_BITS
    attention, formats = layer.attention, inputs.formats
    if kind.heads == index_heads(attention):
        return index_block(attention, device.units, formats.kv)
    attention = replace(attention, index_dim=0)
    block = kv_block(attention, inputs.plan, device.units, formats.kv, tail_bits)
    return block + block if kind.window == STATE else block


def _attention_counts(inputs: PriceInputs, device: Device, stage: Stage) -> Integers:
    """[kind x MEASURES, counts] of one unit of each measure, all layers of its kind together."""
    kinds = layer_kinds(inputs)
    counts = np.zeros((len(kinds), WIDTH, _widths(inputs)[1]), np.int64)
    for layer, count in _counted(stage).items():
        for kind in kinds_in(inputs, layer):
            own = counts[kinds.index(kind)]
            own += count * device.attention_counts(kind.heads)
            moved = _moved_block(inputs, device, layer, kind).card
            own[FAR_BLOCKS] += count * device.far_counts(moved)
    return counts.reshape(-1, counts.shape[-1])


def _widths(inputs: PriceInputs) -> tuple[tuple[str, ...], int]:
    """Names of the device's bounds, and the number of its counts."""
    module = module_of(inputs.hardware)
    return module.BOUNDS, len(module.COUNTS)


def by_bound(
    device: Device, bounds: Sequence[str], operations: Iterable[Operation], rows: Integers
) -> Integers:
    """[row count, bounds] sum of the operations; dispatches count as the last bound."""
    total = np.zeros((len(rows), len(bounds)), np.int64)
    row = np.arange(len(rows))
    for operation in operations:
        total[row, operation.bound] += operation.ps
        total[:, -1] += operation.dispatches * device.dispatch_ps * (rows > 0)
    return total


def counted(operations: Iterable[Operation], rows: Integers, counts: int) -> Integers:
    """[row count, counts] sum of the operations; 0 without rows."""
    total = np.zeros((len(rows), counts), np.int64)
    for operation in operations:
        total += operation.counts
    return np.where((rows > 0)[:, None], total, 0)
