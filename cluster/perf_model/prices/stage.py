"""One price class: a run of layers on one tensor group, with what its first or last stage adds."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH
from cluster.perf_model.chiplet import LPDDR, Floats, Product, lpddr_ps
from cluster.perf_model.collectives import Cost, all_gather
from cluster.perf_model.devices.dimc.attention import PRODUCTS, attention_records
from cluster.perf_model.energy.counters import COUNTS
from cluster.perf_model.memory.placement import ALL_IN_SRAM, LayerPlaces
from cluster.perf_model.memory.shard import KvBlock, kv_block
from cluster.perf_model.prices.attention_layer import attention_operations
from cluster.perf_model.prices.inputs import PriceInputs, kind_of, layer_kinds
from cluster.perf_model.prices.mlp_layer import mlp_operations, routed
from cluster.perf_model.prices.op_counts import attention_counts
from cluster.perf_model.prices.op_prices import (
    UNIT,
    Operation,
    OpPricer,
    StreamedWeights,
    by_bound,
    counted,
    elsewhere,
    matmul,
    vector,
)
from cluster.perf_model.prices.stage_collectives import (
    StageGroups,
    attention_exchanges,
    mlp_exchanges,
    total,
)
from cluster.perf_model.tables import (
    BOUNDS,
    DECODE_BLOCKS,
    FAR_BLOCKS,
    PREFILL_PASSES,
    Integers,
    Records,
)
from workloads.model import Layer
from workloads.plan import cut, stage_layers

Sizes: TypeAlias = tuple[Integers, Integers]
"""Counts of scheduled tokens and of emitting rows, of any order."""

CANDIDATES = 64
"""Logits that each chiplet hands to the sampler: its top k."""

CANDIDATE_BYTES = 6
"""A logit in FP16 and a 32-bit token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterPlaces:
    """Whether these lie in SRAM; True where the stage has none."""

    embedding: bool
    head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a stage holds; equal stages on equal links share a price."""

    layers: tuple[tuple[Layer, LayerPlaces, int], ...]
    """Kinds of layers, where their weights lie, and how many of each."""
    first: bool
    last: bool
    places: OuterPlaces


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePrice:
    """The rows of PriceTables that belong to one class, but for its send."""

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
    bench: OpPricer,
    groups: StageGroups,
    stage: Stage,
    sizes: Sizes | None = None,
) -> StagePrice:
    """Price every count of tokens and of emitting rows, or only those of ``sizes``."""
    tokens, rows = sizes or (np.arange(inputs.max_tokens + 1), np.arange(inputs.max_rows + 1))
    outer, outer_costs = _outer(inputs, bench, groups, stage, tokens)
    linear = by_bound(bench, outer, tokens)
    token_counts = counted(outer, tokens)
    floor_ps = np.zeros_like(tokens)
    costs = [(cost, 1) for cost in outer_costs]
    for layer, places, count in stage.layers:
        operations = layer_operations(inputs, bench, layer, places, tokens)
        linear += count * by_bound(bench, operations, tokens)
        token_counts += count * counted(operations, tokens)
        floor_ps += count * sum(operation.lpddr_ps for operation in operations)
    for layer, count in _counted(stage).items():  # wherever its weights lie
        exchanges = layer_exchanges(inputs, bench, groups, layer, tokens)
        costs += [(cost, count) for cost in exchanges]
    collective_ps, collective_bytes = total(costs, len(tokens), groups.stage.fabric.tiers)
    return StagePrice(
        linear_by_bound_ps=linear,
        collective_ps=collective_ps,
        collective_bytes=collective_bytes,
        floor_ps=floor_ps if bench.memory == "prefetched" else np.zeros_like(tokens),
        head_by_bound_ps=head_by_bound(inputs, bench, groups, stage, rows),
        attention=_attention(inputs, bench, stage),
        far_block_ps=_far_block_ps(inputs, bench, stage),
        token_counts=token_counts,
        head_counts=_head_counts(inputs, bench, stage, rows),
        attention_counts=_attention_counts(inputs, bench, stage),
    )


def _counted(stage: Stage) -> Counter[Layer]:
    counts: Counter[Layer] = Counter()
    for layer, _, count in stage.layers:
        counts[layer] += count
    return counts


def layer_operations(
    inputs: PriceInputs, bench: OpPricer, layer: Layer, places: LayerPlaces, tokens: Integers
) -> list[Operation]:
    """Every dispatch of one layer whose weights lie in these places, in order."""
    hidden = inputs.model.hidden
    heads = inputs.heads_of(layer)
    found = routed(inputs, bench, layer.mlp, places)
    own = bench.holding(places.attention)
    return [
        *attention_operations(own, layer.attention, heads, hidden, tokens),
        *mlp_operations(bench, layer.mlp, hidden, tokens, found, places),
    ]


def layer_exchanges(
    inputs: PriceInputs, bench: OpPricer, groups: StageGroups, layer: Layer, tokens: Integers
) -> list[Cost]:
    """Every collective of one layer."""
    heads = inputs.heads_of(layer)
    found = routed(inputs, bench, layer.mlp, ALL_IN_SRAM)
    table = None if found is None else found.table
    return [
        *attention_exchanges(bench, groups, layer.attention, heads, tokens),
        *mlp_exchanges(bench, groups, layer.mlp, inputs.model.hidden, tokens, table),
    ]


def _outer(
    inputs: PriceInputs, bench: OpPricer, groups: StageGroups, stage: Stage, tokens: Integers
) -> tuple[list[Operation], list[Cost]]:
    """Before the first layer: look the tokens up, or gather what the stage before has sent.

    The table is cut by vocabulary: each chiplet writes the rows that it holds (all, at worst), cast
    to FP16, and an all-reduce joins them.
    """
    hidden = inputs.model.hidden
    whole = bench.wire.bytes_of(tokens * hidden)
    if not stage.first:
        return [elsewhere("receive gather", tokens)], [all_gather(groups.stage, whole)]
    table = bench.holding(stage.places.embedding)
    outer = [embedding(inputs, table, tokens), elsewhere("embedding all-reduce", tokens)]
    return outer, [groups.reduce_all(whole)]


def embedding(inputs: PriceInputs, bench: OpPricer, tokens: Integers) -> Operation:
    """Look the tokens up, cast to FP16.

    Rows of a table in LPDDR are known only when the step starts, so nothing hides their reading:
    all lie on one chiplet, at worst.
    """
    hidden = inputs.model.hidden
    found = vector(bench, "embedding", (tokens * hidden, bench.simd("quantize")))
    if bench.memory == "sram":
        return found
    rows = np.asarray(tokens, np.float64) * bench.weights.matrix_bytes(hidden, 1)
    read_ps = lpddr_ps(bench.chiplet, rows)
    counts = found.counts.copy()
    counts[..., COUNTS.index("lpddr_bytes")] += np.rint(rows).astype(np.int64)
    return replace(
        found,
        counts=counts,
        ps=np.maximum(found.ps, read_ps),
        bound=np.where(read_ps > found.ps, LPDDR, found.bound),
    )


def head_by_bound(
    inputs: PriceInputs, bench: OpPricer, groups: StageGroups, stage: Stage, rows: Integers
) -> Integers:
    """[s, 6] final norm, LM head, per-chiplet top k, and the gather of the candidates.

    Where the head lies in LPDDR it streams when it runs: whichever is slower counts.
    """
    bench = bench.holding(stage.places.head)
    if not stage.last:
        return np.zeros((len(rows), len(BOUNDS)), np.int64)
    operations = head_operations(inputs, bench, rows)
    head = operations[1]
    gathered = all_gather(groups.stage, rows * (bench.ranks * CANDIDATES * CANDIDATE_BYTES))
    split = by_bound(bench, operations, rows)
    split[:, BOUNDS.index("network")] += gathered.ps
    if bench.memory == "prefetched":
        split[:, BOUNDS.index("lpddr")] += np.maximum(0, head.lpddr_ps - head.ps)
    return split


def _head_counts(inputs: PriceInputs, bench: OpPricer, stage: Stage, rows: Integers) -> Integers:
    """[s, COUNTS]"""
    own = bench.holding(stage.places.head)
    return counted(head_operations(inputs, own, rows) if stage.last else [], rows)


def head_operations(inputs: PriceInputs, bench: OpPricer, rows: Integers) -> list[Operation]:
    """Every dispatch behind the last layer, in order."""
    hidden, vocab = inputs.model.hidden, bench.of_group(inputs.model.vocab)
    card = len(cut(inputs.model.vocab, bench.cards)[0])
    depth = math.ceil(math.log2(CANDIDATES))
    return [
        vector(
            bench, "final norm+quant", (rows * hidden, bench.simd("norm", "quantize")), normed=rows
        ),
        matmul(
            bench,
            "LM head",
            Product(m=rows, k=hidden, n=vocab),
            StreamedWeights(k=hidden, n=card, units=-(-card // UNIT)),
        ),
        vector(bench, "top-k", (rows * vocab, bench.simd("compare", times=depth))),
        elsewhere("sample", rows),
    ]


def _attention(inputs: PriceInputs, bench: OpPricer, stage: Stage) -> Records:
    """[op] products of attention, kind by kind; absent where the stage has no such layer."""
    kinds, each = layer_kinds(inputs), len(PRODUCTS)
    records = np.zeros(len(kinds) * each, ATTENTION)
    for layer, count in _counted(stage).items():
        kind = kinds.index(kind_of(inputs, layer))
        own = slice(kind * each, (kind + 1) * each)
        records[own] = attention_records(
            bench.chiplet,
            bench.kv_mode,
            inputs.heads_of(layer),
            chiplets=bench.chiplets,
            layers=count + int(records[own.start]["layers"]),
            softmax_clocks=bench.simd("softmax").clocks,
            kind=kind,
        )
    return records


def _far_block_ps(inputs: PriceInputs, bench: OpPricer, stage: Stage) -> Floats:
    """[kind] LPDDR's time for one KV block of all layers of the kind; 0 where KV lies in SRAM."""
    kinds = layer_kinds(inputs)
    found = np.zeros(len(kinds))
    if inputs.placed.kv != "sram":
        for layer, count in _counted(stage).items():
            stored = _kv_block(inputs, bench, layer).chiplet * count
            ps = float(stored) * 1e12 / bench.chiplet.lpddr_bytes_per_s
            found[kinds.index(kind_of(inputs, layer))] += ps
    return found


