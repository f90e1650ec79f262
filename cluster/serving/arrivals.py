"""Arrivals of a run: the engines' request columns."""

import numpy as np

from cluster.scenario.resolve import Resolved
from cluster.scenario.speculative import first_draws
from cluster.serving.interface import Arrivals
from workloads.prefix import block_keys

ROUTER_STREAM = 1
"""Random stream of the router, separate from the traffic's with the same seed."""


def arrivals_of(resolved: Resolved) -> Arrivals:
    """The engines' request columns, with the random router's draws and prefix keys."""
    requests, scenario = resolved.requests, resolved.scenario
    count = len(requests)
    draws = np.empty(0, np.int64)
    if scenario.router == "random":
        rng = np.random.default_rng([scenario.seed, ROUTER_STREAM])
        draws = rng.integers(resolved.plan.replicas, size=count)
    offsets, keys, key_count = np.zeros(count + 1, np.int64), np.empty(0, np.int64), 0
    if resolved.prefix_caching:
        offsets, keys, key_count = block_keys(requests, scenario.scheduler.block_size)
    return Arrivals(
        arrival_ps=requests.arrival_ps,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=requests.output_tokens,
        router_choice=draws,
        key_offsets=offsets,
        keys=keys,
        key_count=key_count,
        first_draw=first_draws(count, scenario.seed)
        if scenario.speculative
        else np.empty(0, np.int64),
    )
