"""A card's power at full load as a function of its clock: two published points and a fit.

275 W at 0.8 GHz and 550 W at 1.2 GHz, and the law of two parameters that passes through both,
P(f) = P(1.2 GHz) (f / 1.2 GHz)^b with b = 1.71. Between the points it is not a measurement.
"""

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Protocol

LOW_HZ, HIGH_HZ = 0.8e9, 1.2e9
"""The clocks of the two points."""


AREA = "chiplet.area_m2"
AIR_W_PER_M2, LIQUID_W_PER_M2 = 0.3e6, 0.5e6
"""Heat that dies may give off beside stacked DRAM: below 0.3 W/mm2 (Hot Chips 37, d-Matrix), at
most 0.5 W/mm2 with liquid (Hot Chips 38, secondary)."""


class Figures(Protocol):
    """Figures of a card by their names, in SI."""

    def __getitem__(self, key: str, /) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDensity:
    """Watts of a card over the area of its dies; packages spread both alike."""

    full_load_w: float
    """At the card's clock."""
    tdp_w: float
    area_m2: float
    """Of all chiplets of the card."""

    @property
    def w_per_mm2(self) -> float:
        return self.full_load_w / self.area_m2 * 1e-6

    @property
    def tdp_w_per_mm2(self) -> float:
        return self.tdp_w / self.area_m2 * 1e-6

    @property
    def above(self) -> str:
        """Which limit of stacked memory the larger of both is above; empty: none."""
        most = max(self.full_load_w, self.tdp_w) / self.area_m2
        if most > LIQUID_W_PER_M2:
            return "liquid"
        return "air" if most > AIR_W_PER_M2 else ""

    def line(self) -> str:
        """The densities beside the limits."""
        limits = f"{AIR_W_PER_M2 / 1e6:g} W/mm2, with liquid {LIQUID_W_PER_M2 / 1e6:g}"
        flag = {"": "within", "air": "ABOVE the first of", "liquid": "ABOVE"}[self.above]
        return (
            f"power density: {self.w_per_mm2:.3f} W/mm2 of {self.area_m2 * 1e6:,.0f} mm2 of dies "
            f"at full load ({self.full_load_w:,.0f} W), {self.tdp_w_per_mm2:.3f} at TDP; "
            f"{flag} what stacked memory bears ({limits})"
        )

    def plain(self) -> dict[str, float | str | None]:
        """As JSON."""
        return {
            "full_load_w_per_mm2": self.w_per_mm2,
            "tdp_w_per_mm2": self.tdp_w_per_mm2,
            "die_area_mm2": self.area_m2 * 1e6,
            "above_limit_of_stacked_memory": self.above or None,
        }


def power_density(figures: Figures, known: Container[str]) -> PowerDensity | None:
    """Of a card at its clock; None where the area of its dies is not known."""
    if AREA not in known:
        return None
    dies = figures["card.packages"] * figures["package.chiplets"]
    return PowerDensity(
        full_load_w=full_load_w(figures, figures["card.clock_hz"]),
        tdp_w=figures["card.tdp_w"],
        area_m2=dies * figures[AREA],
    )


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
