"""The energy of all cards together, by part and over time."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.energy.coefficients import Joules, bin_seconds, card_joules, idle_joules
from cluster.perf_model.energy.facility import Facility, facility_power_w
from cluster.perf_model.timeline import Bins
from corsair_common.units import PS_PER_S, Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spent:
    """Joules of the cards of a run, in the window that the run is measured in."""

    parts: tuple[str, ...]
    parts_j: Floats
    """[parts]"""
    bin_j: Floats
    """[bin]"""
    bin_s: Floats
    """[bin] the last one ends with the run."""
    lasted_s: float
    """All bins together."""

    @property
    def energy_j(self) -> float:
        return float(self.parts_j.sum())

    @property
    def mean_w(self) -> float | None:
        return self.energy_j / self.lasted_s if self.lasted_s else None

    @property
    def peak_w(self) -> float | None:
        """Mean power of the bin that has the highest."""
        if not self.lasted_s:
            return None
        return float(np.max(self.bin_j[self.bin_s > 0] / self.bin_s[self.bin_s > 0]))


def spent(joules: Joules, bins: Bins, *, cards: int, end_ps: int) -> Spent:
    """Sum over ``cards``, of which those that have no rank only wait, until ``end_ps``."""
    replicas, stages = bins.counts.shape[:2]
    each = joules.cards_per_stage
    spare = cards - replicas * stages * each
    total = spare * idle_joules(joules, bins, end_ps)
    for replica in range(replicas):
        for stage in range(stages):
            total += each * card_joules(joules, bins, (replica, stage), end_ps)
    return Spent(
        parts=joules.parts,
        parts_j=total.sum(axis=0),
        bin_j=total.sum(axis=1),
        bin_s=bin_seconds(bins, end_ps),
        lasted_s=max(0, end_ps - bins.start_ps) / PS_PER_S,
    )


def spent_by_ranks(
    ranks_j: Floats, parts: tuple[str, ...], *, static_w: float, cards: int, end_ps: int
) -> Spent:
    """The same of a program: ``ranks_j[rank, parts]`` and the static watts of all ``cards``."""
    lasted_s = end_ps / PS_PER_S
    parts_j = ranks_j.sum(axis=0)
    parts_j[parts.index("static")] += static_w * lasted_s * cards
    return Spent(
        parts=parts,
        parts_j=parts_j,
        bin_j=np.array([parts_j.sum()]),
        bin_s=np.array([lasted_s]),
        lasted_s=lasted_s,
    )


def facility_w(facility: Facility, energy: Spent) -> tuple[dict[str, float], float] | None:
    """Mean watts of the facility by part, and all together; None where no time passes."""
    if energy.mean_w is None:
        return None
    ethernet_w = float(energy.parts_j[energy.parts.index("ethernet")]) / energy.lasted_s
    return facility_power_w(facility, energy.mean_w, ethernet_w)
