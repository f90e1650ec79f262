"""Synthetic sessions: first turns arrive in an open loop, later ones wait for the answers."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from corsair_common.limits import refuse_beyond_memory
from corsair_common.units import PS_PER_S, Floats, Integers
from workloads.requests import FIRST, Requests, TraceError
from workloads.sessions import ordered
from workloads.synthetic import DRAWN_BYTES, Arrivals, Closed, Lengths

LONGEST_DELAY_S = 9.1e6
"""A run holds 106 days."""


class Delays(Protocol):
    """How long a turn comes after the answer before: a think time, or that of a tool."""

    def draw_s(self, requests: int, rng: np.random.Generator) -> Floats:
        """Give ``requests`` delays in seconds, at least 0."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedDelay:
    """Always the same."""

    delay_s: float

    def draw_s(self, requests: int, rng: np.random.Generator) -> Floats:  # noqa: ARG002
        return np.full(requests, self.delay_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialDelay:
    """Exponential with this mean."""

    mean_s: float

    def draw_s(self, requests: int, rng: np.random.Generator) -> Floats:
        return rng.exponential(self.mean_s, requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalDelay:
    """Log-normal with this mean and median."""

    mean_s: float
    p50_s: float

    def draw_s(self, requests: int, rng: np.random.Generator) -> Floats:
        sigma = math.sqrt(2 * math.log(self.mean_s / self.p50_s))
        return rng.lognormal(math.log(self.p50_s), sigma, requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Turns of a session, tokens that a later one adds to its history, and its delay.

    All sessions begin with the same ``system_tokens`` (a system prompt, definitions of tools);
    shorter prompts are lengthened to them.
    """

    turns: Lengths
    added_tokens: Lengths
    delay_s: Delays
    system_tokens: int = 0


def generate_sessions(
    requests: int,
    arrivals: Arrivals,
    prompt_tokens: Lengths,
    output_tokens: Lengths,
    rng: np.random.Generator,
    sessions: Sessions,
) -> Requests:
    """Draw so many requests in sessions, the last of which may be cut short.

    ``arrivals`` and ``prompt_tokens`` are those of first turns. The prompt of a later turn is that
    before, its answer, and what the turn adds.
    """
    if isinstance(arrivals, Closed):
        raise TraceError("sessions need open-loop arrivals (poisson, gamma, constant)")
    refuse_beyond_memory(requests * DRAWN_BYTES, f"drawing {requests:,} requests", "draw fewer")
    when, requested, answered, _, many, adding, waiting = rng.spawn(7)
    turns = _turns(sessions.turns.draw(requests, many), requests)
    starts = np.cumsum(turns) - turns
    first = np.zeros(requests, np.bool_)
    first[starts] = True
    output = output_tokens.draw(requests, answered)
    more = sessions.added_tokens.draw(requests, adding)
    more[1:] += output[:-1]
    more[starts] = np.maximum(prompt_tokens.draw(len(turns), requested), sessions.system_tokens)
    delay_ps = _delays_ps(sessions.delay_s.draw_s(requests, waiting))
    times_ps = arrivals.draw_ps(len(turns), when)
    if not times_ps[-1] < LONGEST_DELAY_S * PS_PER_S:
        raise TraceError(f"the last session would begin after {times_ps[-1] / PS_PER_S:.0f} s")
    whole = np.cumsum(more)
    session = np.repeat(np.arange(len(turns)), turns)
    return _in_order(
        Requests(
            arrival_ps=np.zeros(requests, np.int64),
            prompt_tokens=whole - np.repeat(whole[starts] - more[starts], turns),
            output_tokens=output,
            session=session,
            previous=np.where(first, FIRST, np.arange(requests) - 1),
            delay_ps=np.where(first, 0, delay_ps),
            common_tokens=sessions.system_tokens,
        ),
        np.rint(times_ps).astype(np.int64)[session],
    )


def at_rate(requests: Requests, rate_scale: float) -> Requests:
    """The requests with times of first turns divided by a factor, delays as they are."""
    from workloads.trace import scale_rate

    return _in_order(requests, scale_rate(requests.arrival_ps, rate_scale))


def _turns(turns: Integers, requests: int) -> Integers:
    """As many sessions as it takes for the requests."""
    ends = np.cumsum(turns)
    count = int(np.searchsorted(ends, requests)) + 1
    cut = turns[:count].copy()
    cut[-1] -= ends[count - 1] - requests
    return cut


def _delays_ps(delays_s: Floats) -> Integers:
    if not (delays_s.max(initial=0.0) < LONGEST_DELAY_S and np.isfinite(delays_s).all()):
        raise TraceError(f"a delay of {delays_s.max():.3g} s is longer than a run")
    return np.rint(delays_s * PS_PER_S).astype(np.int64)


def _in_order(requests: Requests, times_ps: Integers) -> Requests:
    """The rows in order of their earliest arrivals, if first turns arrive at these times."""
    previous, delay_ps = np.asarray(requests.previous), np.asarray(requests.delay_ps)
    recorded = (previous == FIRST).astype(np.int64)
    earliest, order = ordered(times_ps, previous, recorded, delay_ps)
    place = np.full(len(order) + 1, FIRST, np.int64)
    place[order] = np.arange(len(order))
    return Requests(
        arrival_ps=earliest[order],
        prompt_tokens=requests.prompt_tokens[order],
        output_tokens=requests.output_tokens[order],
        session=np.asarray(requests.session)[order],
        previous=place[previous[order]],
        delay_ps=delay_ps[order],
        common_tokens=requests.common_tokens,
    )
