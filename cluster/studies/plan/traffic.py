"""Means of the traffic for an analytic score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, UNBOUNDED
from cluster.studies.plan.bursts import Bursts, bursts_of, bursty, no_bursts
from corsair_common.units import Floats, Integers

GROUPS = 8
"""Most classes of prompts by length, each with equally many requests."""

Near: TypeAlias = tuple[float, float] | None
"""A load and a number of slots that tables of bursts are made around; None: whole tables."""
NO_TABLES = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traffic:
    """Means of the requests, independent of their arrival times."""

    prompts: Floats
    """[g, 2] mean prompt tokens of each class of prompts, the longest first, and its share."""
    decodes: float
    """Mean of a request's steps after its first token."""
    blocks: Mapping[int, float]
    """By the most 64-token KV blocks that a decoding row reads (UNBOUNDED: the whole context),
    the mean that it does read."""
    varied: float
    """Variance over the square of the mean, of prompts and of the gaps between arrivals, less 1:
    0 for equal prompts of independent users, or of bursts (``bursts``)."""
    random: float
    """The variation of gaps between arrivals, 1 at most; 0 for regular arrivals."""
    prompt_tokens: float
    output_tokens: float
    sequences: Integers
    """Peak KV tokens of each request, in ascending order."""
    bursts: Bursts
    stays: Integers
    """Output tokens of the same requests: how long each holds its KV, in steps."""


def traffic_of(
    prompt_tokens: Integers,
    output_tokens: Integers,
    reaches: Sequence[int],
    arrival_ps: Integers | None = None,
    *,
    load: float | None = None,
    carried: bool = False,
    near: Near = None,
) -> Traffic:
    """Describe requests by their lengths, as layers see them in which a row reads at
    most ``reaches`` blocks.

    ``load`` is that of all candidates, if it is the same; ``near`` which tables of bursts are made.
    Without ``arrival_ps`` arrivals are taken as independent. If the KV of prompts is ``carried``
    from another pool, one token of each is computed.
    """
    chunked = np.ones_like(prompt_tokens) if carried else prompt_tokens
    decodes = float(np.mean(output_tokens - 1))
    lengths = prompt_tokens + output_tokens - 1
    order = np.argsort(lengths, kind="stable")
    gaps, bursts = _gaps(arrival_ps), no_bursts()
    if arrival_ps is not None and bursty(arrival_ps):
        gaps = 1.0
        if near != NO_TABLES:
            bursts = bursts_of(arrival_ps, chunked, output_tokens, load, near)
    return Traffic(
        prompts=_classes(chunked),
        decodes=decodes,
        blocks={
            most: _blocks(prompt_tokens, output_tokens, most) for most in {UNBOUNDED, *reaches}
        },
        varied=_variation(chunked) + gaps - 1.0,
        random=min(1.0, gaps),
        prompt_tokens=float(chunked.mean()),
        output_tokens=float(output_tokens.mean()),
        sequences=lengths[order],
        bursts=bursts,
        stays=output_tokens[order],
    )


def _classes(prompt_tokens: Integers) -> Floats:
    """Groups of similar length; at most one class per distinct length."""
    ordered = np.sort(prompt_tokens)[::-1]
    if ordered[0] == ordered[-1]:
        return np.array([[ordered[0], 1.0]], np.float64)
    parts = np.array_split(ordered, min(GROUPS, len(ordered)))
    return np.array([[part.mean(), len(part) / len(ordered)] for part in parts], np.float64)


def _blocks(prompt_tokens: Integers, output_tokens: Integers, widest: int) -> float:
    """Mean over all decoding rows: a request's contexts run from prompt + 1 on, one each."""
    first, last = prompt_tokens + 1, prompt_tokens + output_tokens - 1
    seen = _sum_blocks(last, widest) - _sum_blocks(first - 1, widest)
    rows = int((output_tokens - 1).sum())
    return float(seen.sum()) / rows if rows else 0.0


def _sum_blocks(context: Integers, widest: int) -> Integers:
    """Sum of ``min(ceil(c / 64), widest)`` over c = 1..context."""
    whole, rest = context // BLOCK_TOKENS, context % BLOCK_TOKENS
    if widest == UNBOUNDED:
        total: Integers = BLOCK_TOKENS * whole * (whole + 1) // 2 + rest * (whole + 1)
        return total
    short = np.minimum(context, widest * BLOCK_TOKENS)
    return _sum_blocks(short, UNBOUNDED) + (context - short) * widest


def _variation(values: Integers) -> float:
    """Variance over the square of the mean."""
    return float((values.std() / values.mean()) ** 2)


def _gaps(arrival_ps: Integers | None) -> float:
    """The variation of gaps between arrivals; 1, as for independent ones, if all arrive at once."""
    if arrival_ps is None or len(arrival_ps) < 3 or arrival_ps[-1] == arrival_ps[0]:
        return 1.0
    return _variation(np.diff(arrival_ps))
