"""Weight placement of a shape: fixed by mode, or chosen by ``auto`` for each batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.memory import MemorySettings
from cluster.perf_model.memory.capacity import room_of
from cluster.perf_model.memory.expected_load import traffic_of
from cluster.perf_model.memory.optimizer import choose
from cluster.perf_model.memory.placement import Residency, Traffic, uniform
from cluster.perf_model.memory.stage import stage_memory, steady_blocks
from cluster.perf_model.prices import PriceError, PriceInputs
from cluster.studies.plan.context import StudyContext, settings_of
from cluster.studies.plan.space import Shape, replicas_of
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Batches of a shape whose weights lie in the same places."""

    residency: Residency
    seats: Integers
    budgets: Integers
    replicas: list[int]


def placed(study: StudyContext, shape: Shape, inputs: PriceInputs) -> Iterator[Placed]:
    """Every batch of a shape and every number of replicas, once each."""
    replicas = replicas_of(shape.plan, study.choices)
    seats, budgets = study.choices.grid(shape.memory_mode)
    if shape.memory_mode != "auto":
        yield Placed(residency=inputs.placed, seats=seats, budgets=budgets, replicas=replicas)
        return
    users = study.resolved.concurrency
    for alike in [[each] for each in replicas] if users else [replicas]:
        most = -(-users // alike[0]) if users else int(seats.max())
        rows: dict[Residency, list[int]] = {}
        for row in range(len(seats)):
            batch = int(seats[row]), int(budgets[row])
            rows.setdefault(_chosen(study, shape, inputs, batch, most), []).append(row)
        for residency, own in rows.items():
            index = np.array(own, np.int64)
            yield Placed(
                residency=residency, seats=seats[index], budgets=budgets[index], replicas=alike
            )


def _chosen(
    study: StudyContext, shape: Shape, inputs: PriceInputs, batch: tuple[int, int], most: int
) -> Residency:
    """Where a run with these seats and this budget has the weights; at most ``most`` decode.

    What has no seat for each stage, or is not modelled, is never served: the least in SRAM.
    """
    seats, budget = batch
    if seats < shape.plan.pipeline_parallel_size:
        return inputs.placed
    settings = replace(settings_of(study, shape), max_num_seqs=seats)
    traffic = replace(traffic_of(study.resolved), batch=min(seats, most))
    whole = uniform("performance", inputs.model, inputs.plan, settings.pins)
    if _has_room(inputs, settings, traffic, whole):
        return whole
    requested = replace(inputs, max_tokens=budget, max_rows=min(seats, budget))
    try:
        return choose(requested, settings, traffic)
    except PriceError:
        return inputs.placed


def _has_room(
    inputs: PriceInputs, settings: MemorySettings, traffic: Traffic, whole: Residency
) -> bool:
    """Whether all expected sequences have room beside all weights: ``choose`` finds none faster,
    since whatever lies in SRAM can only make a step shorter, and looks at this one first."""
    memory = stage_memory(inputs.model, inputs.plan, inputs.hardware, settings, whole)
    held = steady_blocks(inputs.model, settings, traffic.context)
    return all(stage.fits and room_of(stage).sequences(held) >= traffic.batch for stage in memory)
