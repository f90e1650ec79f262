"""Machines that explain the rows: importance sampling of the prior on the response surface.

The likelihood of a row is normal in the logarithm of measured over modelled; its variance is the
sum of those of the measurement, of the model, and of the surface. What a row leaves unsaid is
summed over, so rows are independent of one another for a machine and its settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cluster.studies.calibration.measurements import MODEL_ERROR, Measurement, measured
from cluster.studies.calibration.priors import CalibrationError
from cluster.studies.calibration.surface import Surface
from corsair_common.units import Floats, Integers

SAMPLES = 65_536
"""Machines of one round of sampling, each with every combination of settings."""
KEPT = 4096
"""Equally likely machines that are drawn from the weighted ones."""
ROUNDS = 6
ENOUGH = 2000.0
"""Effective machines (Kish) at which no further round is made."""
FROM_PRIOR = 0.2
"""Share of the machines of a further round that are drawn from the prior again."""
WIDER = 2.0
"""Factor on the covariance of the others: what the last round missed can be found."""
CHUNK = 8192
LEAST = 1e-9
STREAM = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Equally likely machines."""

    shares: Floats
    """[n, figure] 0 to 1 of each range."""
    values: Floats
    """[n, figure] in SI."""
    settings: Integers
    """[n] which of the prior's."""
    unsaid: Integers
    """[n, row] which of the row's cases."""
    effective: float
    """Machines of equal weight that carry as much information as the weighted ones."""
    evaluations: int
    """Times that were computed on the surface."""


def sample_prior(surface: Surface, count: int, seed: int) -> Sample:
    """Machines before anything is measured."""
    rng = np.random.default_rng([seed, STREAM, 1])
    shares = _hypercube(count, len(surface.prior.figures), rng)
    return Sample(
        shares=shares,
        values=surface.prior.values(shares),
        settings=rng.integers(0, len(surface.prior.settings), count),
        unsaid=np.zeros((count, 0), np.int64),
        effective=float(count),
        evaluations=0,
    )


def sample_posterior(
    surface: Surface,
    rows: Sequence[Measurement],
    *,
    samples: int = SAMPLES,
    kept: int = KEPT,
    seed: int = 0,
    model_error: float = MODEL_ERROR,
) -> Sample:
    """Draw machines by how well they explain the rows.

    Rounds after the first draw around what the last one found, in the logits of the shares.

    Raises
    ------
    CalibrationError
        No machine explains the rows: the likeliest is many standard errors away.
    """
    rng = np.random.default_rng([seed, STREAM])
    figures = len(surface.prior.figures)
    likelihood = Likelihood(surface, rows, model_error)
    shares, density = _hypercube(samples, figures, rng), np.zeros(samples)
    evaluations = 0
    for _ in range(ROUNDS):
        logs = likelihood.of(surface.prior.values(shares))
        evaluations += logs.size * likelihood.width
        if logs.max() < likelihood.least:
            raise CalibrationError(likelihood.far(shares, logs))
        weights = np.exp(logs - logs.max()) * np.exp(-density)[:, None]
        effective = float(weights.sum() ** 2 / (weights**2).sum())
        if effective >= ENOUGH or not figures:
            break
        last = shares, density, weights, effective
        shares, density = _around(shares, weights.sum(axis=1), samples, rng)
    else:
        shares, density, weights, effective = last
    chosen = _systematic(weights.ravel(), kept, rng)
    machines, settings = np.divmod(chosen, weights.shape[1])
    values = surface.prior.values(shares[machines])
    return Sample(
        shares=shares[machines],
        values=values,
        settings=settings,
        unsaid=likelihood.unsaid(values, settings, rng),
        effective=effective,
        evaluations=evaluations,
    )


