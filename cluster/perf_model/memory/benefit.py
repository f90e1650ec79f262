"""Benefit of keeping each piece of weights in SRAM: its bytes, and the time saved."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.devices.protocol import Device, Operation
from cluster.perf_model.memory.placement import (
    ALL_IN_LPDDR,
    ALL_IN_SRAM,
    LayerPlaces,
    Pins,
    Traffic,
    class_of,
    experts_per_rank,
)
from cluster.perf_model.memory.shard import shard
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.mlp_layer import routing_of
from cluster.perf_model.prices.stage import head_operations, layer_operations
from corsair_common.units import Integers
from workloads.model import Layer, Tensor
from workloads.plan import stage_layers
from workloads.routing import cold_experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Weights of one stage that lie in one place."""

    tensor_class: str
    layer: int
    """Within the stage; -1 outside of layers."""
    size_bytes: int
    """On the fullest chiplet, where they lie in SRAM."""
    saved_ps: float
    """For each token of output, at the traffic at hand, prompts included."""

    @property
    def worth(self) -> float:
        """Time saved for each byte."""
        return self.saved_ps / max(1, self.size_bytes)


def pieces_of(
    inputs: PriceInputs, device: Device, traffic: Traffic, pins: Pins
) -> list[list[Piece]]:
    """[stage] all pieces that nobody has pinned; those worth most for a byte come first.

    Experts of a layer stand in the order of their popularity.
    """
    weigh = _Weigh(inputs, device, traffic)
    of_kind = {kind: [*_layer_pieces(weigh, kind, pins)] for kind in set(inputs.model.layers)}
    stages = stage_layers(inputs.plan, inputs.model)
    found = []
    for stage, layers in enumerate(stages):
        pieces = [
            replace(piece, layer=index)
            for index, layer in enumerate(layers)
            for piece in of_kind[inputs.model.layers[layer]]
        ]
        last = stage == len(stages) - 1
        pieces += _outer_pieces(weigh, pins, first=stage == 0, last=last)
        found.append(sorted(pieces, key=lambda piece: -piece.worth))
    return found


@dataclass(frozen=True, slots=True)
class _Weigh:
    """Weighs times at two sizes of step: one of decoding rows, one full of prompt tokens."""

    inputs: PriceInputs
    device: Device
    traffic: Traffic

    @property
    def sizes(self) -> Integers:
        stages = self.inputs.plan.pipeline_parallel_size
        rows = min(-(-self.traffic.batch // stages), self.inputs.max_rows)
        return np.array([rows, self.inputs.max_tokens])

    def per_token(self, time_ps: Integers) -> float:
        """Time per token of output of something that takes ``time_ps[size]`` a step."""
        decode, prefill = (float(part) for part in time_ps)
        rows, tokens = (float(size) for size in self.sizes)
        return decode / rows + self.traffic.prompt_share * prefill / tokens

    def stored(self, tensor: Tensor) -> int:
        """Bytes on the fullest chiplet."""
        chiplets = chiplets_of(self.inputs.hardware)
        weights = self.inputs.formats.weights
        return shard(replace(tensor, layer=0), self.inputs.plan, 0, chiplets, weights).chiplet

    def cost(self, operations: list[Operation]) -> Integers:
        """[size] time that weights in LPDDR can take: their stream, or the work that waits."""
        each = [part.far_ps if self._ahead else part.ps for part in operations]
        cost: Integers = np.sum(each, axis=0)
        return cost

    @property
    def _ahead(self) -> bool:
        return self.device.memory == "prefetched"


def _layer_pieces(weigh: _Weigh, layer: Layer, pins: Pins) -> Iterator[Piece]:
    """Attention, MLP and experts of one layer."""
    sizes: Counter[str] = Counter()
    for tensor in weigh.inputs.model.layer_tensors(weigh.inputs.model.layers.index(layer)):
        sizes[class_of(tensor)] += weigh.stored(tensor)

    def cost(places: LayerPlaces) -> Integers:
        return weigh.cost(layer_operations(weigh.inputs, weigh.device, layer, places, weigh.sizes))

    least = cost(ALL_IN_SRAM)
    for chosen in ("attention", "mlp"):
        if getattr(pins, chosen) is None and sizes[chosen]:
            saved = weigh.per_token(cost(replace(ALL_IN_SRAM, **{chosen: False})) - least)
            yield Piece(tensor_class=chosen, layer=0, size_bytes=sizes[chosen], saved_ps=saved)
    if pins.experts is None and sizes["experts"]:
        whole = cost(replace(ALL_IN_SRAM, hot_experts=ALL_IN_LPDDR.hot_experts)) - least
        yield from _expert_pieces(weigh, layer, sizes["experts"], whole)


def _expert_pieces(
    weigh: _Weigh, layer: Layer, size_bytes: int, whole_ps: Integers
) -> Iterator[Piece]:
    """One by one, the most popular first: each saves what fewer cold ones are awake."""
    count = experts_per_rank(weigh.inputs.plan, layer)
    routing = routing_of(weigh.inputs, weigh.device, layer.mlp)
    cold = cold_experts(routing, np.arange(count + 1), weigh.sizes)
    each_ps = whole_ps / np.maximum(1, cold[0])
    most = np.inf
    for hot in range(count):
        most = min(most, weigh.per_token((cold[hot] - cold[hot + 1]) * each_ps))
        yield Piece(
            tensor_class="experts", layer=0, size_bytes=size_bytes // count, saved_ps=float(most)
        )


def _outer_pieces(weigh: _Weigh, pins: Pins, *, first: bool, last: bool) -> Iterator[Piece]:
    """The table at the first stage and the head at the last; a tied one counts as the head."""
    inputs, own = weigh.inputs, weigh.device
    table, *others = inputs.model.outer_tensors()
    tied = inputs.model.tied_embeddings
    if tied and (pins.head or pins.embedding):
        return
    if last and pins.head is None:
        head = table if tied else others[-1]
        rows = weigh.sizes * (weigh.sizes <= inputs.max_rows)
        product = head_operations(inputs, own, rows)[1]
        saved = weigh.per_token(product.far_ps)
        yield Piece(tensor_class="head", layer=-1, size_bytes=weigh.stored(head), saved_ps=saved)
    if first and not (tied and last) and pins.embedding is None:
        hidden = inputs.model.hidden
        slower = own.lookup("embedding", weigh.sizes, hidden).ps
        saved_ps = slower - own.holding(True).lookup("embedding", weigh.sizes, hidden).ps
        yield Piece(
            tensor_class="embedding",
            layer=-1,
            size_bytes=weigh.stored(table),
            saved_ps=weigh.per_token(saved_ps),
        )
