"""Summary statistics of a trace."""

import numpy as np

from corsair_common.units import PS_PER_S, Integers
from workloads.prefix import chain
from workloads.requests import FIRST, Requests
from workloads.sessions import turns_of

_MINUTE_PS = 60 * int(PS_PER_S)
_QUANTILES = (50, 90, 99)


def describe(requests: Requests) -> dict[str, float | int | None]:
    """Measure count, rate, burstiness, lengths and ideal prefix hits.

    ``interarrival_cv`` is the standard deviation of the gaps between arrivals over their mean: 1
    for Poisson, more for bursts. ``dispersion_per_minute`` is the variance of the arrivals per
    whole minute over their mean, 1 for Poisson too; it detects slow swings that the first does not.
    ``peak_rate_per_minute`` counts the busiest of the minutes that begin with the first arrival.
    ``ideal_prefix_hit_rate`` is the share of the trace's prompt blocks that came before with all
    blocks in front of them: what an endless cache would find. What a trace cannot tell is None:
    rates of one request or of requests that all arrive at once, hits without block ids.
    """
    prompt, output = requests.prompt_tokens, requests.output_tokens
    return {
        "requests": len(requests),
        "skipped": requests.skipped,
        "reordered": requests.reordered,
        **_rates(requests.arrival_ps),
        **_lengths("prompt", prompt),
        **_lengths("output", output),
        "total_prompt_tokens": int(prompt.sum()),
        "total_output_tokens": int(output.sum()),
        "hash_block_tokens": requests.hash_block_tokens,
        "ideal_prefix_hit_rate": ideal_prefix_hit_rate(requests),
        **_sessions(requests),
    }


def _sessions(requests: Requests) -> dict[str, float | int | None]:
    """Sessions, turns and delays, if there are any; arrivals are then the earliest."""
    if requests.session is None or requests.previous is None or requests.delay_ps is None:
        return {}
    waits = requests.delay_ps[requests.previous != FIRST]
    sessions = int(requests.session.max()) + 1
    return {
        "sessions": sessions,
        "mean_turns": len(requests) / sessions,
        "max_turns": int(turns_of(requests.previous).max()) + 1,
        "mean_delay_s": float(waits.mean()) / PS_PER_S,
    }


def ideal_prefix_hit_rate(requests: Requests) -> float | None:
    """Return the share of prompt blocks, partial ones included, that an earlier prompt had.

    A block hits only if all blocks before it hit.
    """
    offsets, ids = requests.hash_offsets, requests.hash_ids
    if offsets is None or ids is None or not len(ids):
        return None
    return 1 - len(np.unique(chain(offsets, ids))) / len(ids)


def _rates(arrival_ps: Integers) -> dict[str, float | int | None]:
    span_ps = int(arrival_ps[-1] - arrival_ps[0])
    rates: dict[str, float | int | None] = {
        "first_arrival_s": int(arrival_ps[0]) / PS_PER_S,
        "duration_s": span_ps / PS_PER_S,
        "mean_rate_per_s": None,
        "peak_rate_per_minute": None,
        "interarrival_cv": None,
        "dispersion_per_minute": None,
    }
    if span_ps:
        gaps = np.diff(arrival_ps).astype(np.float64)
        rates["mean_rate_per_s"] = len(gaps) / (span_ps / PS_PER_S)
        rates["interarrival_cv"] = float(gaps.std() / gaps.mean())
        minutes = (arrival_ps - arrival_ps[0]) // _MINUTE_PS
        per_minute = np.unique(minutes, return_counts=True)[1]
        rates["peak_rate_per_minute"] = int(per_minute.max())
        rates["dispersion_per_minute"] = _dispersion(minutes, span_ps // _MINUTE_PS)
    return rates


def _dispersion(minutes: Integers, whole: int) -> float | None:
    """Return variance over mean of counts in ``whole`` minutes, empty ones included."""
    counts = np.unique(minutes[minutes < whole], return_counts=True)[1].astype(np.float64)
    if whole < 2:
        return None
    mean = float(counts.sum()) / whole
    variance = float((counts**2).sum()) / whole - mean**2
    return variance / mean


def _lengths(name: str, tokens: Integers) -> dict[str, float | int | None]:
    quantiles = np.percentile(tokens, _QUANTILES)
    return {
        f"mean_{name}_tokens": float(tokens.mean()),
        **{f"p{q}_{name}_tokens": float(at) for q, at in zip(_QUANTILES, quantiles, strict=True)},
        f"max_{name}_tokens": int(tokens.max()),
    }
