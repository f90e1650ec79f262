"""Does it fit, for every batch at once: the answer of ``machine.memory.fit`` from whole numbers.

What a layer takes depends on the tensor group, the experts' groups and the formats only, so it is
worked out once for these and summed up over the layers; the stages of any pipeline are differences.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np

from cluster.machine.attention import BLOCK_TOKENS
from cluster.machine.memory.shard import KvBlock, kv_block, shard
from cluster.machine.memory.stage import chiplets_of
from cluster.machine.tables import Integers
from cluster.machine.views import Figures
from workloads.formats import Format
from workloads.model import Model
from workloads.plan import Plan, stage_layers

FREE, TAILS, TAIL_PARTS, BLOCK, BLOCK_PARTS, LACKS = range(6)
"""Columns of a stage's row: SRAM bytes for tails and blocks; what a sequence's tail takes and what
a block takes, as fractions; LPDDR bytes that it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSums:
    """Bytes on the fullest chiplet of all layers before each one, for one group and one format."""

    weights: tuple[int, ...]
    """[layers + 1]"""
    kv: tuple[KvBlock, ...]
    """[layers + 1]"""
    embedding: int
    tail: int
    """What stands behind the last layer."""


class MemoryTables:
    """Layer sums of one model on one kind of card, each made when it is first asked for."""

    def __init__(self, model: Model, hardware: Figures, block_size: int) -> None:
        self._model, self._block_size = model, block_size
        self._chiplets = chiplets_of(hardware)
        usable = hardware["chiplet.sram_bytes"] * hardware["chiplet.usable_sram_fraction"]
        self._sram = int(usable)
        self._prefetch = int(hardware["chiplet.prefetch_bytes"])
        self._lpddr = int(hardware["chiplet.lpddr_bytes"])
        self._sums: dict[tuple[object, ...], LayerSums] = {}

    def stage_rows(self, plan: Plan, mode: str, weights: Format, kv: Format) -> Integers:
        """[distinct stages, 6] as named above."""
        sums = self._of(plan, weights, kv)
        stages = stage_layers(plan, self._model)
        rows = []
        for number, layers in enumerate(stages):
            first, last = number == 0, number == len(stages) - 1
            held = sums.weights[layers.stop] - sums.weights[layers.start]
            held += (sums.embedding if first else 0) + (sums.tail if last else 0)
            if last and not first and self._model.tied_embeddings:
                held += sums.embedding
            tail = sums.kv[layers.stop].tail_chiplet - sums.kv[layers.start].tail_chiplet
            block = sums.kv[layers.stop].chiplet - sums.kv[layers.start].chiplet
            block *= Fraction(self._block_size, BLOCK_TOKENS)
            rows.append(
                (
                    self._sram - (self._prefetch if mode == "capacity" else held),
                    tail.numerator,
                    tail.denominator,
                    block.numerator,
                    block.denominator,
                    max(0, held - self._lpddr) if mode == "capacity" else 0,
                )
            )
        return np.array(sorted(set(rows)), np.int64)

    def _of(self, plan: Plan, weights: Format, kv: Format) -> LayerSums:
        group = (plan.tensor_parallel_size, plan.expert_parallel_size, weights, kv)
        if group not in self._sums:
            self._sums[group] = self._summed(plan, weights, kv)
        return self._sums[group]

    def _summed(self, plan: Plan, weights: Format, kv: Format) -> LayerSums:
        model, chiplets = self._model, self._chiplets
        embedding, *tail = model.outer_tensors()
        of_layer = {
            layer: sum(
                shard(tensor, plan, 0, chiplets, weights).chiplet
                for tensor in model.layer_tensors(model.layers.index(layer))
            )
            for layer in set(model.layers)
        }
        of_attention = {
            attention: kv_block(attention, plan, chiplets, kv)
            for attention in {layer.attention for layer in model.layers}
        }
        nothing = KvBlock(chiplet=Fraction(0), card=0, tail_chiplet=Fraction(0), tail_card=0)
        caches = [of_attention[layer.attention] for layer in model.layers]
        return LayerSums(
            weights=tuple(accumulate((of_layer[layer] for layer in model.layers), initial=0)),
            kv=tuple(accumulate(caches, KvBlock.__add__, initial=nothing)),
            embedding=shard(embedding, plan, 0, chiplets, weights).chiplet,
            tail=sum(shard(tensor, plan, 0, chiplets, weights).chiplet for tensor in tail),
        )


def blocks_of(rows: Integers, max_num_seqs: int) -> int:
    """KV blocks of a replica; none where a stage has no room, or lacks LPDDR."""
    tails = [
        math.ceil(Fraction(int(row[TAILS]) * max_num_seqs, int(row[TAIL_PARTS]))) for row in rows
    ]
    free = [int(row[FREE]) - tail for row, tail in zip(rows, tails, strict=True)]
    whole = [
        each * int(row[BLOCK_PARTS]) // int(row[BLOCK])
        for each, row in zip(free, rows, strict=True)
    ]
    return 0 if rows[:, LACKS].any() else max(0, min(whole))
