"""Tensor shards: of one tensor on one rank, or of a whole replica as columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corsair_common.units import Integers
from workloads.model import Model, Tensor
from workloads.plan import Plan, check_plan, cut, stage_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One rank's shard of a tensor: its matrices, and the rows and columns of each."""

    count: range
    k: range
    n: range

    @property
    def elements(self) -> int:
        return len(self.count) * len(self.k) * len(self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """One row per tensor and rank with a shard of it, over a replica; ends excluded."""

    tensors: tuple[Tensor, ...]
    """Names of the tensors that the column ``tensor`` indexes."""
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
    """Return the shard of ``tensor`` at ``position`` of a tensor group.

    Whole experts are assigned to subgroups and then sliced over the subgroup's ranks; every rank
    holds a row-split tensor's bias and ``replicated`` tensors.
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
    """Tensors of each stage outside the layers.

    A tied head is the embedding: if the last stage is not the first, both hold the table.
    """
    embedding, *tail = model.outer_tensors()
    stages: list[tuple[Tensor, ...]] = [()] * plan.pipeline_parallel_size
    if model.tied_embeddings and not model.pooling and len(stages) > 1:
        tail.append(embedding)
    stages[-1] = tuple(tail)
    stages[0] = (embedding, *stages[0])
    return stages


def slices(model: Model, plan: Plan) -> Slices:
    """Return the shards of every rank of one replica; other replicas are equal.

    Raises PlanError if the plan does not divide the model.
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
