"""What may be true of a machine before anything is measured: figures in their ranges, settings.

A figure whose range is its source's has the catalogue's value as its median and even halves, as
for every study of uncertainty (``cluster.studies.draws``). One that was fitted on published points
must not be centred on that fit: it is even in the logarithm from its low to its high.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import ClassVar

import numpy as np

from cluster.studies.calibration.cases import SHARED, Machine
from cluster.studies.draws import CALIBRATED, TIMELESS, at_share
from corsair_common.units import Floats
from topology.catalog import Figure, load_hardware
from topology.catalog.figures import nearest

TIMED_FITS = ("card.dispatch_s",)
"""Of the fitted figures, those that times depend on."""
RECIPROCAL = ("B/s", "B/clk", "fraction")
"""Units of figures that times are inversely proportional to; others are proportional."""


class CalibrationError(ValueError):
    """Figures, rows or settings that cannot be calibrated; the message names them."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Figures that are fitted, and all combinations of settings, each equally likely."""

    figures: tuple[Figure, ...]
    settings: tuple[Mapping[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(figure.name for figure in self.figures)

    def values(self, shares: Floats) -> Floats:
        """[n, figure] figures in SI at these shares (0 to 1) of their ranges."""
        columns = [_values(figure, shares[:, i]) for i, figure in enumerate(self.figures)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(shares), 0))

    def coordinates(self, values: Floats) -> Floats:
        """[n, figure] -1 to 1 over each range, in units in which times are nearly linear."""
        found = np.empty_like(values)
        for i, figure in enumerate(self.figures):
            low, high, own = (_linear(figure, x) for x in (figure.low, figure.high, values[:, i]))
            found[:, i] = (2 * own - low - high) / (high - low)
        return found

    def machine(self, values: Sequence[float], setting: int) -> Machine:
        """The machine of a row of values."""
        return Machine(
            figures=dict(zip(self.names, map(float, values), strict=True)),
            settings=self.settings[setting],
        )


def prior_of(patterns: Sequence[str] = ("*",)) -> Prior:
    """All figures that times depend on, that are uncertain, and whose names match.

    Raises
    ------
    CalibrationError
        A pattern that matches no such figure, or none at all.
    """
    if not patterns:
        raise CalibrationError("--fit: at least one figure, or *, is needed")
    known = load_hardware(CALIBRATED).figures
    free = {
        name: figure
        for name, figure in known.items()
        if not _timeless(figure) and (figure.uncertain or name in TIMED_FITS)
    }
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in free):
            raise CalibrationError(_unmatched(pattern, known, free))
    return Prior(
        figures=tuple(
            figure
            for name, figure in free.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ),
        settings=tuple(
            dict(zip(SHARED, values, strict=True)) for values in product(*SHARED.values())
        ),
    )


def coordinates_of(settings: Mapping[str, str], said: Mapping[str, str]) -> list[float]:
    """-1 or 1 for each setting of SHARED, by what a case says before what the machine has."""
    chosen = {**settings, **said}
    return [2.0 * values.index(chosen[name]) - 1.0 for name, values in SHARED.items()]


def _unmatched(pattern: str, known: Mapping[str, Figure], free: Mapping[str, Figure]) -> str:
    names = [name for name in known if fnmatchcase(name, pattern)]
    if not names:
        return f"--fit: no figure {nearest(pattern, known)}; corsair-sim hardware show corsair"
    if all(_timeless(known[name]) for name in names):
        why = "no time depends on it"
    else:
        why = "its range is empty, or a choice's"
    return f"--fit: {names[0]} cannot be fitted: {why}; for example {', '.join(list(free)[:3])}"


def _timeless(figure: Figure) -> bool:
    return figure.name.startswith(TIMELESS) or figure.unit == "W"


def _values(figure: Figure, shares: Floats) -> Floats:
    if figure.range == "fit":
        low, high = math.log(figure.low), math.log(figure.high)
        fitted: Floats = np.exp(low + shares * (high - low))
        return fitted
    if figure.whole:
        return np.array([at_share(figure, float(share)) for share in shares])
    return np.interp(shares, (0.0, 0.5, 1.0), (figure.low, figure.value, figure.high))


def _linear(figure: Figure, value: Floats | float) -> Floats | float:
    """A figure's value, or its inverse, as times depend on it."""
    inverse = figure.unit in RECIPROCAL or figure.name == "simd.lanes"
    return 1.0 / value if inverse and figure.low > 0 else value