class Likelihood:
    """Of rows, for machines with a setting."""

    def __init__(self, surface: Surface, rows: Sequence[Measurement], model_error: float) -> None:
        self._surface = surface
        self._rows = measured(rows)
        numbers = {case: number for number, case in enumerate(surface.cases)}
        self._cases = [numbers[case] for row in self._rows for case in row.cases]
        edges = np.cumsum([0, *(len(row.cases) for row in self._rows)])
        self._spans = [slice(start, stop) for start, stop in pairwise(edges.tolist())]
        self._measured = np.array([row.value for row in self._rows for _ in row.cases])
        own = np.array([row.error for row in self._rows for _ in row.cases])
        of_model = np.array(
            [0.0 if case.of_a_figure else model_error for row in self._rows for case in row.cases]
        )
        self._sigma = np.sqrt(own**2 + of_model**2 + surface.errors[self._cases] ** 2)

    @property
    def width(self) -> int:
        """Times of one machine."""
        return len(self._cases)

    @property
    def least(self) -> float:
        """Log-likelihood below which a row is five standard errors off, or all of them three."""
        return -max(12.5, 4.5 * len(self._rows))

    def of(self, values: Floats) -> Floats:
        """[n, setting] log-likelihood; 0 where every row is met exactly by all of its cases."""
        settings = range(len(self._surface.prior.settings))
        found = np.zeros((len(values), len(settings)))
        for start in range(0, len(values), CHUNK):
            own = values[start : start + CHUNK]
            for setting in settings:
                logs = self._logs(own, setting)
                found[start : start + CHUNK, setting] = sum(
                    (_log_mean(logs[:, span]) for span in self._spans), np.zeros(len(own))
                )
        return found

    def unsaid(self, values: Floats, settings: Integers, rng: np.random.Generator) -> Integers:
        """[n, row] a case of each row, drawn by how well it explains it."""
        found = np.zeros((len(values), len(self._rows)), np.int64)
        for setting in np.unique(settings).tolist():
            of = np.flatnonzero(settings == setting)
            logs = self._logs(values[of], setting)
            for row, span in enumerate(self._spans):
                own = logs[:, span] + rng.gumbel(size=(len(of), span.stop - span.start))
                found[of, row] = own.argmax(axis=1)
        return found

    def far(self, shares: Floats, logs: Floats) -> str:
        """Which rows the likeliest machine misses."""
        machine, setting = np.unravel_index(int(logs.argmax()), logs.shape)
        values = self._surface.prior.values(shares[machine][None])
        own = self._logs(values, int(setting))[0]
        off = [np.sqrt(-2 * own[span].max()) for span in self._spans]
        worst = int(np.argmax(off))
        return (
            f"no possible machine explains the rows: the nearest misses "
            f"{self._rows[worst].label!r} by {off[worst]:.1f} standard errors (widen --error, fit "
            "more figures, or leave out a row)"
        )

    def _logs(self, values: Floats, setting: int) -> Floats:
        """[n, case] log-likelihood of each case of each row."""
        seconds = self._surface.seconds(values, setting, self._cases)
        for at, number in enumerate(self._cases):
            seconds[:, at] = self._surface.cases[number].value(seconds[:, at])
        off = np.log(np.maximum(seconds, 1e-300) / self._measured) / self._sigma
        logs: Floats = -0.5 * off**2
        return logs


def _log_mean(logs: Floats) -> Floats:
    most = logs.max(axis=1)
    mean: Floats = most + np.log(np.exp(logs - most[:, None]).mean(axis=1))
    return mean


def _around(
    shares: Floats, weights: Floats, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """New shares near those of large weight, some from the prior; and the log of their density
    over the prior's."""
    scores = _scores(shares)
    weights = weights / weights.sum()
    mean = weights @ scores
    off = scores - mean
    covariance = WIDER * (off * weights[:, None]).T @ off + LEAST * np.eye(len(mean))
    lower = np.linalg.cholesky(covariance)
    drawn = mean + rng.standard_normal((count, len(mean))) @ lower.T
    again = int(FROM_PRIOR * count)
    drawn[:again] = _scores(_hypercube(again, len(mean), rng))
    inner = np.linalg.solve(lower, (drawn - mean).T)
    near = -0.5 * (inner**2).sum(axis=0) - np.log(np.diag(lower)).sum()
    near -= 0.5 * len(mean) * np.log(2 * np.pi)
    away = np.abs(drawn)
    near += (away + 2 * np.log1p(np.exp(-away))).sum(axis=1)  # over the prior's, a logistic
    density = np.logaddexp(np.log(FROM_PRIOR), np.log(1 - FROM_PRIOR) + near)
    return 1 / (1 + np.exp(-drawn)), density


def _scores(shares: Floats) -> Floats:
    """Shares on a scale without ends."""
    inside = np.clip(shares, LEAST, 1 - LEAST)
    scores: Floats = np.log(inside / (1 - inside))
    return scores


def _systematic(weights: Floats, count: int, rng: np.random.Generator) -> Integers:
    """[count] positions, each as often as its weight says to within one."""
    points = (np.arange(count) + rng.random()) / count * weights.sum()
    found = np.searchsorted(np.cumsum(weights), points)
    return rng.permutation(np.minimum(found, len(weights) - 1))


def _hypercube(count: int, figures: int, rng: np.random.Generator) -> Floats:
    columns = [(rng.permutation(count) + rng.random(count)) / count for _ in range(figures)]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0))
