"""Tensor shards: of one tensor on one card, or of a whole replica as columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corsair_common.units import Integers
from workloads.model import Model, Tensor
from workloads.plan import Plan, check_plan, cut, stage_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one card holds of a tensor: which matrices, and which rows and columns of each."""

    count: range
    k: range
    n: range

    @property
    def elements(self) -> int:
        return len(self.count) * len(self.k) * len(self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """One row for each tensor and each rank of a replica that holds some of it; ends excluded."""

    tensors: tuple[Tensor, ...]
    """What the column ``tensor`` counts."""
    rank: Integers
    """``stage * tensor_parallel_size + position``"""
    tensor: Integers
    count_start: Integers
    count_stop: Integers
    k_start: Integers
    k_stop: Integers
    n_start: Integers
    n_stop: Integers

    @property
    def elements(self) -> Integers:
        """Of each row."""
        counts, rows = self.count_stop - self.count_start, self.k_stop - self.k_start
        elements: Integers = counts * rows * (self.n_stop - self.n_start)
        return elements


def tensor_slice(tensor: Tensor, plan: Plan, position: int) -> Slice:
    """Return what the card at ``position`` of a tensor group holds of ``tensor``.

    Experts go to subgroups as wholes and are then sliced over the subgroup's cards; a row-split
    tensor's bias and whatever is ``replicated`` is held by every card.
    """
    parts = plan.tensor_parallel_size
    count, k, n = range(tensor.count), range(tensor.k), range(tensor.n)
    if tensor.role == "expert":
        parts = plan.cards_per_expert
        count = cut(tensor.count, plan.expert_parallel_size, 1)[position // parts]
        position %= parts
    if tensor.split in ("column", "vocabulary"):
        n = cut(tensor.n, parts, tensor.unit)[position]
    elif tensor.split == "kv_head":
        n = _kv_heads(tensor, parts, position)
    elif tensor.split == "row":
        k = cut(tensor.k, parts, tensor.unit)[position]
    elif tensor.split == "head":
        count = cut(tensor.count, parts, 1)[position]
    return Slice(count=count, k=k, n=n)


def stage_tensors(model: Model, plan: Plan) -> tuple[tuple[Tensor, ...], ...]:
    """Tensors of each stage: its layers', the embedding at the first, norm and head at the last."""
    found = []
    outside = outer_tensors(model, plan)
    for stage, (outer, layers) in enumerate(zip(outside, stage_layers(plan, model), strict=True)):
        before = 1 if stage == 0 else 0  # the embedding
        inner = [tensor for layer in layers for tensor in model.layer_tensors(layer)]
        found.append((*outer[:before], *inner, *outer[before:]))
    return tuple(found)


def outer_tensors(model: Model, plan: Plan) -> list[tuple[Tensor, ...]]:
    """Those of each stage that belong to no layer.

    A tied head is the embedding: where the last stage is not the first, both hold the table.
    """
    embedding, *tail = model.outer_tensors()
    stages: list[tuple[Tensor, ...]] = [()] * plan.pipeline_parallel_size
    if model.tied_embeddings and len(stages) > 1:
        tail.append(embedding)
    stages[-1] = tuple(tail)
    stages[0] = (embedding, *stages[0])
    return stages


def slices(model: Model, plan: Plan) -> Slices:
    """Return what every rank of one replica holds; other replicas hold the same.

    Raises PlanError where the plan cannot cut the model.
    """
    check_plan(plan, model)
    tensors = model.tensors()
    number = {tensor: index for index, tensor in enumerate(tensors)}
    rows = np.array(list(_rows(model, plan, number)), dtype=np.int64)
    names = ("rank", "tensor", "count_start", "count_stop", "k_start", "k_stop", "n_start")
    columns = dict(zip((*names, "n_stop"), rows.T, strict=True))
    return Slices(tensors=tensors, **columns)


def _rows(model: Model, plan: Plan, number: dict[Tensor, int]) -> Iterator[tuple[int, ...]]:
    group = plan.tensor_parallel_size
    for stage, tensors in enumerate(stage_tensors(model, plan)):
        for tensor in tensors:
            for position in range(group):
                held = tensor_slice(tensor, plan, position)
                ranges = (held.count, held.k, held.n)
                edges = [edge for part in ranges for edge in (part.start, part.stop)]
                if held.elements:
                    yield (stage * group + position, number[tensor], *edges)


def _kv_heads(tensor: Tensor, parts: int, position: int) -> range:
    """Return the columns of a card's KV heads; neighbours share one where there are too few."""
    heads = tensor.n // tensor.unit
    if heads >= parts:
        return cut(tensor.n, parts, tensor.unit)[position]
    start = position * heads // parts * tensor.unit
    return range(start, start + tensor.unit)