def _kv_block(inputs: PriceInputs, bench: OpPricer, layer: Layer) -> KvBlock:
    """64 tokens of one sequence in one layer, on the fullest chiplet and on the card."""
    return kv_block(layer.attention, inputs.plan, bench.chiplets, inputs.formats.kv)


def _attention_counts(inputs: PriceInputs, bench: OpPricer, stage: Stage) -> Integers:
    """[kind x MEASURES, COUNTS] of one unit of each measure, all layers of its kind together."""
    kinds = layer_kinds(inputs)
    counts = np.zeros((len(kinds) * WIDTH, len(COUNTS)), np.int64)
    moved = COUNTS.index("lpddr_bytes")
    for layer, count in _counted(stage).items():
        first = kinds.index(kind_of(inputs, layer)) * WIDTH
        decode, prefill = layer_attention_counts(inputs, bench, layer)
        counts[first + DECODE_BLOCKS] += count * decode
        counts[first + PREFILL_PASSES] += count * prefill
        counts[first + FAR_BLOCKS, moved] += count * _kv_block(inputs, bench, layer).card
    return counts


def layer_attention_counts(inputs: PriceInputs, bench: OpPricer, layer: Layer) -> Integers:
    """[2, COUNTS] of one block of a decode row, and of one block and tile pass of a chunk."""
    heads = inputs.heads_of(layer)
    softmax = bench.simd("softmax")
    return attention_counts(bench.figures, bench.chiplet, bench.kv_mode, heads, softmax)
