"""Student's t quantiles for 95 % confidence intervals of few samples."""

import math

from results.errors import ResultsError

_TAIL = 0.025
_STEPS = 200
"""Bisection steps: beyond the resolution of float64."""


def quantile_975(degrees: int) -> float:
    """The 97.5 % quantile of the t distribution with ``degrees`` of freedom.

    Examples
    --------
    >>> round(quantile_975(1), 3), round(quantile_975(10), 3)
    (12.706, 2.228)
    """
    if degrees < 1:
        raise ResultsError(f"an interval needs at least two samples, got {degrees + 1}")
    low, high = 0.0, 16.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _above(middle, degrees) > _TAIL else (low, middle)
    return high


def _above(t: float, degrees: int) -> float:
    """Probability of more than ``t`` >= 0: the finite sums of Abramowitz and Stegun 26.7.3-4."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine2 = math.cos(angle) ** 2
    if degrees % 2:
        term = math.cos(angle)
        total = 0.0
        for power in range(3, degrees + 1, 2):
            total += term
            term *= (power - 1) / power * cosine2
        between = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        term, total = 1.0, 0.0
        for power in range(2, degrees + 1, 2):
            total += term
            term *= (power - 1) / power * cosine2
        between = math.sin(angle) * total
    return (1 - between) / 2
