"""Benefit of keeping each piece of weights in SRAM: its bytes, and the time saved."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.memory.placement import (
    ALL_IN_LPDDR,
    ALL_IN_SRAM,
    LayerPlaces,
    Pins,
    Traffic,
    class_of,
    experts_per_rank,
)
from cluster.perf_model.memory.shard import Shard, shard
from cluster.perf_model.memory.stage import chiplets_of, matrices
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.mlp_layer import routing_of
from cluster.perf_model.prices.stage_parts import head_operations, layer_operations
from corsair_common.units import Integers
from workloads.model import Layer, Tensor
from workloads.model.tensors import OUTSIDE
from workloads.plan import stage_layers
from workloads.routing import cold_experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Weights of one stage with one placement."""

    tensor_class: str
    layer: int
    """Within the stage; -1 outside of layers."""
    size_bytes: int
    """On a chiplet, if they are in SRAM; the mean where units do not divide."""
    saved_ps: float
    """Per output token at the expected traffic, prompts included."""

    @property
    def saved_per_byte(self) -> float:
        """Time saved per byte."""
        return self.saved_ps / max(1, self.size_bytes)


def pieces_of(
    inputs: PriceInputs, device: Device, traffic: Traffic, pins: Pins
) -> list[list[Piece]]:
    """[stage] unpinned pieces, highest benefit per byte first.

    Experts of a layer are in the order of their popularity.
    """
    benefit = _Benefit(inputs, device, traffic)
    of_kind = {kind: [*_layer_pieces(benefit, kind, pins)] for kind in set(inputs.model.layers)}
    stages = stage_layers(inputs.plan, inputs.model)
    found = []
    for stage, layers in enumerate(stages):
        pieces = [
            replace(piece, layer=index)
            for index, layer in enumerate(layers)
            for piece in of_kind[inputs.model.layers[layer]]
        ]
        last = stage == len(stages) - 1
        pieces += _outer_pieces(benefit, pins, first=stage == 0, last=last)
        found.append(sorted(pieces, key=lambda piece: -piece.saved_per_byte))
    return found


def uneven_bytes(inputs: PriceInputs, stage: int) -> int:
    """What the fullest chiplet of a stage may have more than its pieces' sizes, which are means."""
    layers = {
        inputs.model.layers[layer] for layer in stage_layers(inputs.plan, inputs.model)[stage]
    }
    tensors = {
        replace(tensor, layer=0)
        for layer in layers
        for tensor in inputs.model.layer_tensors(inputs.model.layers.index(layer))
    }
    return sum(_shard(inputs, tensor).uneven for tensor in tensors if class_of(tensor) != "vectors")


def _shard(inputs: PriceInputs, tensor: Tensor, matrices: int = 1) -> Shard:
    chiplets, weights = chiplets_of(inputs.hardware), inputs.formats.weights
    return shard(replace(tensor, layer=0), inputs.plan, 0, chiplets, weights, matrices)


