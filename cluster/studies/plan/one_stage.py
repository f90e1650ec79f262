"""Compiled: a replica of one stage, whose steps have decodes and chunks."""

import math
from typing import Any

from cluster.compiled import called
from cluster.studies.plan.chance import FULLEST, LEAST, built_up, limited
from cluster.studies.plan.columns import (
    FILL,
    LAST,
    LONG_LOOPS,
    LONG_STEPS,
    LOOPS,
    SHORT,
    STEPS,
    WORK,
)
from cluster.studies.plan.mixed_cycle import decode_ps, mix_ps, mixed, prompt_of, slowed
from cluster.studies.plan.queueing import one_slot_ps
from cluster.studies.plan.step_tables import place_of
from cluster.studies.plan.steps import DECODES, RANDOM, REPLICAS


@called
def prompts_ps(
    inputs: Any, budget: int, beside: float, queued: float
) -> tuple[float, float, float, float]:
    """Steps with chunks of one request, their loops, the time of its prefill, and the mean of those
    that are longer than decode steps. ``queued`` prompts have another behind them."""
    table = inputs.chunks[budget]
    point, part = place_of(beside, table.shape[0])
    return (
        mixed(table, point, part, STEPS, queued),
        mixed(table, point, part, LOOPS, queued),
        mixed(table, point, part, FILL, queued),
        max(1.0, mixed(table, point, part, LONG_LOOPS, queued))
        / max(LEAST, mixed(table, point, part, LONG_STEPS, queued)),
    )


@called
def single_stage_saturated(
    inputs: Any, budget: int, concurrency: float, filling: float
) -> tuple[float, float, float]:
    """A replica at full ``concurrency`` with ``filling`` requests in prefill: the mean cycle, its
    highest prompt rate per picosecond, and the time of a prefill."""
    decoding = concurrency - filling
    beside = min(decoding, inputs.budgets[budget] - 1.0)
    chunks, loops, fill, _ = prompts_ps(inputs, budget, beside, min(1.0, filling))
    share = min(filling, FULLEST)
    decode = decode_ps(inputs, max(1.0, decoding), min(1.0, decoding))
    return mix_ps(decode, loops / chunks, share), loops, fill


@called
def single_stage_at_load(
    inputs: Any, budget: int, concurrency: float, rate: float, decoding: float
) -> tuple[float, float, float, float, float]:
    """At ``rate`` requests per picosecond and ``decoding`` decodes: the mean cycle that a request
    sees, a step with a chunk and the share of time with them, the time of a prefill and the wait
    for it."""
    decodes = max(inputs.facts[DECODES], 1.0)
    beside = min(decoding, inputs.budgets[budget] - 1.0)
    work = prompt_of(inputs, budget, beside, WORK)
    chunks, loops, fill, long = prompts_ps(inputs, budget, beside, min(rate * work, FULLEST))
    busy, chunk = rate * loops, loops / chunks
    share = min(busy, FULLEST)
    plain = decode_ps(inputs, max(1.0, decoding), min(1.0, decoding + 1.0))
    alone = max(1.0 - share * max(0.0, 1.0 - plain / long), 1.0 - FULLEST)
    group = 1.0 / (alone * alone)
    steady = mix_ps(plain, chunk, share)
    active = min(1.0, decoding + 1.0)
    group /= 1.0 - (1.0 - share) * steady / plain * slowed(inputs, decoding, active, 1.0)
    decode = seen_ps(inputs, concurrency, decoding, group * max(inputs.facts[RANDOM], 1e-6))
    odds = share / max(1.0 - share, 1e-9)
    odds *= 1.0 + built_up(busy, True) / (rate * decodes * decode)
    cycle = mix_ps(decode, chunk, odds / (1.0 + odds))
    prompt = work, prompt_of(inputs, budget, beside, SHORT), prompt_of(inputs, budget, beside, LAST)
    return cycle, chunk, share, fill, one_slot_ps(inputs, rate, prompt, (plain, chunk, share))


@called
def seen_ps(inputs: Any, concurrency: float, decoding: float, group: float) -> float:
    """A decode step averaged over requests, which is longer than the average over time.

    The number of decodes is evaluated one standard deviation below and above its mean over
    requests, which exceeds that over time by ``group``, variance over mean: requests of one busy
    period decode together after it, as if they arrived in a group. Replicas have equal load.
    """
    replicas = inputs.facts[REPLICAS]
    group *= limited((concurrency - decoding) / math.sqrt(group * decoding + 1e-12))
    mean = decoding * replicas + group
    deviation = math.sqrt(group * decoding * replicas)
    most = concurrency * replicas
    pace = 0.0
    for number in (min(most, mean - deviation), min(most, mean + deviation)):
        rows = max(1.0, number / replicas)
        pace += 0.5 / decode_ps(inputs, rows, min(1.0, max(1.0, number / replicas)))
    return float(1.0 / pace)
