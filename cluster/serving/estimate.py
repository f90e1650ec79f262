"""What a run will be like, from its prices alone: memory, speed, load, and how long it takes."""

import math
from typing import Any

import numpy as np

from cluster.perf_model.memory import StageMemory
from cluster.perf_model.memory.capacity import sequences_of, tokens_each
from cluster.perf_model.prices import steady_decode
from cluster.perf_model.tables import Integers, PriceTables
from cluster.scenario.resolve import Resolved
from cluster.serving.run import Machine
from workloads.plan import stage_layers

MB = 1e6
SOME = 0.05
"""Of the weights in SRAM: less is but norms."""
START_S = 1.5
"""Imports, reading and writing. This and the three below were fitted by eye to five runs on a
two-core machine (2.5 to 7.1 s), of which they tell the length to about a third."""
STEP_S = 0.4e-6
"""To simulate one step."""
STAGE_S = 0.06e-6
"""To simulate and account for one step at one stage."""
ROW_S = 10e-9
"""To simulate one row of a step."""
TURNS = 20
"""Until as many requests read their prompts as come; each halves what is left."""


def forecast(resolved: Resolved, machine: Machine) -> dict[str, Any]:
    """Plain values for ``corsair-sim check``; speeds are of one replica.

    A ``prefill`` pool has prompts to do, a ``decode`` pool answers, an undivided machine both.
    """
    requests, scheduler = resolved.requests, resolved.scenario.scheduler
    context = max(1, int(np.mean(requests.prompt_tokens + requests.output_tokens // 2)))
    capacity, size = machine.fit.capacity, scheduler.block_size
    sequences = sequences_of(capacity, context, size)
    rows = machine.prices.stages * scheduler.max_num_batched_tokens  # of all slots at once
    batch = max(1, min(scheduler.max_num_seqs, sequences, rows))
    steady = steady_decode(machine.prices, batch=batch, context=context, room=(capacity, size))
    alone = steady_decode(machine.prices, batch=1, context=context)
    prefill = _prefill_tokens_per_s(machine.prices)
    rate = _rate_per_s(resolved)
    prompts = 0 if resolved.role == "decode" else int(requests.prompt_tokens.sum())
    output = 0 if resolved.role == "prefill" else int(requests.output_tokens.sum())
    needed_s = (prompts / prefill + output / steady.tokens_per_s) / len(requests)
    if machine.prices.stages > 1 and prompts and output:
        mean = prompts / len(requests), output / len(requests)
        needed_s = 1.0 / _full_rate_per_s(machine.prices, mean, batch, steady.tpot_s)
    load = None if rate is None else float(rate * needed_s / resolved.plan.replicas)
    stay_s = alone.tpot_s / max(0.05, 1 - (load or 0.0))  # users stay longer, as in a queue
    rows_per_step = _rows_per_step(resolved, machine, batch, rate, stay_s)
    steps = output / rows_per_step + prompts / scheduler.max_num_batched_tokens
    cards = len(machine.routes.card_id if resolved.cards is None else resolved.cards)
    return {
        "run_id": resolved.run_id,
        "cards": cards,
        "spare_cards": cards - machine.cards.size,
        "stages": _stages(resolved, machine),
        "kv_blocks": machine.fit.blocks,
        "kv_tokens_per_seq": tokens_each(
            capacity, scheduler.max_num_seqs, size, resolved.max_model_len
        ),
        "context": context,
        "kv_sequences": sequences,
        "decode_batch": batch,
        "decode_tpot_ms": steady.tpot_s * 1e3,
        "decode_tokens_per_s": steady.tokens_per_s,
        "prefill_tokens_per_s": prefill,
        "utilisation": load,
        "requests": len(requests),
        "output_tokens": output,
        "seconds": START_S + steps * (STEP_S + machine.prices.stages * STAGE_S) + output * ROW_S,
    }


def _stages(resolved: Resolved, machine: Machine) -> list[dict[str, Any]]:
    layers = stage_layers(resolved.plan, resolved.model)
    left = machine.fit.headroom_bytes
    return [
        {
            "stage": number,
            "layers": len(layers[number]),
            "weights_mb": stage.weight_bytes / MB,
            "where": _where(stage),
            "sram_mb": stage.sram_bytes / MB,
            "kv_blocks": stage.blocks,
            "left_mb": left[number] / MB,
        }
        for number, stage in enumerate(machine.fit.stages)
    ]


def _where(stage: StageMemory) -> str:
    """Where the weights of a stage lie; norms and the like are in SRAM everywhere."""
    if not stage.lpddr_weight_bytes:
        return "SRAM"
    share = stage.sram_weight_bytes / stage.weight_bytes
    return f"LPDDR, {100 * share:.0f} % SRAM" if share >= SOME else "LPDDR"


def _prefill_tokens_per_s(prices: PriceTables) -> float:
    """Full steps of prompt tokens, one after the other at the slowest stage; attention left out."""
    tokens = prices.linear_ps.shape[1] - 1
    work_ps = _work_ps(prices, tokens)
    slowest_ps = int(work_ps[prices.stage_class[0]].max())
    return float(tokens / (slowest_ps * 1e-12))


def _full_rate_per_s(
    prices: PriceTables, mean: tuple[float, float], batch: int, decode_s: float
) -> float:
    """Requests a second of a replica of several stages of which ``batch`` are always running.

    ``mean`` are prompt and output tokens. No batch overtakes another, so a cycle lasts as long as
    a chunk takes to cross all stages if anybody has finished in the one before; chunks follow one
    another at the slowest stage (as in ``studies.plan``, without attention to prompts).
    """
    prompt, output = mean
    tokens = round(min(prompt, prices.linear_ps.shape[1] - 1))
    classes = prices.stage_class[0]
    stages_s = _work_ps(prices, tokens)[classes] * 1e-12
    cross_s = stages_s.sum() + (prices.send_ps[classes, tokens].sum() + prices.return_ps[0]) * 1e-12
    work_s = stages_s.max() * prompt / tokens
    fill_s = cross_s + work_s - stages_s.max()
    decoding, rate = float(batch), 0.0
    for _ in range(TURNS):
        leave = decoding / max(output - 1.0, SOME)
        some = -math.expm1(-leave)
        long_s = max(cross_s, fill_s + (leave / some - 1.0) * work_s)
        rate = leave / ((1.0 - some) * decode_s + some * long_s)
        decoding = (decoding + max(1.0, batch - rate * fill_s)) / 2.0
    return float(rate)


def _work_ps(prices: PriceTables, tokens: int) -> Integers:
    """[class] time of a step without attention and head."""
    busy: Integers = prices.linear_ps[:, tokens] + prices.collective_ps[:, tokens]
    return np.maximum(prices.floor_ps[:, tokens], busy)


def _rate_per_s(resolved: Resolved) -> float | None:
    """Requests a second, None in a closed loop or where all arrive at once."""
    arrival = resolved.requests.arrival_ps
    span_ps = int(arrival[-1] - arrival[0])
    if resolved.concurrency or not span_ps:
        return None
    return (len(arrival) - 1) / (span_ps * 1e-12)


def _rows_per_step(
    resolved: Resolved, machine: Machine, batch: int, rate: float | None, tpot_s: float
) -> float:
    """How many sequences a step of a slot holds, by Little's law where the load is light."""
    stages = machine.prices.stages
    if rate is None:
        users = float(resolved.concurrency or batch)
    else:
        users = rate * float(resolved.requests.output_tokens.mean()) * tpot_s
    per_replica = users / resolved.plan.replicas
    return min(max(1.0, per_replica / stages), max(1.0, batch / stages))
