"""A card's power at full load as a function of its clock, and what that says of one operation.

Two published points, 275 W at 0.8 GHz and 550 W at 1.2 GHz, and a law of two parameters through
them, P(f) = P(1.2 GHz) (f / 1.2 GHz)^b with b = 1.71: a fit, which says nothing of its own between.
Of P, the static watts and LPDDR at full rate do not move with the clock; the rest is work whose
rate does, so the rest over f is the energy of one operation, relative to that at the clock for
which the catalogue's energies hold. Below 0.8 GHz the voltage is taken not to fall further.
"""

import math

from cluster.machine.views import Figures

LOW_HZ, HIGH_HZ = 0.8e9, 1.2e9
"""The clocks of the two points."""

BYTE_BITS = 8


def full_load_w(figures: Figures, clock_hz: float) -> float:
    """The law: watts of a fully loaded card at this clock."""
    high_w = figures["card.power_at_1_2_ghz_w"]
    return float(high_w * (clock_hz / HIGH_HZ) ** exponent(figures))


def exponent(figures: Figures) -> float:
    """The steepness of the law."""
    low_w, high_w = figures["card.power_at_0_8_ghz_w"], figures["card.power_at_1_2_ghz_w"]
    return math.log(high_w / low_w) / math.log(HIGH_HZ / LOW_HZ)


def clock_at(figures: Figures, cap_w: float) -> float:
    """The clock at which a fully loaded card draws ``cap_w``."""
    high_w = figures["card.power_at_1_2_ghz_w"]
    return float(HIGH_HZ * (cap_w / high_w) ** (1 / exponent(figures)))


def lpddr_w(figures: Figures) -> float:
    """LPDDR of a card at the rate that it sustains."""
    chiplets = figures["card.packages"] * figures["package.chiplets"]
    rate = figures["chiplet.lpddr_bandwidth_bytes_per_s"] * figures["chiplet.lpddr_efficiency"]
    return float(chiplets * rate * BYTE_BITS * figures["energy.lpddr_j_per_bit"])


def energy_scale(figures: Figures) -> float:
    """Energy of an on-die operation at the card's clock, relative to the catalogue's.

    1 at ``energy.clock_hz``. Where so much is static that nothing would be left for work (figures
    that contradict each other), energies stay what they are.
    """
    held_hz, clock_hz = figures["energy.clock_hz"], figures["card.clock_hz"]
    still_w = figures["card.static_w"] + lpddr_w(figures)
    chosen_hz = max(clock_hz, min(LOW_HZ, held_hz))
    there, here = (
        (full_load_w(figures, clock) - still_w) / clock for clock in (held_hz, chosen_hz)
    )
    return here / there if here > 0 and there > 0 else 1.0
