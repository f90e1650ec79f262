"""The energy of all cards together, by part and over time."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.energy.coefficients import (
    PS_PER_S,
    Floats,
    Joules,
    bin_seconds,
    card_joules,
    idle_joules,
)
from cluster.perf_model.energy.facility import Facility, facility_power_w
from cluster.perf_model.energy.operations import ProgramEnergy
from cluster.perf_model.timeline import Bins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spent:
    """Joules of the cards of a run, in the window that the run is measured in."""

    parts_j: Floats
    """[parts]"""
    bin_j: Floats
    """[bin]"""
    bin_s: Floats
    """[bin] the last one ends with the run."""
    lasted_s: float
    """All bins together."""
    parts: tuple[str, ...]
    """Where the device's energy goes."""

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
        parts_j=total.sum(axis=0),
        bin_j=total.sum(axis=1),
        bin_s=bin_seconds(bins, end_ps),
        lasted_s=max(0, end_ps - bins.start_ps) / PS_PER_S,
        parts=joules.parts,
    )


def spent_by_ranks(energy: ProgramEnergy, end_ps: int) -> Spent:
    """The same of a program, with the static watts of all its cards."""
    lasted_s = end_ps / PS_PER_S
    parts_j = energy.ranks_j.sum(axis=0)
    parts_j[energy.parts.index("static")] += energy.static_w * lasted_s * energy.cards
    return Spent(
        parts_j=parts_j,
        bin_j=np.array([parts_j.sum()]),
        bin_s=np.array([lasted_s]),
        lasted_s=lasted_s,
        parts=energy.parts,
    )


def facility_w(facility: Facility, energy: Spent) -> tuple[dict[str, float], float] | None:
    """Mean watts of the facility by part, and all together; None where no time passes."""
    if energy.mean_w is None:
        return None
    ethernet_w = float(energy.parts_j[energy.parts.index("ethernet")]) / energy.lasted_s
    return facility_power_w(facility, energy.mean_w, ethernet_w)
