"""Explains memory placement: contents, headroom, and the cost of streaming."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from cluster.perf_model.devices import module_of
from cluster.perf_model.memory.capacity import in_sram, tokens_each
from cluster.perf_model.memory.expected_load import traffic_of
from cluster.perf_model.memory.loading import host_load_s, lpddr_load_s, other_bytes, swap_s
from cluster.perf_model.memory.placement import ALL, StagePlaces, class_of
from cluster.perf_model.memory.settings import memory_settings
from cluster.perf_model.memory.shard import shard
from cluster.perf_model.memory.stage import Held, StageMemory, chiplets_of, matrices, stage_contents
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

    Bytes are of the fullest chiplet of a stage (of LPDDR, an equal share of the card's). The costs
    are of one decode step of the expected batch: ``stream_us`` is LPDDR's time, ``costs_us`` the
    time saved if only this class were in SRAM.

    Raises
    ------
    PlacementError, DoesNotFit, PriceError
        It cannot run; all carry ``exit_code`` 3.
    """
    layout = layout or lay_out(resolved)
    traffic, fit = traffic_of(resolved), layout.fit
    seats = resolved.scenario.scheduler.max_num_seqs
    room = (seats, fit.block_size, resolved.max_model_len)
    return {
        "run_id": resolved.run_id,
        "model": resolved.model.name,
        "mode": fit.mode,
        "weights": resolved.formats.weights.name,
        "kv": fit.residency.kv,
        "expected": {"batch": traffic.batch, "context": traffic.context},
        "stages": [_stage(resolved, layout, number) for number in range(len(fit.stages))],
        "kv_blocks": fit.blocks,
        "kv_windows": _windows(resolved, layout),
        "kv_blocks_in_sram": fit.sram_blocks,
        "kv_tokens_per_seq": tokens_each(fit.capacity, *room),
        "kv_tokens_per_seq_in_sram": tokens_each(in_sram(fit.capacity), *room),
        "max_num_seqs": seats,
        "load_ms": {
            "lpddr": 1e3 * lpddr_load_s(fit, resolved.hardware),
            "host": 1e3
            * host_load_s(fit, resolved.hardware, resolved.scenario.cluster.cards_per_server),
        },
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
    memory = layout.fit.stages[number]
    return {
        "stage": number,
        "layers": len(stage_layers(resolved.plan, resolved.model)[number]),
        "weights": [*_weights(resolved, layout, number)],
        "sram_bytes": memory.sram_bytes,
        "buffer_bytes": memory.buffer_bytes,
        "tail_bytes": memory.tail_bytes,
        "kv_bytes": int(layout.fit.sram_blocks * memory.block_bytes),
        "kv_lpddr_bytes": int((layout.fit.blocks - layout.fit.sram_blocks) * memory.block_bytes),
        "kv_lpddr_us_per_block": _block_us(resolved, memory),
        "kv_blocks": memory.blocks,
        "headroom_bytes": layout.fit.headroom_bytes[number],
        "lpddr_bytes": memory.lpddr_bytes,
        "lpddr_used_bytes": memory.lpddr_weight_bytes
        + int((layout.fit.blocks - layout.fit.sram_blocks) * memory.block_bytes),
    }


def _block_us(resolved: Resolved, memory: StageMemory) -> float:
    """LPDDR's time for one scheduler block of all layers of a stage."""
    rate = module_of(resolved.hardware).room(resolved.hardware).far_bytes_per_s
    return float(sum(memory.kind_bytes)) / rate * 1e6


def _weights(resolved: Resolved, layout: Layout, number: int) -> Iterator[dict[str, Any]]:
    """A row for each class of weights and place that the stage has."""
    plan, hardware = resolved.plan, resolved.hardware
    chiplets, inputs = chiplets_of(hardware), layout.inputs
    settings = memory_settings(resolved, resolved.formats, resolved.plan)
    contents = [*stage_contents(resolved.model, plan, chiplets, settings, layout.fit.residency)]
    in_sram: Counter[str] = Counter()
    in_lpddr: Counter[str] = Counter()
    for held, times in contents[number][0].items():
        whole = shard(held.tensor, plan, 0, chiplets, settings.weights)
        hot, count = _parts(held, layout)
        in_sram[class_of(held.tensor)] += times * whole.chiplet * hot // count
        in_lpddr[class_of(held.tensor)] += times * whole.card * (count - hot) // count
    costs = _Costs(resolved, inputs, number)
    for name in CLASSES:
        if in_sram[name]:
            yield {"tensor_class": name, "where": "sram", "bytes": in_sram[name]}
        if in_lpddr[name]:
            share = -(-in_lpddr[name] // chiplets)
            yield {
                "tensor_class": name,
                "where": "lpddr",
                "bytes": share,
                **costs.of_class(name),
            }


def _parts(held: Held, layout: Layout) -> tuple[int, int]:
    count = matrices(held.tensor, layout.inputs.plan)
    return min(held.hot, count), count


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
    lines = [
        f"{found['model']}, weights {found['weights']}, {found['mode']} mode, placed for "
        f"{expected['batch']} sequences of {expected['context']:,} tokens",
        "",
        *_stages_text(found["stages"]),
        f"KV ({found['kv']}): {found['kv_blocks']:,} blocks a replica, "
        f"{found['kv_blocks_in_sram']:,} of them in SRAM: {found['kv_tokens_per_seq']:,} tokens "
        f"for each of {found['max_num_seqs']} sequences, "
        f"{found['kv_tokens_per_seq_in_sram']:,} in SRAM",
        *map(_window_text, found["kv_windows"]),
        f"Loading: SRAM from LPDDR {load['lpddr']:,.1f} ms, all weights from the hosts "
        f"{load['host']:,.0f} ms",
        *map(_other_text, found["also_resident"]),
    ]
    return "\n".join(lines)


def _window_text(window: dict[str, Any]) -> str:
    blocks = window["blocks_per_seq"]
    kept = (
        "all blocks of a sequence" if blocks is None else f"at most {blocks} blocks of a sequence"
    )
    return f"Layers that see {window['window_tokens']:,} tokens keep {kept} that decodes"


def _stages_text(stages: list[dict[str, Any]]) -> Iterator[str]:
    """A paragraph for each run of equal stages."""
    for _, run in groupby(stages, key=lambda stage: list(stage.values())[1:]):
        members = list(run)
        first, last = members[0], members[-1]
        named = f"Stage {first['stage']}"
        if len(members) > 1:
            named = f"Stages {first['stage']}-{last['stage']}, each"
        yield f"{named}, {first['layers']} layers, on its fullest chiplet:"
        for weights in first["weights"]:
            yield _weights_text(weights)
        yield _row("kv", "sram", first["kv_bytes"])
        if first["kv_lpddr_bytes"]:
            each = f"  {first['kv_lpddr_us_per_block']:,.2f} us for each block that a step fetches"
            yield _row("kv", "lpddr", first["kv_lpddr_bytes"]) + each
        yield _row("kv tails", "sram", first["tail_bytes"])
        if first["buffer_bytes"]:
            yield _row("stream buffer", "sram", first["buffer_bytes"])
        yield _row("left over", "sram", first["headroom_bytes"]) + f" of {_mb(first['sram_bytes'])}"
        yield ""


def _weights_text(weights: dict[str, Any]) -> str:
    row = _row(weights["tensor_class"], weights["where"], weights["bytes"])
    if weights["where"] == "sram":
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
