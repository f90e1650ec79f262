"""Calibration of Corsair's figures on measured rows: the set of machines that explain them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import process_time

import numpy as np

from cluster.studies.calibration import answers as tables
from cluster.studies.calibration.cases import Machine, times_of
from cluster.studies.calibration.information import Worth, worth
from cluster.studies.calibration.measurements import (
    MODEL_ERROR,
    Measurement,
    candidates,
    measured,
    published,
    questions,
)
from cluster.studies.calibration.posterior import (
    SAMPLES,
    Sample,
    sample_posterior,
    sample_prior,
)
from cluster.studies.calibration.priors import CalibrationError, Prior, prior_of
from cluster.studies.calibration.surface import Surface, fit_surface
from corsair_common.units import Floats

MACHINES = 128
"""Machines of the set that is stored."""
LEFT = 0.95
"""Of the prior's standard deviation: figures with more are left to the catalogue."""
CHECKED = 32
"""Of them, those whose answers are priced exactly, beside the surface's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """The result."""

    rows: tuple[Measurement, ...]
    surface: Surface
    before: Sample
    after: Sample
    answers: tuple[tables.Answer, ...]
    odds: tuple[tables.Odds, ...]
    undecided: tuple[str, ...]
    """Settings of which the rows say nothing."""
    figures: tuple[tables.Spread, ...]
    together: tuple[tuple[str, str, float], ...]
    held: int
    """Independent combinations of figures that the rows narrow."""
    next: tuple[Worth, ...]
    fitted: Machine
    """The likeliest settings, and the medians of the figures that the rows narrow with these; all
    others keep the catalogue's value."""
    as_fitted: tuple[float, ...]
    """[row] what the exact model says of the fitted machine, with the row's likeliest case."""
    surface_error: float
    """Largest relative difference of an answer from the exact model's, over CHECKED machines."""
    cpu_s: float

    @property
    def machines(self) -> tuple[Machine, ...]:
        """MACHINES equally likely machines of the set."""
        prior = self.surface.prior
        return tuple(
            prior.machine(values, int(setting))
            for values, setting in zip(
                self.after.values[:MACHINES], self.after.settings[:MACHINES], strict=True
            )
        )


def fit(
    rows: Sequence[Measurement] | None = None,
    *,
    figures: Sequence[str] = ("*",),
    asked: Sequence[Measurement] | None = None,
    offered: Sequence[Measurement] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    model_error: float = MODEL_ERROR,
) -> Calibration:
    """Find the machines that explain measured rows, and what they say of other questions.

    Parameters
    ----------
    rows
        The measurements; the two published points by default.
    figures
        Names of the figures that are unknown, ``*`` allowed; others keep the catalogue's value.
    asked
        Questions, as measurements without a value; TTFT, prefill rate and TPOT of three models by
        default.
    offered
        Measurements that could be made next.
    samples
        Machines that are tried in a round, each with every combination of settings.
    seed
        Of all random numbers.
    model_error
        Relative standard error of the model where its figures are right.

    Raises
    ------
    CalibrationError
        No row, no such figure, or no machine that explains the rows.
    """
    began = process_time()
    rows = tuple(published() if rows is None else rows)
    if not measured(rows):
        raise CalibrationError("no row has a value: there is nothing to calibrate on")
    prior = prior_of(figures)
    asked = tuple(questions() if asked is None else asked)
    if offered is None:  # to measure the answer itself needs no study
        answers = {each.cases for each in asked}
        offered = [each for each in candidates(rows, prior.names) if each.cases not in answers]
    cases = dict.fromkeys(case for each in (*rows, *asked, *offered) for case in each.cases)
    surface = fit_surface(prior, tuple(cases), seed)
    after = sample_posterior(surface, rows, samples=samples, seed=seed, model_error=model_error)
    before = sample_prior(surface, len(after.settings), seed)
    fitted = _fitted(surface, before, after)
    return Calibration(
        rows=rows,
        surface=surface,
        before=before,
        after=after,
        answers=tables.answers(surface, asked, before, after),
        odds=tables.odds(surface, rows, after),
        undecided=tuple(tables.undecided(surface, rows, after)),
        figures=tables.spreads(surface, before, after),
        together=tuple(tables.together(surface, after)),
        held=tables.held(before, after),
        next=worth(surface, after, (rows, offered), asked, seed=seed, model_error=model_error)
        if asked
        else (),
        fitted=fitted,
        as_fitted=_as_fitted(rows, after, fitted),
        surface_error=_surface_error(surface, asked, after),
        cpu_s=process_time() - began,
    )


def _likeliest(sample: Sample) -> tuple[int, tuple[int, ...], Floats]:
    """The commonest setting with the commonest cases of the rows; and which machines have them."""
    both = np.column_stack([sample.settings, sample.unsaid])
    kinds, counts = np.unique(both, axis=0, return_counts=True)
    best = kinds[counts.argmax()]
    return int(best[0]), tuple(best[1:].tolist()), (both == best).all(axis=1)


def _fitted(surface: Surface, before: Sample, after: Sample) -> Machine:
    setting, _, own = _likeliest(after)
    middle = np.median(after.shares[own], axis=0)[None]
    machine = surface.prior.machine(surface.prior.values(middle)[0], setting)
    width = after.shares[own].std(axis=0) / before.shares.std(axis=0)
    narrowed = {name for name, left in zip(surface.prior.names, width, strict=True) if left < LEFT}
    figures = {name: value for name, value in machine.figures.items() if name in narrowed}
    return replace(machine, figures=figures)


def _as_fitted(rows: Sequence[Measurement], sample: Sample, fitted: Machine) -> tuple[float, ...]:
    _, unsaid, _ = _likeliest(sample)
    cases = [row.cases[number] for row, number in zip(measured(rows), unsaid, strict=True)]
    exact = times_of(cases, fitted)
    return tuple(exact[case] for case in cases)


def _surface_error(surface: Surface, asked: Sequence[Measurement], sample: Sample) -> float:
    """Against the exact model, over the first machines of the set."""
    cases = [case for each in asked for case in each.cases]
    if not cases:
        return 0.0
    found = tables.times(surface, sample, cases)
    worst = 0.0
    for at in range(min(CHECKED, len(found))):
        machine = surface.prior.machine(sample.values[at], int(sample.settings[at]))
        exact = times_of(cases, machine)
        off = [abs(found[at, i] / exact[case] - 1) for i, case in enumerate(cases)]
        worst = max(worst, *off)
    return worst


__all__ = ["Calibration", "CalibrationError", "Prior", "fit"]
