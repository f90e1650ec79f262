"""The requests of a run as the engines take them."""

import numpy as np

from cluster.scenario.resolve import Resolved
from cluster.serving.interface import Arrivals
from workloads.prefix import block_keys

ROUTER_STREAM = 1
"""Separates the router's draws from those of the traffic, which share the scenario's seed."""


def arrivals_of(resolved: Resolved) -> Arrivals:
    """The requests as the engines take them, with the random router's draws and prefix keys."""
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
    )
