"""A run beside measured results of the same traffic: ``vllm bench serve``'s numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.api import Run
from results.compare import units_of
from results.errors import ResultsError
from results.summary import flatten

BAND_OF = {"_ttft_ms": "ttft", "_tpot_ms": "tpot", "_itl_ms": "tpot"}
"""Ends of the names of times for which runs have a band of errors."""
COUNTS = ("completed", "total_input_tokens", "total_output_tokens")
"""Numbers that say whether the traffic was the same."""
OURS = ("model_version",)
"""Numbers of our own exports that measure nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One number of both."""

    key: str
    unit: str
    simulated: float
    measured: float
    band: tuple[float, float] | None
    """What would be measured nine times of ten, by the run's trust; None where no band is known."""

    @property
    def ratio(self) -> float | None:
        """Simulated over measured."""
        return self.simulated / self.measured if self.measured else None

    @property
    def inside(self) -> bool | None:
        """Whether the measured value lies in the band; None without one."""
        if self.band is None:
            return None
        return self.band[0] <= self.measured <= self.band[1]


def beside(run: Run, measured: Mapping[str, float]) -> list[Beside]:
    """The numbers that both have, in the order of the run's summary.

    Raises
    ------
    ResultsError
        They have no number in common.
    """
    own, units = flatten(run.summary), units_of(run)
    trust = run.manifest.get("trust", {})
    found = [
        Beside(
            key=key,
            unit=unit,
            simulated=float(value),
            measured=measured[key],
            band=_band(key, float(value), trust),
        )
        for key, unit in units.items()
        if key in measured and key not in OURS
        if isinstance(value := own.get(key), int | float)
    ]
    if not found:
        raise ResultsError("the run and the measured results have no number in common")
    return found


def other_traffic(rows: list[Beside]) -> list[str]:
    """Counts that differ: the run is not of the traffic that was measured."""
    return [row.key for row in rows if row.key in COUNTS and row.simulated != row.measured]


def _band(key: str, simulated: float, trust: Mapping[str, Any]) -> tuple[float, float] | None:
    """The errors are predicted over measured, less one."""
    for end, metric in BAND_OF.items():
        if key.startswith("std_"):
            break
        if key.endswith(end) and metric in trust:
            band = trust[metric]
            return simulated / (1 + band["high"]), simulated / (1 + band["low"])
    return None
