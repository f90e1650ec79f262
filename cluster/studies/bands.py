"""What uncertainty leaves of a metric: its ends with one figure moved, its band with all drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from topology.catalog import Figure

PERCENTS = (5.0, 50.0, 95.0)
LEAST_SWING = 1e-6
"""Relative change of a metric below which a figure has no effect."""


Row = Mapping[str, Any]
"""A point of a sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """A metric with one figure at its low and at its high, all else unchanged."""

    figure: str
    confidence: str
    low: float | None
    """None if the scenario cannot run with it."""
    high: float | None
    base: float

    @property
    def size(self) -> float:
        """The widest move from the base, relative to it."""
        ends = [end for end in (self.low, self.high) if end is not None]
        return max((abs(end - self.base) for end in ends), default=0.0) / abs(self.base or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A metric over the draws."""

    metric: str
    base: float
    """With the catalogue's values."""
    p5: float
    p50: float
    p95: float
    samples: int
    """Draws that could be run."""

    @property
    def holds(self) -> bool:
        """Whether the value as it is lies within."""
        return self.p5 <= self.base <= self.p95


def swings_of(
    metric: str, base: Row, alone: Sequence[Row | None], figures: Sequence[Figure]
) -> tuple[Swing, ...]:
    """The swings of a metric; ``alone`` has two rows for each figure, at its low and its high."""
    found = [
        Swing(
            figure=figure.name,
            confidence=figure.confidence,
            low=_value(alone[2 * i], metric),
            high=_value(alone[2 * i + 1], metric),
            base=float(base[metric]),
        )
        for i, figure in enumerate(figures)
    ]
    some = [swing for swing in found if swing.size > LEAST_SWING]
    return tuple(sorted(some, key=lambda swing: -swing.size))


def band_of(metric: str, base: Row, joint: Sequence[Row | None]) -> Band | None:
    """The band of a metric over the draws; None if none could be run."""
    values = [value for row in joint if (value := _value(row, metric)) is not None]
    if not values:
        return None
    p5, p50, p95 = (float(value) for value in np.percentile(values, PERCENTS))
    return Band(
        metric=metric, base=float(base[metric]), p5=p5, p50=p50, p95=p95, samples=len(values)
    )


def _value(row: Row | None, metric: str) -> float | None:
    return None if row is None else row.get(metric)
