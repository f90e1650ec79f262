"""The scenario's workload as request columns: a trace read, or a generator run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from cluster.scenario.workload import (
    Arrivals,
    Columns,
    Delay,
    Lengths,
    Sessions,
    Synthetic,
    Workload,
)
from corsair_common.limits import refuse_beyond_memory
from workloads import session_synthetic
from workloads import synthetic as generators
from workloads.presets import Preset, get_preset
from workloads.readers.trace_format import GivenUnit, ReadOptions
from workloads.requests import Requests, TraceError
from workloads.trace import read_trace, scale_rate

TRAFFIC_STREAM = 0
"""Separates the traffic's draws from others that share the scenario's seed."""
RUN_BYTES = 400
"""Memory of a run for one request: ``serve`` took 158 MB more for 500,000 than for 100,000."""

Reader: TypeAlias = Callable[..., Requests]
"""``workloads.trace.read_trace``, or a substitute."""


def traffic(workload: Workload, seed: int, read: Reader = read_trace) -> tuple[Requests, int]:
    """The requests, and the users of a closed loop (0 in an open one).

    Raises
    ------
    TraceError
        The trace is invalid, or the generator's parameters are.
    """
    if workload.synthetic is None:
        requests = read(
            str(workload.trace),
            workload.format,
            limit=workload.limit,
            start_s=workload.start_s,
            duration_s=workload.duration_s,
            rate_scale=workload.rate_scale,
            options=read_options(workload),
        )
        refuse_beyond_memory(
            len(requests) * RUN_BYTES, f"a run of {len(requests):,} requests", "set workload.limit"
        )
        return requests, 0
    if workload.start_s or workload.duration_s is not None or workload.limit is not None:
        raise TraceError(
            "workload.limit, start_s and duration_s cut a trace; synthetic traffic has a number of "
            "requests instead"
        )
    if read_options(workload) != ReadOptions():
        raise TraceError(
            "workload.time_unit, hash_block_tokens, columns and later_prompts describe a trace's "
            "file; synthetic "
            "traffic has none (lengths from a file take columns in empirical)"
        )
    requested = workload.synthetic
    refuse_beyond_memory(
        requested.requests * RUN_BYTES,
        f"a run of {requested.requests:,} requests",
        "reduce workload.synthetic.requests",
    )
    return _generated(requested, workload.rate_scale, seed, read)


def read_options(workload: Workload) -> ReadOptions:
    """The workload's options for its trace's file."""
    found = _options(workload.columns, workload.time_unit, workload.hash_block_tokens or 0)
    return replace(found, later_prompts=workload.later_prompts)


def _options(
    columns: Columns | None, time_unit: GivenUnit | None = None, hash_block_tokens: int = 0
) -> ReadOptions:
    names = columns.model_dump(exclude_none=True) if columns else {}
    return ReadOptions(time_unit=time_unit, hash_block_tokens=hash_block_tokens, **names)


def _generated(
    requested: Synthetic, rate_scale: float, seed: int, read: Reader
) -> tuple[Requests, int]:
    preset: Preset | None = get_preset(requested.preset) if requested.preset else None
    concurrency = requested.arrivals.concurrency or 0 if requested.arrivals else 0
    what = (
        requested.requests,
        _arrivals(requested.arrivals) if requested.arrivals else _of(preset).arrivals,
        _lengths(requested.prompt_tokens, read)
        if requested.prompt_tokens
        else _of(preset).prompt_tokens,
        _lengths(requested.output_tokens, read)
        if requested.output_tokens
        else _of(preset).output_tokens,
        np.random.default_rng([seed, TRAFFIC_STREAM]),
    )
    if requested.sessions is not None:
        spoken = session_synthetic.generate_sessions(*what, _sessions(requested.sessions, read))
        return session_synthetic.at_rate(spoken, rate_scale) if rate_scale != 1 else spoken, 0
    drawn = generators.generate(*what, preset.shared_prefix if preset else None)
    if rate_scale != 1:
        drawn = replace(drawn, arrival_ps=scale_rate(drawn.arrival_ps, rate_scale))
    return drawn, concurrency


def _of(preset: Preset | None) -> Preset:
    if preset is None:  # the scenario's model refuses this earlier
        raise TraceError("synthetic traffic needs a preset or arrivals and lengths of its own")
    return preset


def _arrivals(requested: Arrivals) -> generators.Arrivals:
    if requested.poisson is not None:
        return generators.Poisson(rate_per_s=requested.poisson.rate_per_s)
    if requested.gamma is not None:
        return generators.Gamma(
            rate_per_s=requested.gamma.rate_per_s, burstiness=requested.gamma.burstiness
        )
    if requested.constant is not None:
        return generators.Constant(rate_per_s=requested.constant.rate_per_s)
    return generators.Closed(concurrency=requested.concurrency or 1)


def _sessions(requested: Sessions, read: Reader) -> session_synthetic.Sessions:
    return session_synthetic.Sessions(
        turns=_lengths(requested.turns, read),
        added_tokens=_lengths(requested.added_tokens, read),
        delay_s=_delay(requested.delay_s),
        system_tokens=requested.system_tokens,
    )


def _delay(requested: Delay) -> session_synthetic.Delays:
    if requested.exponential is not None:
        return session_synthetic.ExponentialDelay(mean_s=requested.exponential)
    if requested.lognormal is not None:
        skewed = requested.lognormal
        return session_synthetic.LognormalDelay(mean_s=skewed.mean, p50_s=skewed.p50)
    return session_synthetic.FixedDelay(delay_s=requested.fixed or 0.0)


def _lengths(requested: Lengths, read: Reader) -> generators.Lengths:
    if requested.fixed is not None:
        return generators.Fixed(tokens=requested.fixed)
    if requested.uniform is not None:
        return generators.Uniform(low=requested.uniform.low, high=requested.uniform.high)
    if requested.lognormal is not None:
        inputs: dict[str, Any] = requested.lognormal.model_dump()
        return generators.Lognormal(**inputs)
    if requested.empirical is None:
        raise TraceError("lengths need one of fixed, uniform, lognormal and empirical")
    source = read(
        requested.empirical.trace,
        requested.empirical.format,
        options=_options(requested.empirical.columns),
        lengths_only=True,
    )
    values = getattr(source, requested.empirical.column)
    return generators.Empirical(values=values)
