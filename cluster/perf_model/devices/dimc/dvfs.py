"""Energy per operation as a function of the clock, fitted to the card's published power.

Of the power at full load (``topology.power``), static watts and LPDDR at full rate do not depend on
the clock; the rest is proportional to the rate of work. So the rest over f is the energy of one
operation, relative to that at the clock of the catalogue's energies. Below 0.8 GHz the voltage is
assumed constant.
"""

from cluster.perf_model.protocols import Figures
from corsair_common.units import BYTE_BITS
from topology.power import LOW_HZ, full_load_w


def lpddr_w(figures: Figures) -> float:
    """Watts of a card's LPDDR at its sustained rate."""
    chiplets = figures["card.packages"] * figures["package.chiplets"]
    rate = figures["chiplet.lpddr_bandwidth_bytes_per_s"] * figures["chiplet.lpddr_efficiency"]
    return float(chiplets * rate * BYTE_BITS * figures["energy.lpddr_j_per_bit"])


def energy_scale(figures: Figures) -> float:
    """Energy of an on-die operation at the card's clock, relative to the catalogue's.

    1 at ``energy.clock_hz``. If static power leaves nothing for work (inconsistent figures),
    energies are not scaled.
    """
    held_hz, clock_hz = figures["energy.clock_hz"], figures["card.clock_hz"]
    still_w = figures["card.static_w"] + lpddr_w(figures)
    chosen_hz = max(clock_hz, min(LOW_HZ, held_hz))
    there, here = (
        (full_load_w(figures, clock) - still_w) / clock for clock in (held_hz, chosen_hz)
    )
    return here / there if here > 0 and there > 0 else 1.0
