"""When a model does not fit: the shortfall, and what would fit."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cluster.perf_model.devices import device_words, module_of, weight_formats
from cluster.perf_model.memory.stage import MemorySettings, StageMemory, stage_memory
from cluster.perf_model.protocols import Figures
from workloads.formats import get_format
from workloads.model import Model
from workloads.plan import Plan, PlanError, check_plan

LARGEST = 4096
"""Cards of the largest cluster that is looked at."""
NEAR, FAR = range(2)
"""Positions of a device's memories."""
GROUPS = (4, 2, 8, 1, 16, 32, 64)
"""Tensor groups that are looked at; of equally small clusters the first wins."""


def shortfall(
    model: Model,
    plan: Plan,
    hardware: Figures,
    settings: MemorySettings,
    stages: Sequence[StageMemory],
) -> str:
    """The worst stage's need."""
    return (
        f"{model.name} on {_shape(plan)} does not fit in {settings.mode} mode: "
        f"{_worst(stages, hardware)}"
    )


def advice(model: Model, plan: Plan, hardware: Figures, settings: MemorySettings) -> str:
    """The smallest cluster that fits, and alternatives; it is searched for, so only for readers."""
    found = smallest(model, plan, hardware, settings)
    sentences = [
        f"no cluster of up to {LARGEST} cards fits"
        if found is None
        else f"the smallest cluster that fits has {found.cards} cards ({_shape(found)})"
    ]
    return "; ".join([*sentences, *_alternatives(model, plan, hardware, settings)])


def smallest(model: Model, plan: Plan, hardware: Figures, settings: MemorySettings) -> Plan | None:
    """Return the plan of one replica with the fewest cards that fits.

    Experts are distributed as in ``plan``, or as a whole over the cards of a group.
    """
    found = []
    for group in GROUPS:
        for experts in sorted({1, plan.expert_parallel_size, group if _sparse(model) else 1}):
            if group % experts == 0:
                found += _fewest_stages(model, hardware, settings, group, experts)
    return min(found, key=lambda each: each.cards, default=None)


def _sparse(model: Model) -> bool:
    return any(layer.mlp.kind == "moe" for layer in model.layers)


def _fewest_stages(
    model: Model, hardware: Figures, settings: MemorySettings, group: int, experts: int
) -> list[Plan]:
    """Bisect the number of stages: with more of them each has less. One plan, or none."""

    def plan_of(stages: int) -> Plan:
        return Plan(
            tensor_parallel_size=group,
            pipeline_parallel_size=stages,
            expert_parallel_size=experts,
        )

    low, high = 1, min(len(model.layers), LARGEST // group)
    if not _fits(model, plan_of(high), hardware, settings):
        return []
    while low < high:
        middle = (low + high) // 2
        if _fits(model, plan_of(middle), hardware, settings):
            high = middle
        else:
            low = middle + 1
    return [plan_of(high)]


def _fits(model: Model, plan: Plan, hardware: Figures, settings: MemorySettings) -> bool:
    try:
        check_plan(plan, model)
    except PlanError:
        return False
    residency = settings.uniform(model, plan)
    return all(stage.fits for stage in stage_memory(model, plan, hardware, settings, residency))


def _shape(plan: Plan) -> str:
    experts = plan.expert_parallel_size
    return (
        f"tensor_parallel_size {plan.tensor_parallel_size} x"
        f" pipeline_parallel_size {plan.pipeline_parallel_size}"
        + (f", expert_parallel_size {experts}" if experts > 1 else "")
    )


def _worst(stages: Sequence[StageMemory], hardware: Figures) -> str:
    """Name the stage that lacks most, and its numbers."""
    lacks = [
        max(
            (stage.sram_needed_bytes - stage.sram_bytes, NEAR),
            (stage.lpddr_needed_bytes - stage.lpddr_bytes, FAR),
        )
        for stage in stages
    ]
    index = max(range(len(stages)), key=lambda number: lacks[number][0])
    (lack, where), stage = lacks[index], stages[index]
    need, have, weights = stage.sram_needed_bytes, stage.sram_bytes, stage.sram_weight_bytes
    if where == FAR:
        need, have, weights = (
            stage.lpddr_needed_bytes,
            stage.lpddr_bytes,
            stage.lpddr_weight_bytes,
        )
    device = device_words(hardware)
    return (
        f"stage {index} needs {_size(need)} of {device.memory_label(where)} on its fullest"
        f" {device.unit}"
        f" (weights {_size(weights)}, one KV block {_size(stage.first_block_bytes)}),"
        f" has {_size(have)}, short by {_size(lack)}"
    )


def _alternatives(
    model: Model, plan: Plan, hardware: Figures, settings: MemorySettings
) -> Iterator[str]:
    if settings.mode == "performance" and module_of(hardware).room(hardware).far_bytes:
        does = _fits(model, plan, hardware, replace(settings, mode="capacity"))
        yield f"memory.mode: capacity {'fits' if does else 'does not fit either'}"
        if does and settings.pins.kv == "sram":
            near = device_words(hardware).memory_label(NEAR)
            yield f"memory.mode: auto would keep in {near} what fits"
    smaller = min(map(get_format, weight_formats(hardware)), key=lambda each: each.bits_per_element)
    if smaller.bits_per_element < settings.weights.bits_per_element:
        does = _fits(model, plan, hardware, replace(settings, weights=smaller))
        yield f"formats.weights: {smaller.name} {'fits' if does else 'does not fit either'}"


def _size(size_bytes: float) -> str:
    if size_bytes < 1e6:
        return f"{size_bytes / 1e3:,.1f} KB"
    return f"{size_bytes / 1e6:,.1f} MB"
