"""Seeded samples of several axes at once: independent draws, or a Latin hypercube."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from zlib import crc32

import numpy as np

from corsair_common.units import Floats

Method: TypeAlias = Literal["random", "latin_hypercube"]
METHODS: tuple[Method, ...] = get_args(Method)

SWEEP_STREAM = 5
"""Separates the sampled axes' draws from those of runs that may share the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers from low to high, both included; whole ones where both ends are."""

    low: float
    high: float
    log: bool = False
    """Even in the logarithm."""

    def at(self, share: float) -> float:
        """The quantile of the range at a share from 0 to 1."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        low, high = self.low, self.high + 1 if whole else self.high
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        value = min(max(value, self.low), self.high)
        return math.floor(value) if whole else value


Spread: TypeAlias = Range | tuple[Any, ...]
"""A range, or choices that are equally likely."""


def sample(
    spreads: Mapping[str, Spread], count: int, method: Method, seed: int
) -> list[tuple[Any, ...]]:
    """``count`` rows of one value per spread.

    Each axis has its own generator, so that a further axis does not change the others' values. With
    ``random``, a higher count does not either.
    """
    columns = []
    for name, spread in spreads.items():
        rng = np.random.default_rng([seed, SWEEP_STREAM, crc32(name.encode())])
        shares = rng.random(count) if method == "random" else _strata(count, rng)
        columns.append([_at(spread, float(share)) for share in shares])
    return list(zip(*columns, strict=True))


def _strata(count: int, rng: np.random.Generator) -> Floats:
    """One share from each of ``count`` equal parts of 0 to 1, in random order."""
    shares: Floats = (rng.permutation(count) + rng.random(count)) / count
    return shares


def _at(spread: Spread, share: float) -> Any:
    if isinstance(spread, Range):
        return spread.at(share)
    return _chosen(spread, share)


def _chosen(choices: Sequence[Any], share: float) -> Any:
    return choices[min(int(share * len(choices)), len(choices) - 1)]