@dataclass(frozen=True, slots=True)
class _Benefit:
    """Time saved at two sizes of step: one of decoding rows, one full of prompt tokens."""

    inputs: PriceInputs
    device: Device
    traffic: Traffic

    @property
    def sizes(self) -> Integers:
        stages = self.inputs.plan.pipeline_parallel_size
        rows = min(-(-self.traffic.batch // stages), self.inputs.max_rows)
        return np.array([rows, self.inputs.max_tokens])

    def per_token(self, time_ps: Integers) -> float:
        """Time per output token of ``time_ps[size]`` per step."""
        decode, prefill = (float(part) for part in time_ps)
        rows, tokens = (float(size) for size in self.sizes)
        return decode / rows + self.traffic.prompt_share * prefill / tokens

    def stored(self, tensor: Tensor) -> int:
        """Bytes on a chiplet: of what layers and experts take in turn, the mean over them."""
        plan, turns = self.inputs.plan, 1
        if tensor.layer != OUTSIDE:
            turns = plan.tensor_parallel_size * chiplets_of(self.inputs.hardware)
        each = matrices(tensor, plan) if tensor.role == "expert" else 1
        return each * -(-_shard(self.inputs, tensor, turns).chiplet // turns)

    def cost(self, operations: list[Operation]) -> Integers:
        """[size] time of weights in LPDDR: their stream, or the work that waits for it."""
        each = [part.far_ps if self._ahead else part.ps for part in operations]
        cost: Integers = np.sum(each, axis=0)
        return cost

    @property
    def _ahead(self) -> bool:
        return self.device.memory == "prefetched"


def _layer_pieces(benefit: _Benefit, layer: Layer, pins: Pins) -> Iterator[Piece]:
    """Attention, MLP and experts of one layer."""
    sizes: Counter[str] = Counter()
    for tensor in benefit.inputs.model.layer_tensors(benefit.inputs.model.layers.index(layer)):
        sizes[class_of(tensor)] += benefit.stored(tensor)

    def cost(places: LayerPlaces) -> Integers:
        return benefit.cost(
            layer_operations(benefit.inputs, benefit.device, layer, places, benefit.sizes)
        )

    least = cost(ALL_IN_SRAM)
    for chosen in ("attention", "mlp"):
        if getattr(pins, chosen) is None and sizes[chosen]:
            saved = benefit.per_token(cost(replace(ALL_IN_SRAM, **{chosen: False})) - least)
            yield Piece(tensor_class=chosen, layer=0, size_bytes=sizes[chosen], saved_ps=saved)
    if pins.experts is None and sizes["experts"]:
        whole = cost(replace(ALL_IN_SRAM, hot_experts=ALL_IN_LPDDR.hot_experts)) - least
        yield from _expert_pieces(benefit, layer, sizes["experts"], whole)


def _expert_pieces(
    benefit: _Benefit, layer: Layer, size_bytes: int, whole_ps: Integers
) -> Iterator[Piece]:
    """Experts one by one, the most popular first: each saves the mean of active cold ones less."""
    count = experts_per_rank(benefit.inputs.plan, layer)
    routing = routing_of(benefit.inputs, benefit.device, layer.mlp)
    cold = cold_experts(routing, np.arange(count + 1), benefit.sizes)
    each_ps = whole_ps / np.maximum(1, cold[0])
    most = np.inf
    for hot in range(count):
        most = min(most, benefit.per_token((cold[hot] - cold[hot + 1]) * each_ps))
        yield Piece(
            tensor_class="experts", layer=0, size_bytes=size_bytes // count, saved_ps=float(most)
        )


def _outer_pieces(benefit: _Benefit, pins: Pins, *, first: bool, last: bool) -> Iterator[Piece]:
    """The table at the first stage and the head at the last; a tied one counts as the head."""
    inputs, own = benefit.inputs, benefit.device
    table, *others = inputs.model.outer_tensors()
    tied = inputs.model.tied_embeddings and not inputs.model.pooling
    if tied and (pins.head or pins.embedding):
        return
    if last and pins.head is None and not inputs.model.pooling:
        head = table if tied else others[-1]
        rows = benefit.sizes * (benefit.sizes <= inputs.max_rows)
        product = head_operations(inputs, own, rows)[1]
        saved = benefit.per_token(product.far_ps)
        yield Piece(tensor_class="head", layer=-1, size_bytes=benefit.stored(head), saved_ps=saved)
    if first and not (tied and last) and pins.embedding is None:
        hidden = inputs.model.hidden
        slower = own.lookup("embedding", benefit.sizes, hidden).ps
        saved_ps = slower - own.holding(True).lookup("embedding", benefit.sizes, hidden).ps
        yield Piece(
            tensor_class="embedding",
            layer=-1,
            size_bytes=benefit.stored(table),
            saved_ps=benefit.per_token(saved_ps),
        )
