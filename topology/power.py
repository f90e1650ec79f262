"""A card's power at full load as a function of its clock: two published points and a fit.

275 W at 0.8 GHz and 550 W at 1.2 GHz, and the law of two parameters that passes through both,
P(f) = P(1.2 GHz) (f / 1.2 GHz)^b with b = 1.71. Between the points it is not a measurement.
"""

import math
from typing import Protocol

LOW_HZ, HIGH_HZ = 0.8e9, 1.2e9
"""The clocks of the two points."""


class Figures(Protocol):
    """Figures of a card by their names, in SI."""

    def __getitem__(self, key: str, /) -> float: ...


def exponent(figures: Figures) -> float:
    """The exponent of the law."""
    low_w, high_w = figures["card.power_at_0_8_ghz_w"], figures["card.power_at_1_2_ghz_w"]
    return math.log(high_w / low_w) / math.log(HIGH_HZ / LOW_HZ)


def full_load_w(figures: Figures, clock_hz: float) -> float:
    """Watts of a fully loaded card at this clock."""
    high_w = figures["card.power_at_1_2_ghz_w"]
    return float(high_w * (clock_hz / HIGH_HZ) ** exponent(figures))


def clock_at(figures: Figures, full_w: float) -> float:
    """The clock at which a fully loaded card draws ``full_w``."""
    high_w = figures["card.power_at_1_2_ghz_w"]
    return float(HIGH_HZ * (full_w / high_w) ** (1 / exponent(figures)))
