"""Explains memory placement: contents, headroom, and the cost of streaming."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cluster.perf_model.devices import device_words, module_of
from cluster.perf_model.memory.capacity import in_sram, tokens_each
from cluster.perf_model.memory.expected_load import traffic_of
from cluster.perf_model.memory.loading import host_load_s, lpddr_load_s, other_bytes, swap_s
from cluster.perf_model.memory.placement import ALL, StagePlaces, class_of
from cluster.perf_model.memory.settings import memory_settings
from cluster.perf_model.memory.shard import shard
from cluster.perf_model.memory.stage import (
    StageMemory,
    chiplets_of,
    in_memories,
    stage_contents,
)
from cluster.perf_model.memory.stage_time import StageWork, Steps
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.scenario.resolve import Resolved
from cluster.serving.run import Layout, lay_out
from workloads.model import load_model
from workloads.plan import stage_layers

MB = 1e6
CLASSES = ("attention", "mlp", "experts", "embedding", "head", "vectors")


def explain(resolved: Resolved, layout: Layout | None = None) -> dict[str, Any]:
    """Tell where everything lies; plain values. Lays the scenario out unless that is done.

    Bytes are of the fullest chiplet of a stage (of the far memory, an equal share of the card's),
    or of its fullest GPU; keys have the names of the device's memories. The costs are of one decode
    step of the expected batch: ``stream_us`` is the time of the far memory, ``costs_us`` the time
    saved if only this class were in the near one.

    Raises
    ------
    PlacementError, DoesNotFit, PriceError
        It cannot run; all carry ``exit_code`` 3.
    """
    layout = layout or lay_out(resolved)
    traffic, fit = traffic_of(resolved), layout.fit
    seats = resolved.scenario.scheduler.max_num_seqs
    room = (seats, fit.block_size, resolved.max_model_len)
    near, *far = memories = device_words(resolved.hardware).memories
    load_s = {memory: lpddr_load_s(fit, resolved.hardware) for memory in far}
    load_s["host"] = host_load_s(fit, resolved.hardware, resolved.scenario.cluster.cards_per_server)
    return {
        "run_id": resolved.run_id,
        "model": resolved.model.name,
        "unit": device_words(resolved.hardware).unit,
        "memories": list(memories),
        "mode": fit.mode,
        "weights": resolved.formats.weights.name,
        "kv": fit.residency.kv if far else near,
        "expected": {"batch": traffic.batch, "context": traffic.context},
        "stages": [_stage(resolved, layout, number) for number in range(len(fit.stages))],
        "kv_blocks": fit.blocks,
        "kv_windows": _windows(resolved, layout),
        f"kv_blocks_in_{near}": fit.sram_blocks,
        "kv_tokens_per_seq": tokens_each(fit.capacity, *room),
        f"kv_tokens_per_seq_in_{near}": tokens_each(in_sram(fit.capacity), *room),
        "max_num_seqs": seats,
        "load_ms": {memory: 1e3 * seconds for memory, seconds in load_s.items()},
        "also_resident": [*_others(resolved)],
    }


def _windows(resolved: Resolved, layout: Layout) -> list[dict[str, Any]]:
    """For each window: blocks that its layers hold of a long sequence that decodes; None: all."""
    capacity, size = layout.fit.capacity, layout.fit.block_size
    freed = set(capacity.windows.tolist())
    return [
        {
            "window_tokens": window,
            "blocks_per_seq": -(-window // size) + 1 if window in freed else None,
        }
        for window in sorted({layer.attention.window for layer in resolved.model.layers} - {0})
    ]


def _stage(resolved: Resolved, layout: Layout, number: int) -> dict[str, Any]:
    """One stage: contents of its fullest chiplet, and their cost."""
    memory, fit = layout.fit.stages[number], layout.fit
    near, *far = device_words(resolved.hardware).memories
    far_kv_bytes = int((fit.blocks - fit.sram_blocks) * memory.block_bytes)
    found = {
        "stage": number,
        "layers": len(stage_layers(resolved.plan, resolved.model)[number]),
        "weights": [*_weights(resolved, layout, number)],
        f"{near}_bytes": memory.sram_bytes,
        "buffer_bytes": memory.buffer_bytes,
        "tail_bytes": memory.tail_bytes,
        "kv_bytes": int(fit.sram_blocks * memory.block_bytes),
        "kv_blocks": memory.blocks,
        "headroom_bytes": fit.headroom_bytes[number],
    }
    for name in far:
        found |= {
            f"kv_{name}_bytes": far_kv_bytes,
            f"kv_{name}_us_per_block": _block_us(resolved, memory),
            f"{name}_bytes": memory.lpddr_bytes,
            f"{name}_used_bytes": memory.lpddr_weight_bytes + far_kv_bytes,
        }
    return found


def _block_us(resolved: Resolved, memory: StageMemory) -> float:
    """The far memory's time for one scheduler block of all layers of a stage."""
    rate = module_of(resolved.hardware).room(resolved.hardware).far_bytes_per_s
    return float(sum(memory.kind_bytes)) / rate * 1e6


def _weights(resolved: Resolved, layout: Layout, number: int) -> Iterator[dict[str, Any]]:
    """A row for each class of weights and place that the stage has."""
    plan, hardware = resolved.plan, resolved.hardware
    chiplets, inputs = chiplets_of(hardware), layout.inputs
    settings = memory_settings(resolved, resolved.formats, resolved.plan)
    contents = [*stage_contents(resolved.model, plan, chiplets, settings, layout.fit.residency)]
    memories = device_words(hardware).memories
    in_sram: Counter[str] = Counter()
    in_lpddr: Counter[str] = Counter()
    for tensor, (hot, cold) in in_memories(contents[number][0], plan).items():
        name = class_of(tensor)
        in_sram[name] += shard(tensor, plan, 0, chiplets, settings.weights, hot).chiplet
        in_lpddr[name] += shard(tensor, plan, 0, chiplets, settings.weights, cold).card
    costs = _Costs(resolved, inputs, number)
    for name in CLASSES:
        if in_sram[name]:
            yield {"tensor_class": name, "where": memories[0], "bytes": in_sram[name]}
        if in_lpddr[name]:
            share = -(-in_lpddr[name] // chiplets)
            yield {
                "tensor_class": name,
                "where": memories[-1],
                "bytes": share,
                **costs.of_class(name),
            }


class _Costs:
    """The cost of a stage's weights in LPDDR in a decode step."""

    def __init__(self, resolved: Resolved, inputs: PriceInputs, number: int) -> None:
        traffic, stages = traffic_of(resolved), resolved.plan.pipeline_parallel_size
        rows = min(-(-traffic.batch // stages), inputs.max_rows, inputs.max_tokens)
        self._inputs, self._number = inputs, number
        self._steps: Steps = ((rows, rows),)
        self._work = StageWork(traffic.context)
        self._now = self._times(inputs)

    def of_class(self, name: str) -> dict[str, float]:
        """Microseconds of a step: those of its stream, hidden or not, and those it adds."""
        whole = self._inputs.placed
        places = _raised(whole.stages[self._number], name)
        stages = (*whole.stages[: self._number], places, *whole.stages[self._number + 1 :])
        without = replace(self._inputs, residency=replace(whole, stages=stages))
        added, hidden = (
            now - then for now, then in zip(self._now, self._times(without), strict=True)
        )
        return {"stream_us": max(hidden, added) / 1e6, "costs_us": added / 1e6}

    def _times(self, inputs: PriceInputs) -> tuple[int, int]:
        """Work and stream of the step."""
        supplied = inputs, self._number, self._steps
        return self._work.work_ps(*supplied)[0], self._work.floor_ps(*supplied)[0]


def _raised(places: StagePlaces, name: str) -> StagePlaces:
    """The same places with one class in SRAM."""
    change: dict[str, Any] = {"hot_experts": ALL} if name == "experts" else {name: True}
    if name in ("embedding", "head"):
        return replace(places, **change)
    return replace(places, layers=tuple(replace(layer, **change) for layer in places.layers))


def _others(resolved: Resolved) -> Iterator[dict[str, Any]]:
    """Standby models in LPDDR: their size, and the duration of a swap."""
    for name in resolved.scenario.memory.also_resident:
        card_bytes = other_bytes(load_model(name), resolved.formats.weights, resolved.plan)
        lpddr_s, host_s = swap_s(card_bytes, resolved.hardware)
        yield {
            "model": name,
            "card_bytes": card_bytes,
            "swap_ms": {"lpddr": 1e3 * lpddr_s, "host": 1e3 * host_s},
        }


def explain_text(found: dict[str, Any]) -> str:
    """The placement as text: equal stages together, then KV, loading and other models."""
    expected, load = found["expected"], found["load_ms"]
    near, *far = found["memories"]
    from_far = "".join(
        f"{near.upper()} from {memory.upper()} {load[memory]:,.1f} ms, " for memory in far
    )
    some = f", {found[f'kv_blocks_in_{near}']:,} of them in {near.upper()}" if far else ""
    short = f", {found[f'kv_tokens_per_seq_in_{near}']:,} in {near.upper()}" if far else ""
    lines = [
        f"{found['model']}, weights {found['weights']}, {found['mode']} mode, placed for "
        f"{expected['batch']} sequences of {expected['context']:,} tokens",
        "",
        *_stages_text(found["stages"], found["unit"], found["memories"]),
        f"KV ({found['kv']}): {found['kv_blocks']:,} blocks a replica{some}: "
        f"{found['kv_tokens_per_seq']:,} tokens for each of {found['max_num_seqs']} "
        f"sequences{short}",
        *map(_window_text, found["kv_windows"]),
        f"Loading: {from_far}all weights from the hosts {load['host']:,.0f} ms",
        *map(_other_text, found["also_resident"]),
    ]
    return "\n".join(lines)


def _window_text(window: dict[str, Any]) -> str:
    blocks = window["blocks_per_seq"]
    kept = (
        "all blocks of a sequence" if blocks is None else f"at most {blocks} blocks of a sequence"
    )
    return f"Layers that see {window['window_tokens']:,} tokens keep {kept} that decodes"


def _stages_text(stages: list[dict[str, Any]], unit: str, memories: Sequence[str]) -> Iterator[str]:
    """A paragraph for each run of equal stages."""
    near, *far = memories
    for _, run in groupby(stages, key=lambda stage: list(stage.values())[1:]):
        members = list(run)
        first, last = members[0], members[-1]
        named = f"Stage {first['stage']}"
        if len(members) > 1:
            named = f"Stages {first['stage']}-{last['stage']}, each"
        yield f"{named}, {first['layers']} layers, on its fullest {unit}:"
        for weights in first["weights"]:
            yield _weights_text(weights)
        yield _row("kv", near, first["kv_bytes"])
        for name in far:
            if first[f"kv_{name}_bytes"]:
                each_us = first[f"kv_{name}_us_per_block"]
                each = f"  {each_us:,.2f} us for each block that a step fetches"
                yield _row("kv", name, first[f"kv_{name}_bytes"]) + each
        if far:
            yield _row("kv tails", near, first["tail_bytes"])
        if first["buffer_bytes"]:
            yield _row("stream buffer", near, first["buffer_bytes"])
        all_bytes = first[f"{near}_bytes"]
        yield _row("left over", near, first["headroom_bytes"]) + f" of {_mb(all_bytes)}"
        yield ""


def _weights_text(weights: dict[str, Any]) -> str:
    row = _row(weights["tensor_class"], weights["where"], weights["bytes"])
    if "stream_us" not in weights:
        return row
    return (
        f"{row}  streams {weights['stream_us']:,.1f} us a step, which costs "
        f"{weights['costs_us']:,.1f} us a token"
    )


def _row(name: str, where: str, size_bytes: int) -> str:
    return f"  {name:<14}{where:<6}{_mb(size_bytes):>10} MB"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MB:,.1f}"


def _other_text(other: dict[str, Any]) -> str:
    swap = other["swap_ms"]
    return (
        f"Waiting in LPDDR: {other['model']}, {other['card_bytes'] / MB:,.0f} MB a card; a swap "
        f"takes {swap['lpddr']:,.1f} ms, from the hosts {swap['host']:,.0f} ms"
    )
