"""What chance makes of numbers of requests; compiled but for the first."""

import math

import numpy as np

from cluster.compiled import called

FULLEST = 0.98
"""Of the time that a stage may be busy with prompts; above it nothing decodes."""
LEAST = 1e-9


def largest_of(numbers: int) -> float:
    """Deviations above the mean of the largest of so many independent normal numbers."""
    places = np.linspace(-8.0, 8.0, 3201)
    under_all = np.array([0.5 * (1.0 + math.erf(x / math.sqrt(2.0))) for x in places]) ** numbers
    return float(8.0 - np.trapezoid(under_all, places))  # the mean of what is at most 8


@called
def density(place: float) -> float:
    """Of a normal number."""
    return float(math.exp(-0.5 * place * place) / math.sqrt(2.0 * math.pi))


@called
def under(place: float) -> float:
    """The chance that a normal number is less."""
    return float(0.5 * (1.0 + math.erf(place / math.sqrt(2.0))))


@called
def capped(most: float, mean: float, deviation: float) -> float:
    """The mean of a normal number that counts as ``most`` where it is more."""
    above = (most - mean) / max(deviation, LEAST)
    return float(most - deviation * (density(above) + above * under(above)))


@called
def limited(above: float) -> float:
    """What is left of the variance of a normal number that cannot exceed its mean by more than so
    many deviations."""
    lower = density(above) / under(above)
    return float(1.0 - above * lower - lower * lower)


@called
def open_slot(slots: float, inside: float, group: float) -> float:
    """The chance that fewer are inside than there are slots: their number taken for a normal, with
    ``group`` its variance over its mean."""
    return under((slots - 0.5 - inside) / math.sqrt(max(inside * group, LEAST)))


@called
def gathered(number: float) -> float:
    """How many come in a time in which ``number`` are expected, if any does."""
    return float(number / (1.0 - math.exp(-number))) if number > 1e-6 else 1.0


@called
def built_up(filling: float, one_server: bool) -> float:
    """How many of the prompts of a busy time are done at a moment of it, as a part of all of them.

    Starts and ends of a busy time look alike in both directions of time, so a moment finds
    ``(E[n B] - w E[n]) / (2 E[B])`` done, for n prompts of w each in a time B: known in closed form
    for one server of constant service, and for servers without number.
    """
    if filling < 1e-6:
        return 0.0
    if not one_server:
        return float(1.0 - filling / (math.exp(filling) - 1.0))
    load = min(filling, FULLEST)
    return float((1.0 / (1.0 - load) - (1.0 - load)) / 2.0)
