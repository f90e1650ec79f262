"""Synthetic requests: distributions of arrivals and lengths.

All randomness comes from the generator that is passed in. It is split once, so that arrivals,
prompts and outputs are independent: another arrival process gets the same requests.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from corsair_common.limits import refuse_beyond_memory
from corsair_common.units import PS_PER_S, Floats, Integers
from workloads.prefix import SharedPrefix, share_prefixes
from workloads.requests import MOST_TOKENS, Requests, TraceError

DRAWN_BYTES = 114
"""Memory of drawing one request (measured at 1 and 4 million)."""
_LAST_PS = 9.2e18  # int64 picoseconds end here, after 106 days


class Arrivals(Protocol):
    """Arrival process."""

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:
        """Give ``requests`` times in picoseconds, non-decreasing, not yet rounded."""
        ...


class Lengths(Protocol):
    """How many tokens a prompt or an output has."""

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:
        """Give ``requests`` lengths of at least one token."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Independent users: exponential gaps, the first request after the first gap."""

    rate_per_s: float

    def __post_init__(self) -> None:
        _positive("rate_per_s", self.rate_per_s)

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:
        return np.cumsum(rng.exponential(PS_PER_S / self.rate_per_s, requests))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gaps from a gamma distribution, with ``burstiness`` as vLLM's ``bench serve`` has it.

    It is the distribution's shape, at a mean gap of 1 / rate: 1 is Poisson, less is burstier, more
    is steadier. The gaps' coefficient of variation is ``burstiness ** -0.5``.
    """

    rate_per_s: float
    burstiness: float

    def __post_init__(self) -> None:
        _positive("rate_per_s", self.rate_per_s)
        _positive("burstiness", self.burstiness)

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:
        scale_ps = PS_PER_S / self.rate_per_s / self.burstiness
        return np.cumsum(rng.gamma(self.burstiness, scale_ps, requests))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Constant arrivals: request i arrives at i / rate."""

    rate_per_s: float

    def __post_init__(self) -> None:
        _positive("rate_per_s", self.rate_per_s)

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:  # noqa: ARG002
        return np.arange(requests, dtype=np.float64) * (PS_PER_S / self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed loop: each of ``concurrency`` users sends its next request on completion."""

    concurrency: int

    def __post_init__(self) -> None:
        _whole("concurrency", self.concurrency, 1)

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:  # noqa: ARG002
        return np.zeros(requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Independent gaps with measured quantiles, stretched to a mean of exactly 1 / rate."""

    rate_per_s: float
    gaps_s: "Quantiles"

    def __post_init__(self) -> None:
        _positive("rate_per_s", self.rate_per_s)

    def draw_ps(self, requests: int, rng: np.random.Generator) -> Floats:
        stretch = PS_PER_S / self.rate_per_s / self.gaps_s.mean
        return np.cumsum(self.gaps_s.sample(requests, rng) * stretch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same length."""

    tokens: int

    def __post_init__(self) -> None:
        _whole("tokens", self.tokens, 1, MOST_TOKENS)

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:  # noqa: ARG002
        return np.full(requests, self.tokens, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Every whole number from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _whole("low", self.low, 1, MOST_TOKENS)
        _whole("high", self.high, self.low, MOST_TOKENS)

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:
        return rng.integers(self.low, self.high, requests, dtype=np.int64, endpoint=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """The lognormal distribution of this mean and median, rounded and held to 1..``maximum``.

    A lognormal's median is e^mu and its mean e^(mu + sigma^2/2), so sigma = sqrt(2 ln(mean / p50)).
    Clipping lowers the mean a little; it is not made up for.
    """

    mean: float
    p50: float
    maximum: int | None = None

    def __post_init__(self) -> None:
        _positive("p50", self.p50)
        if not self.p50 <= self.mean < math.inf:
            raise TraceError(
                f"a lognormal's mean is at least its median: mean {self.mean}, p50 {self.p50}"
            )
        if self.maximum is not None:
            _whole("maximum", self.maximum, 1, MOST_TOKENS)

    @property
    def sigma(self) -> float:
        return math.sqrt(2 * math.log(self.mean / self.p50))

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:
        return _tokens(rng.lognormal(math.log(self.p50), self.sigma, requests), self.maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empirical:
    """Lengths drawn, with replacement, from those that a trace has."""

    values: Integers

    def __post_init__(self) -> None:
        if not len(self.values) or not self.values.min() >= 1:
            raise TraceError("empirical lengths need at least one value, and all of at least 1")

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:
        return rng.choice(np.asarray(self.values, dtype=np.int64), requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """A distribution defined by quantiles, geometric between neighbouring ones.

    ``values[i]`` is the quantile at ``levels[i]``; levels rise from 0 to 1, values are positive.
    """

    levels: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        levels, values = np.array(self.levels), np.array(self.values)
        if len(levels) != len(values) or len(levels) < 2:
            raise TraceError(f"{len(levels)} levels need as many values, at least 2")
        if levels[0] != 0 or levels[-1] != 1 or not (np.diff(levels) > 0).all():
            raise TraceError(f"levels must rise from 0 to 1, got {self.levels}")
        if not (values[0] > 0 and (np.diff(values) >= 0).all() and np.isfinite(values[-1])):
            raise TraceError(f"quantiles must be positive and must not fall, got {self.values}")

    @property
    def mean(self) -> float:
        """Mean in closed form: between a and b it is (b - a) / ln(b / a)."""
        low, high = np.array(self.values[:-1]), np.array(self.values[1:])
        ratio = np.log(np.where(high > low, high / low, math.e))
        means = np.where(high > low, (high - low) / ratio, low)
        return float(np.sum(means * np.diff(self.levels)))

    def sample(self, requests: int, rng: np.random.Generator) -> Floats:
        return np.exp(np.interp(rng.random(requests), self.levels, np.log(self.values)))

    def draw(self, requests: int, rng: np.random.Generator) -> Integers:
        return _tokens(self.sample(requests, rng), None)


def generate(
    requests: int,
    arrivals: Arrivals,
    prompt_tokens: Lengths,
    output_tokens: Lengths,
    rng: np.random.Generator,
    shared_prefix: SharedPrefix | None = None,
) -> Requests:
    """Draw ``requests`` requests; arrivals, prompts, outputs and prefixes are independent."""
    _whole("requests", requests, 1)
    refuse_beyond_memory(requests * DRAWN_BYTES, f"drawing {requests:,} requests", "draw fewer")
    when, requested, answered, begun = rng.spawn(4)
    times_ps = arrivals.draw_ps(requests, when)
    if not times_ps[-1] < _LAST_PS:
        raise TraceError(
            f"the last of {requests} requests would arrive after {times_ps[-1] / PS_PER_S:.0f} s, "
            f"a run holds {_LAST_PS / PS_PER_S:.0f} s (106 days)"
        )
    prompt = prompt_tokens.draw(requests, requested)
    offsets = ids = None
    if shared_prefix is not None:
        offsets, ids = share_prefixes(shared_prefix, prompt, begun)
    return Requests(
        arrival_ps=np.rint(times_ps).astype(np.int64),
        prompt_tokens=prompt,
        output_tokens=output_tokens.draw(requests, answered),
        hash_offsets=offsets,
        hash_ids=ids,
        hash_block_tokens=0 if shared_prefix is None else shared_prefix.block_tokens,
    )


def _tokens(lengths: Floats, maximum: int | None) -> Integers:
    return np.clip(np.rint(lengths), 1, maximum or MOST_TOKENS).astype(np.int64)


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise TraceError(f"{name} must be positive and finite, got {value}")


def _whole(name: str, value: int, least: int, most: int | None = None) -> None:
    if not (isinstance(value, int) and value >= least):
        raise TraceError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if most is not None and value > most:
        raise TraceError(f"{name} must be at most {most}, got {value!r}")
