"""Optimizer of ``auto``: the weights in SRAM for the expected traffic.

SRAM is filled stage by stage with the pieces that save most time per byte, beside the KV of all
expected sequences, of half of them, of a quarter and so on; these candidates and the two pure modes
are priced, and the fastest per output token is chosen. Weights in SRAM never make a step longer, so
no step is slower than in capacity mode; if all weights fit beside the KV, all are in SRAM, as in
performance mode.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf

import numpy as np

from cluster.perf_model.memory.benefit import Piece, pieces_of, uneven_bytes
from cluster.perf_model.memory.capacity import room_of
from cluster.perf_model.memory.fit import check_structure
from cluster.perf_model.memory.placement import (
    ALL,
    LayerPlaces,
    Residency,
    StagePlaces,
    Traffic,
    experts_per_rank,
    uniform,
)
from cluster.perf_model.memory.stage import (
    MemorySettings,
    StageMemory,
    stage_memory,
    steady_blocks,
)
from cluster.perf_model.memory.stage_time import StageWork
from cluster.perf_model.prices.inputs import PriceInputs, check_inputs, device_for
from workloads.plan import stage_layers


def place_weights(inputs: PriceInputs, settings: MemorySettings, traffic: Traffic) -> Residency:
    """Place the weights of a replica: by mode and pins, for ``auto`` by ``traffic``.

    The only decision of a run; its result is passed to all users.

    Raises
    ------
    PlanError, MemoryInputError, PriceError
        Layers or formats that are not modelled, or that the plan cannot cut.
    """
    check_structure(inputs.model, inputs.plan)
    if settings.mode == "auto":
        return choose(inputs, settings, traffic)
    return settings.uniform(inputs.model, inputs.plan)


def choose(inputs: PriceInputs, settings: MemorySettings, traffic: Traffic) -> Residency:
    """Place the weights of a replica in mode ``auto``; pins are fixed.

    Raises
    ------
    PriceError
        Layers or formats that are not modelled.
    """
    check_inputs(inputs)
    least = uniform("auto", inputs.model, inputs.plan, settings.pins)
    search = _Search(replace(inputs, residency=least), settings, traffic)
    best, fewest_ps = least, inf
    for residency in dict.fromkeys(search.candidates()):
        cost_ps = search.cost_ps(residency)
        if cost_ps < fewest_ps:
            best, fewest_ps = residency, cost_ps
    return best


@dataclass(slots=True)
class _Search:
    """Builds and prices candidates."""

    inputs: PriceInputs
    """With the least in SRAM."""
    settings: MemorySettings
    traffic: Traffic
    _work: StageWork = field(init=False)
    _held: tuple[int, ...] = field(init=False)
    """[k] KV blocks of each kind of an expected sequence."""

    def __post_init__(self) -> None:
        self._work = StageWork(self.traffic.context)
        self._held = steady_blocks(self.inputs.model, self.settings, self.traffic.context)

    def candidates(self) -> Iterator[Residency]:
        """All in SRAM, the least in SRAM, and between them SRAM filled beside decreasing KV."""
        inputs, settings = self.inputs, self.settings
        yield uniform("performance", inputs.model, inputs.plan, settings.pins)
        yield inputs.placed
        if not inputs.placed.streams:
            return
        memory = stage_memory(inputs.model, inputs.plan, inputs.hardware, settings, inputs.placed)
        device = device_for(inputs)
        pieces = pieces_of(inputs, device, self.traffic, settings.pins)
        head_first = [
            sorted(each, key=lambda piece: piece.tensor_class != "head") for each in pieces
        ]
        batch = self.traffic.batch
        while batch:
            for order in (pieces, head_first):
                yield self._filled(memory, order, batch)
            batch //= 2

    def cost_ps(self, residency: Residency) -> float:
        """Time per output token, including its share of the prompt; inf if nothing fits.

        If not even one sequence fits, more blocks are better.
        """
        inputs, traffic = replace(self.inputs, residency=residency), self.traffic
        memory = stage_memory(inputs.model, inputs.plan, inputs.hardware, self.settings, residency)
        if not all(stage.fits for stage in memory):
            return inf
        room = min(room_of(stage).sequences(self._held) for stage in memory)
        stages = inputs.plan.pipeline_parallel_size
        most = stages * min(inputs.max_rows, inputs.max_tokens)
        batch = min(traffic.batch, room, most)
        if not batch:
            return 1e30 / min(stage.blocks for stage in memory)
        rows = ceil(batch / stages)
        steps = (rows, rows), (inputs.max_tokens, 0)
        work = np.array([self._work.work_ps(inputs, stage, steps) for stage in range(stages)])
        cycle_ps = max(work[:, 0].sum(), min(stages, batch) * work[:, 0].max())
        prefill_ps = work[:, 1].max() / inputs.max_tokens
        return float(cycle_ps / batch + traffic.prompt_share * prefill_ps)

    def _filled(
        self, memory: Sequence[StageMemory], pieces: Sequence[Sequence[Piece]], batch: int
    ) -> Residency:
        """SRAM filled with pieces in their order, beside the KV of ``batch`` sequences."""
        least = self.inputs.placed
        stages = []
        for number, (stage, own) in enumerate(zip(memory, pieces, strict=True)):
            kv_bytes = ceil(batch * stage.held_bytes(self._held)) if least.kv != "lpddr" else 0
            spare = kv_bytes + uneven_bytes(self.inputs, number)
            room = stage.sram_bytes - stage.reserved_bytes - spare
            every = sum(piece.size_bytes for piece in own)
            if every <= room + stage.buffer_bytes and self._may_be_whole(number, own):
                room = every
            stages.append(self._with(number, [*_taken(own, room)]))
        return replace(least, stages=tuple(stages))

    def _may_be_whole(self, number: int, own: Sequence[Piece]) -> bool:
        """Whether no weights of a stage stream if all these pieces are in SRAM."""
        return self.inputs.placed.kv == "sram" and not self._with(number, own).streams

    def _with(self, number: int, taken: Sequence[Piece]) -> StagePlaces:
        """The places of a stage with these pieces in SRAM as well."""
        inputs = self.inputs
        least = inputs.places(number)
        outer = {piece.tensor_class for piece in taken if piece.layer < 0}
        layers = list(least.layers)
        for piece in taken:
            if piece.layer >= 0:
                layers[piece.layer] = _in_sram(layers[piece.layer], piece.tensor_class)
        numbers = stage_layers(inputs.plan, inputs.model)[number]
        each = [experts_per_rank(inputs.plan, inputs.model.layers[layer]) for layer in numbers]
        last = number == inputs.plan.pipeline_parallel_size - 1
        head = not last or least.head or "head" in outer
        table = number > 0 or least.embedding or "embedding" in outer
        if inputs.model.tied_embeddings and last:
            table = head
        return StagePlaces(
            layers=tuple(
                replace(where, hot_experts=ALL) if where.hot_experts >= count else where
                for where, count in zip(layers, each, strict=True)
            ),
            embedding=table,
            head=head,
        )


def _taken(pieces: Sequence[Piece], room: int) -> Iterator[Piece]:
    """Pieces in order, those that fit; experts of a layer only after more popular ones."""
    full: set[int] = set()
    for piece in pieces:
        if piece.size_bytes <= room and not (
            piece.tensor_class == "experts" and piece.layer in full
        ):
            room -= piece.size_bytes
            yield piece
        elif piece.tensor_class == "experts":
            full.add(piece.layer)


def _in_sram(places: LayerPlaces, tensor_class: str) -> LayerPlaces:
    if tensor_class == "experts":
        return replace(places, hot_experts=places.hot_experts + 1)
    return replace(places, **{tensor_class: True})
