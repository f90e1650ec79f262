"""Normal approximations of numbers of requests; all but the first function are compiled."""

import math
from functools import lru_cache

import numpy as np

from cluster.compiled import called

FULLEST = 0.98
"""Largest utilization of a stage by prompts; above it nothing decodes."""
LEAST = 1e-9


@lru_cache(maxsize=256)
def largest_of(numbers: int) -> float:
    """Expected maximum of independent standard normal numbers."""
    places = np.linspace(-8.0, 8.0, 3201)
    under_all = np.array([0.5 * (1.0 + math.erf(x / math.sqrt(2.0))) for x in places]) ** numbers
    return float(8.0 - np.trapezoid(under_all, places))  # the mean of a number that is at most 8


@called
def density(place: float) -> float:
    """Density of the standard normal distribution."""
    return float(math.exp(-0.5 * place * place) / math.sqrt(2.0 * math.pi))


@called
def under(place: float) -> float:
    """Distribution function of the standard normal distribution."""
    return float(0.5 * (1.0 + math.erf(place / math.sqrt(2.0))))


@called
def capped(most: float, mean: float, deviation: float) -> float:
    """The mean of a normal number that is capped at ``most``."""
    above = (most - mean) / max(deviation, LEAST)
    return float(most - deviation * (density(above) + above * under(above)))


@called
def limited(above: float) -> float:
    """Remaining fraction of the variance of a normal number truncated at ``above`` deviations over
    its mean."""
    lower = density(above) / under(above)
    return float(1.0 - above * lower - lower * lower)


@called
def open_slot(slots: float, inside: float, group: float) -> float:
    """Probability of fewer requests inside than slots; their number is taken as normal, with
    ``group`` its variance over its mean."""
    return under((slots - 0.5 - inside) / math.sqrt(max(inside * group, LEAST)))


@called
def gathered(number: float) -> float:
    """Mean of a Poisson number with mean ``number``, if it is not 0."""
    return float(number / (1.0 - math.exp(-number))) if number > 1e-6 else 1.0


@called
def built_up(filling: float, one_server: bool) -> float:
    """Fraction of the prompts of a busy period that are done at a random moment in it.

    Starts and ends of a busy period are symmetric in time, so a random moment finds
    ``(E[n B] - w E[n]) / (2 E[B])`` done, for n prompts of w each in a period B: known in closed
    form for M/D/1 and for M/D/infinity.
    """
    if filling < 1e-6:
        return 0.0
    if not one_server:
        return float(1.0 - filling / (math.exp(filling) - 1.0))
    load = min(filling, FULLEST)
    return float((1.0 / (1.0 - load) - (1.0 - load)) / 2.0)
