"""Load over time: tokens, batch, KV."""

from typing import Any

import numpy as np

from corsair_common.units import Floats
from results.api import Run
from results.figures.series import MOST_BINS, codes, count_at, numbers, spread_at, time_edges
from results.figures.theme import over_time, stacked


def load_over_time(run: Run) -> Any:
    """Tokens in and out, requests being served, and the share of KV blocks in use."""
    edges = time_edges(run)
    panels = [
        over_time(_throughput(run, edges), "tokens/s"),
        over_time(_served(run, edges), "requests served"),
    ]
    kv = _kv(run)
    if kv:
        panels.append(over_time(kv, "KV blocks in use", share=True))
    return stacked(panels, "Throughput, batch and KV over time")


def _throughput(run: Run, edges: Floats) -> list[dict[str, Any]]:
    """Output flows evenly from first to last token, prompts from first step to first token."""
    first, finish = (numbers(run, "requests", name) for name in ("first_token_s", "finish_s"))
    output = numbers(run, "requests", "output_tokens")
    prompt = numbers(run, "requests", "prompt_tokens")
    scheduled = numbers(run, "requests", "first_scheduled_s")
    inputs = {
        "output": spread_at(output, first, finish, edges),
        "prompt": spread_at(prompt, scheduled, first, edges),
    }
    return [
        {"s": at, "value": rate, "series": name}
        for name, upto in inputs.items()
        for at, rate in zip(
            edges[1:].tolist(), (np.diff(upto) / np.diff(edges)).tolist(), strict=True
        )
    ]


def _served(run: Run, edges: Floats) -> list[dict[str, Any]]:
    begun = count_at(numbers(run, "requests", "first_scheduled_s"), edges)
    ended = count_at(numbers(run, "requests", "finish_s"), edges)
    return [
        {"s": at, "value": value, "series": "at a time"}
        for at, value in zip(edges.tolist(), (begun - ended).tolist(), strict=True)
    ]


def _kv(run: Run) -> list[dict[str, Any]]:
    """Mean and fullest over replicas, by time; spare cards have none."""
    held, start = numbers(run, "cards", "kv_fraction"), numbers(run, "cards", "start_s")
    replica, stage = codes(run, "cards", "replica"), codes(run, "cards", "stage")
    chosen = (stage == 0) & np.isfinite(held)
    if not chosen.any():
        return []
    held, start, replica = held[chosen], start[chosen], replica[chosen]
    times = np.unique(start)
    join = max(1, -(-len(times) // MOST_BINS))
    where = np.searchsorted(times, start) // join
    rows = []
    for index in range(int(where.max()) + 1):
        here = where == index
        at = float(times[index * join])
        rows += [
            {"s": at, "value": float(held[here].mean()), "series": "mean of replicas"},
            {"s": at, "value": float(held[here].max()), "series": "fullest"},
        ]
    return rows
