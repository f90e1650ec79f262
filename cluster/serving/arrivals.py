"""Arrivals of a run: the engines' request columns."""

import numpy as np

from cluster.scenario.resolve import Resolved
from cluster.scenario.router_settings import router_name
from cluster.scenario.routers import AFFINITY
from cluster.scenario.speculative import first_draws
from cluster.serving.interface import Arrivals
from corsair_common.units import Integers
from workloads.sessions import sequence_keys

ROUTER_STREAM = 1
"""Random stream of the router, separate from the traffic's with the same seed."""


def session_replicas(session: Integers | None, count: int, replicas: int) -> Integers:
    """[n] the replica of each request: SplitMix64 of its session's number modulo the replicas.

    A request without a session is one of its own. https://prng.di.unimi.it/splitmix64.c
    """
    numbers = np.arange(count) if session is None else session
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(replicas)).astype(np.int64)


def arrivals_of(resolved: Resolved) -> Arrivals:
    """The engines' request columns, with the random router's draws and prefix keys."""
    requests, scenario = resolved.requests, resolved.scenario
    count = len(requests)
    draws = np.empty(0, np.int64)
    router = router_name(scenario.router)
    if router == AFFINITY:
        draws = session_replicas(requests.session, count, resolved.plan.replicas)
    elif router == "random":
        rng = np.random.default_rng([scenario.seed, ROUTER_STREAM])
        draws = rng.integers(resolved.plan.replicas, size=count)
    keys, key_count = np.empty(0, np.int64), 0
    offsets: Integers = np.broadcast_to(np.int64(0), count + 1)  # of no keys: no memory
    if resolved.prefix_caching:
        offsets, keys, key_count = sequence_keys(requests, scenario.scheduler.block_size)
    empty = np.empty(0, np.int64)
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
        previous=empty if requests.previous is None else requests.previous,
        delay_ps=empty if requests.delay_ps is None else requests.delay_ps,
    )
