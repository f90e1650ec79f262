"""Acceptance of drafts: from a rate or a distribution to the table of draws of a run."""

import numpy as np

from corsair_common.units import Floats, Integers

DRAWS = 1 << 12
"""Verifications in the table; their mean differs from the distribution's by at most k / DRAWS."""


def geometric(rate: float, drafts: int) -> Floats:
    """[k + 1] probability of each number of accepted drafts if every draft is right at ``rate``.

    The mean number of emitted tokens is ``(1 - rate^(k + 1)) / (1 - rate)`` (Leviathan et al. 2023,
    equation 1).
    """
    reached: Floats = rate ** np.arange(drafts + 1, dtype=np.float64)
    less: Floats = reached - np.append(reached[1:], 0.0)
    return less


def rate_of(mean_length: float, drafts: int) -> float:
    """The rate per draft at which a row emits so many tokens in the mean, 1 to ``drafts + 1``."""
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        if float(np.sum(rate ** np.arange(drafts + 1))) < mean_length:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def draws_of(probabilities: Floats, seed: int) -> Integers:
    """[DRAWS] accepted drafts: the quantiles of the distribution, shuffled."""
    steps = np.cumsum(probabilities / probabilities.sum())[:-1]
    middle = (np.arange(DRAWS) + 0.5) / DRAWS
    table = np.searchsorted(steps, middle, side="right").astype(np.int64)
    return np.random.default_rng([seed, 1]).permutation(table)


def first_draws(requests: int, seed: int) -> Integers:
    """[n] entry of the table with which each request begins."""
    return np.random.default_rng([seed, 2]).integers(0, DRAWS, requests)
