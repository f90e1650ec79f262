"""Planted machines: the truth should lie inside the 90 % set of ``calibrate`` nine times of ten.

Run ``python benchmarks/calibrate.py [machines]``; a hundred take about ten minutes of one core.
Each machine, its settings and the plans of the two rows are drawn from the prior, the rows are made
by the exact model with noise of the stated errors, and the calibration does not know any of it.
"""

import sys
from dataclasses import replace
from time import process_time

import numpy as np

from cluster.studies.calibration.answers import times
from cluster.studies.calibration.cases import times_of
from cluster.studies.calibration.measurements import (
    ERROR,
    MODEL_ERROR,
    Measurement,
    published,
    questions,
)
from cluster.studies.calibration.posterior import sample_posterior
from cluster.studies.calibration.priors import prior_of
from cluster.studies.calibration.surface import Surface, fit_surface
from corsair_common.units import Floats

SEED = 20
LOW, HIGH = 5.0, 95.0


def main(machines: int = 100, seed: int = SEED) -> None:
    """Print in how many of the machines each truth lies inside."""
    began = process_time()
    rows, asked = published(), questions()
    cases = dict.fromkeys(case for each in (*rows, *asked) for case in each.cases)
    surface = fit_surface(prior_of(), tuple(cases), seed)
    print(f"{surface.priced} machines priced, {process_time() - began:.0f} s")
    rng = np.random.default_rng(seed)
    inside, evaluations, sampled = [], 0, 0.0
    for number in range(machines):
        shares, noisy, answers = planted(surface, rows, asked, rng)
        start = process_time()
        found = sample_posterior(surface, noisy, seed=number)
        sampled += process_time() - start
        evaluations += found.evaluations
        own = np.hstack([found.shares, times(surface, found, [q.cases[0] for q in asked])])
        low, high = np.percentile(own, (LOW, HIGH), axis=0)
        truth = np.concatenate([shares, answers])
        inside.append((low <= truth) & (truth <= high))
    counts = np.sum(inside, axis=0)
    for name, count in zip(
        [*surface.prior.names, *(q.label for q in asked)], counts.tolist(), strict=True
    ):
        print(f"{count:4d} of {machines}  {name}")
    print(f"mean of the figures   {counts[: -len(asked)].mean():.1f}")
    print(f"mean of the questions {counts[-len(asked) :].mean():.1f}")
    print(
        f"{evaluations:,} evaluations in {sampled:.0f} s: "
        f"{60 * evaluations / sampled:,.0f} a minute; {process_time() - began:.0f} s in all"
    )


def planted(
    surface: Surface,
    rows: tuple[Measurement, ...],
    asked: tuple[Measurement, ...],
    rng: np.random.Generator,
) -> tuple[Floats, tuple[Measurement, ...], list[float]]:
    """Shares of a machine's figures, its rows with noise, and its answers."""
    shares = rng.random(len(surface.prior.figures))
    setting = int(rng.integers(0, len(surface.prior.settings)))
    machine = surface.prior.machine(surface.prior.values(shares[None])[0], setting)
    cases = [row.cases[rng.integers(0, len(row.cases))] for row in rows]
    exact = times_of([*cases, *(question.cases[0] for question in asked)], machine)
    sigma = float(np.hypot(ERROR, MODEL_ERROR))
    noisy = tuple(
        replace(row, value=exact[case] * float(np.exp(sigma * rng.standard_normal())))
        for row, case in zip(rows, cases, strict=True)
    )
    return shares, noisy, [exact[question.cases[0]] for question in asked]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
