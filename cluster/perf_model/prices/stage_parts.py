"""Parts of stages: a layer and its collectives, and the work before the first and after the last.

Each is priced once for all stages, and for all plans of a study, that have it.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from cluster.perf_model.collectives import Cost, all_gather
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import UNIT, Operation, Product, StoredWeights
from cluster.perf_model.memory.placement import ALL_IN_SRAM, LayerPlaces
from cluster.perf_model.prices.attention_layer import attention_operations
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.mlp_layer import mlp_operations, routed
from cluster.perf_model.prices.outside_layers import before_layers, head_gather
from cluster.perf_model.prices.overlap import overlapped, pairs_of
from cluster.perf_model.prices.stage_collectives import (
    StageGroups,
    attention_exchanges,
    mlp_exchanges,
    sharded_exchanges,
    total,
)
from corsair_common.lru import LruCache, Same
from corsair_common.units import Integers
from workloads.model import Layer
from workloads.plan import cut

Part: TypeAlias = tuple[Integers, ...]
"""Arrays of a part of a stage."""

CANDIDATES = 64
"""Logits from each chiplet to the sampler: its top k."""

CANDIDATE_BYTES = 6
"""A logit in FP16 and a 32-bit token."""


class StageParts:
    """The parts of a stage, priced once for all stages and plans that have them; read-only."""

    def __init__(
        self, inputs: PriceInputs, device: Device, groups: StageGroups, tokens: Integers
    ) -> None:
        self._of = inputs, device, groups
        self._tokens = tokens
        self._bounds, self._counts = widths(inputs)
        routing = inputs.max_tokens, inputs.expert_skew, inputs.seed
        work = inputs.model.hidden, inputs.plan.tensor_parallel_size, *routing
        self._work = (Same(inputs.hardware), *work, tokens.tobytes())
        ranks = device.cards, device.expert_ranks
        self._wires = (*groups.key, *ranks, device.wire, device.activations, *self._work)

    def layer(self, layer: Layer, places: LayerPlaces, *, sharded: bool) -> Part:
        """linear[t, bound], counts[t, COUNTS] and far_ps[t] of one layer; ``sharded``: its norms
        by token."""
        inputs, device, groups = self._of
        waits = device.layer_end_above is not None  # for its collectives, too

        def made() -> Part:
            exchanges = (
                layer_exchanges(inputs, device, groups, layer, self._tokens) if waits else ()
            )
            operations = layer_operations(
                inputs, device, layer, places, self._tokens, exchanges, sharded=sharded
            )
            far_ps = sum((each.far_ps for each in operations), np.zeros_like(self._tokens))
            return (*self._summed(operations, self._tokens), far_ps)

        wires = self._wires if waits else self._work
        return _part(("layer", Same(device), layer, places, sharded, *wires), made)

    def exchanges(self, layer: Layer, *, sharded: bool) -> Part:
        """ps[t, tier] and bytes[t, tier] of the collectives of one layer."""
        inputs, device, groups = self._of

        def made() -> Part:
            exchanges = layer_exchanges(
                inputs, device, groups, layer, self._tokens, sharded=sharded
            )
            return self._total(exchanges)

        return _part(("exchanges", layer, sharded, *self._wires), made)

    def overlap(self, layer: Layer, places: LayerPlaces, *, sharded: bool) -> Part:
        """linear[t, bound], counts[t, COUNTS], ps[t, tier] and bytes[t, tier] that collectives
        beside products add to one layer."""
        inputs, device, groups = self._of

        def operations(tokens: Integers) -> list[Operation]:
            return layer_operations(inputs, device, layer, places, tokens, sharded=sharded)

        def made() -> Part:
            pairs = list(pairs_of(device, groups, layer, inputs.model.hidden, sharded=sharded))
            found = overlapped(device, pairs, operations, self._tokens, self._bounds)
            nothing = (*self._summed([], self._tokens), *self._total([]))
            each = [(one.linear, one.counts, one.ps, one.tier_bytes) for one in found]
            return tuple(np.sum(parts, axis=0) for parts in zip(nothing, *each, strict=True))

        return _part(("overlap", Same(device), layer, places, sharded, *self._wires), made)

    def outer(self, first: bool, near: bool, *, last: bool, sharded: bool) -> Part:
        """linear[t, bound], counts[t, COUNTS], ps[t, tier] and bytes[t, tier] before the layers of
        the ``first`` stage, whose table is in the ``near`` memory, or of another, and between those
        of the ``last`` and its head."""
        gathers = last and sharded

        def made() -> Part:
            operations, costs = before_layers(
                *self._of, (first, near), self._tokens, sharded=sharded
            )
            if gathers:
                gather, cost = head_gather(*self._of, self._tokens)
                operations, costs = [*operations, gather], [*costs, cost]
            return (*self._summed(operations, self._tokens), *self._total(costs))

        own = first, near, sharded, gathers
        return _part(("outer", Same(self._of[1]), *own, *self._wires), made)

    def head(self, last: bool, near: bool, rows: Integers) -> Part:
        """[s, bound], [s, COUNTS] and the collectives' [s, tier] after the layers of the ``last``
        stage, whose head is in the ``near`` memory; nothing of another."""
        inputs, device, groups = self._of

        def made() -> Part:
            if last:
                return _head(inputs, device.holding(near), groups, rows)
            return (*self._summed([], rows), self._no_ps(rows))

        own = last, near, inputs.model.vocab, inputs.model.pooling, rows.tobytes()
        return _part(("head", Same(device), *own, *self._wires), made)

    def _summed(self, operations: Sequence[Operation], rows: Integers) -> Part:
        split = by_bound(self._of[1], self._bounds, operations, rows)
        return split, counted(operations, rows, self._counts)

    def _no_ps(self, rows: Integers) -> Integers:
        return np.zeros((len(rows), self._of[2].stage.fabric.tiers), np.int64)

    def _total(self, costs: Sequence[Cost]) -> Part:
        tiers = self._of[2].stage.fabric.tiers
        return total([(cost, 1) for cost in costs], len(self._tokens), tiers)


def _part(key: Hashable, make: Callable[[], Part]) -> Part:
    """A part that other stages have as well; its arrays cannot be written."""
    found = _PARTS.find(key)
    if found is None:
        found = _PARTS.keep(key, make())
        for array in found:
            array.flags.writeable = False
    return found


_PARTS: LruCache[Part] = LruCache(1024, 64 << 20, lambda part: sum(each.nbytes for each in part))


def layer_operations(
    inputs: PriceInputs,
    device: Device,
    layer: Layer,
    places: LayerPlaces,
    tokens: Integers,
    exchanges: Sequence[Cost] = (),
    *,
    sharded: bool = False,
) -> list[Operation]:
    """Every dispatch of one layer with this placement of weights, in order.

    ``exchanges`` are its collectives, of which some software waits for the whole.
    """
    hidden = inputs.model.hidden
    found = routed(inputs, device, layer.mlp, places)
    attention: list[Operation] = []
    if layer.attention.kind != "none":
        own, heads = device.holding(places.attention), inputs.heads_of(layer)
        attention = attention_operations(
            own, layer.attention, heads, hidden, tokens, sharded=sharded
        )
    rest = mlp_operations(device, layer, hidden, tokens, found, places, sharded=sharded)
    operations = [*attention, *rest]
    if layer.mlp.kind == "none":  # the other half of a layer ends it
        return operations
    durations = [*(each.ps for each in operations), *(each.ps for each in exchanges)]
    works_ps: Integers = np.sum(durations, axis=0)
    return [*operations, *device.layer_end(tokens, works_ps)]


def layer_exchanges(
    inputs: PriceInputs,
    device: Device,
    groups: StageGroups,
    layer: Layer,
    tokens: Integers,
    *,
    sharded: bool = False,
) -> list[Cost]:
    """Every collective of one layer."""
    found = routed(inputs, device, layer.mlp, ALL_IN_SRAM)
    table = None if found is None else found.table
    inside: list[Cost] = []
    if layer.attention.kind != "none":
        heads = inputs.heads_of(layer)
        inside = attention_exchanges(device, groups, layer.attention, heads, tokens)
    between = sharded_exchanges if sharded else mlp_exchanges
    return [*inside, *between(device, groups, layer, inputs.model.hidden, tokens, table)]


def _head(inputs: PriceInputs, device: Device, groups: StageGroups, rows: Integers) -> Part:
    """[s, bound] and [s, COUNTS] of final norm, LM head, per-chiplet top k, and the gather of the
    candidates, whose picoseconds are also [s, tier].

    A head in LPDDR streams while it runs: the slower of both counts.
    """
    bounds, counts = widths(inputs)
    operations = head_operations(inputs, device, rows)
    split = by_bound(device, bounds, operations, rows)
    if inputs.model.pooling:
        nothing = np.zeros((len(rows), groups.stage.fabric.tiers), np.int64)
        return split, counted(operations, rows, counts), nothing
    gathered = all_gather(groups.stage, rows * (device.ranks * CANDIDATES * CANDIDATE_BYTES))
    split[:, bounds.index("network")] += gathered.ps
    if device.memory == "prefetched":
        far, head = bounds.index(module_of(inputs.hardware).FAR_BOUND or ""), operations[1]
        split[:, far] += np.maximum(0, head.far_ps - head.ps)
    return split, counted(operations, rows, counts), gathered.tier_ps


def head_operations(inputs: PriceInputs, device: Device, rows: Integers) -> list[Operation]:
    """Every dispatch after the last layer, in order; an embedding model ends with its norm."""
    norm = device.vector(
        "final norm+quant", (rows * inputs.model.hidden, ("norm", "quantize")), normed=rows
    )
    if inputs.model.pooling:
        return [norm]
    hidden, vocab = inputs.model.hidden, device.of_group(inputs.model.vocab)
    card = len(cut(inputs.model.vocab, device.cards)[0])
    depth = math.ceil(math.log2(CANDIDATES))
    return [
        norm,
        device.matmul(
            "LM head",
            Product(m=rows, k=hidden, n=vocab),
            StoredWeights(k=hidden, n=card, shares=-(-card // UNIT)),
        ),
        device.vector("top-k", (rows * vocab, ("compare",) * depth)),
        device.elsewhere("sample", rows),
    ]


def widths(inputs: PriceInputs) -> tuple[tuple[str, ...], int]:
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
