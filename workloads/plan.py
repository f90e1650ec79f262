"""Parallelism: ranks per replica, and the shard of each tensor on each rank.

A replica is a pipeline of stages; a stage is one tensor group of cards (each of eight chiplets).
Ranks of a replica run stage by stage: ``rank = stage * tensor_parallel_size + position``. Expert
parallelism lives inside the group: each of its ``expert_parallel_size`` subgroups of neighbouring
cards holds whole experts, sliced over the subgroup. Replicas are equal copies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from workloads.model import Attention, Model
from workloads.model.tensors import BLOCK


class PlanError(ValueError):
    """A plan that does not divide its model; names every violation."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of the parallel groups."""

    tensor_parallel_size: int = 1
    """Ranks of a tensor group; they share every layer of a stage."""
    pipeline_parallel_size: int = 1
    """Stages, each with a run of layers."""
    expert_parallel_size: int = 1
    """Subgroups of a tensor group that each hold whole experts."""
    replicas: int = 1
    """Replicas (data parallelism)."""

    def __post_init__(self) -> None:
        breaches = [
            f"{name} must be a whole number of at least 1, got {value!r}"
            for name in self.__slots__
            if not (type(value := getattr(self, name)) is int and value >= 1)
        ]
        if not breaches and self.tensor_parallel_size % self.expert_parallel_size:
            breaches.append(
                f"expert_parallel_size {self.expert_parallel_size} does not divide "
                f"tensor_parallel_size {self.tensor_parallel_size}, of which it is a part"
            )
        if breaches:
            raise PlanError("; ".join(breaches))

    @property
    def cards_per_replica(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def cards(self) -> int:
        return self.cards_per_replica * self.replicas

    @property
    def cards_per_expert(self) -> int:
        """Ranks of a subgroup, over which each of its experts is sliced."""
        return self.tensor_parallel_size // self.expert_parallel_size


def check_plan(plan: Plan, model: Model) -> None:
    """Refuse a plan that does not divide ``model``, and name every violation.

    Widths need not divide: they are cut in blocks, and a rank beyond the blocks is idle.
    """
    breaches = list(dict.fromkeys(_breaches(plan, model)))
    if breaches:
        raise PlanError(f"{model.name} cannot be divided by this plan: " + "; ".join(breaches))


def stage_layers(plan: Plan, model: Model) -> tuple[range, ...]:
    """Layers of each stage: even, the remainder from the last but one stage backward.

    The last stage also carries the head and the first the embedding, so they take an extra layer
    last (as in vLLM).
    """
    stages, layers = plan.pipeline_parallel_size, len(model.layers)
    if stages > layers:
        raise PlanError(_too_many_stages(plan, model))
    return _divided(layers, stages)


@lru_cache(maxsize=256)
def _divided(layers: int, stages: int) -> tuple[range, ...]:
    even, rest = divmod(layers, stages)
    counts = [even + (stages - 1 - rest <= stage < stages - 1) for stage in range(stages)]
    starts = [sum(counts[:stage]) for stage in range(stages)]
    return tuple(range(start, start + count) for start, count in zip(starts, counts, strict=True))


def cut(length: int, parts: int, unit: int = BLOCK) -> tuple[range, ...]:
    """Divide ``length`` over ``parts`` in whole units; the first parts take the remainder.

    Only the last unit may be short. Parts beyond the units are empty.

    >>> cut(2880, 2)
    (range(0, 1472), range(1472, 2880))
    """
    units = -(-length // unit)
    even, rest = divmod(units, parts)
    edges = [min(length, unit * (part * even + min(part, rest))) for part in range(parts + 1)]
    return tuple(range(start, stop) for start, stop in pairwise(edges))


def kv_heads_of(plan: Plan, attention: Attention, position: int) -> range:
    """KV heads of the rank at ``position`` of a tensor group.

    Fewer heads than ranks are replicated: neighbours hold the same head. Every rank holds MLA's
    latent, one for all heads.
    """
    if attention.kind == "none":
        return range(0)
    cards = plan.tensor_parallel_size
    heads = 1 if attention.kind == "mla" else attention.kv_heads
    if heads >= cards:
        return cut(heads, cards, 1)[position]
    head = position * heads // cards
    return range(head, head + 1)


def _breaches(plan: Plan, model: Model) -> Iterator[str]:
    if plan.pipeline_parallel_size > len(model.layers):
        yield _too_many_stages(plan, model)
    for layer in dict.fromkeys(model.layers):
        yield from _attention_breaches(plan, layer.attention)
        experts = layer.mlp.experts
        if experts % plan.expert_parallel_size:
            yield (
                f"{experts} experts do not divide over "
                f"expert_parallel_size {plan.expert_parallel_size}"
            )
    if plan.expert_parallel_size > 1 and not any(layer.mlp.experts for layer in model.layers):
        yield f"expert_parallel_size {plan.expert_parallel_size}, but the model has no experts"


def _attention_breaches(plan: Plan, attention: Attention) -> Iterator[str]:
    cards = plan.tensor_parallel_size
    if attention.kind == "none":
        return
    if attention.heads % cards:
        yield f"{attention.heads} attention heads do not divide over tensor_parallel_size {cards}"
    if attention.kind == "mla":
        return
    heads = attention.kv_heads
    if attention.kind in ("linear", "mamba") and heads % cards:
        yield f"{heads} key heads of {attention.irregular} do not divide over {cards} cards"
    elif heads % cards and cards % heads:
        yield f"{heads} KV heads and tensor_parallel_size {cards} do not divide one another"


def _too_many_stages(plan: Plan, model: Model) -> str:
    return (
        f"pipeline_parallel_size {plan.pipeline_parallel_size} is more than "
        f"the {len(model.layers)} layers"
    )
