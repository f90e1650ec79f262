"""Which further measurement narrows the answers most: its value of information over a sample.

A measurement is simulated on machines of the sample, one after another as if it were the true one;
the sample is weighted by what each result would leave of it. What is reported is how much narrower
the answers are then expected to be: standard deviations of their logarithms, mean over the
questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.studies.calibration.answers import times
from cluster.studies.calibration.measurements import MODEL_ERROR, Measurement, measured
from cluster.studies.calibration.posterior import Sample
from cluster.studies.calibration.surface import Surface
from corsair_common.units import Floats, Integers

TRUTHS = 256
"""Machines of the sample on which each measurement is simulated."""
LEAST = 1e-12
"""Of a figure that may be 0, in its SI unit."""
STREAM = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a measurement, or a statement, is expected to bring."""

    label: str
    narrower: float
    """Share of the answers' standard deviations that goes, mean over the questions."""
    by_question: tuple[float, ...]


def worth(
    surface: Surface,
    sample: Sample,
    offered: tuple[Sequence[Measurement], Sequence[Measurement]],
    questions: Sequence[Measurement],
    *,
    seed: int = 0,
    model_error: float = MODEL_ERROR,
) -> tuple[Worth, ...]:
    """Candidates by what they bring, the most first.

    ``offered`` are the rows, each of which could also say what it left unsaid, and the candidates.
    """
    rows, candidates = offered
    rng = np.random.default_rng([seed, STREAM])
    logs = np.stack([_logs(surface, sample, each).mean(axis=1) for each in questions], axis=1)
    truths = rng.choice(len(logs), min(TRUTHS, len(logs)), replace=False)
    found = []
    for candidate in candidates:
        own = _logs(surface, sample, candidate)[:, 0]
        of_model = 0.0 if candidate.cases[0].of_a_figure else model_error
        sigma = float(np.hypot(candidate.error, of_model))
        results = own[truths] + sigma * rng.standard_normal(len(truths))
        weights = np.exp(-0.5 * ((results[:, None] - own) / sigma) ** 2)
        found.append(_worth(candidate.label, weights, logs))
    for number, row in enumerate(measured(rows)):
        if len({case.plan for case in row.cases}) > 1:
            plans = _plans(row)[sample.unsaid[:, number]]
            weights = (plans[truths][:, None] == plans).astype(np.float64)
            found.append(_worth(f"the plan of {row.label}", weights, logs))
    return tuple(sorted(found, key=lambda each: -each.narrower))


def _logs(surface: Surface, sample: Sample, of: Measurement) -> Floats:
    """[n, case] logarithms of what would be measured."""
    logs: Floats = np.log(np.maximum(times(surface, sample, of.cases), LEAST))
    return logs


def _plans(row: Measurement) -> Integers:
    """[case] a number for each plan."""
    plans = list(dict.fromkeys(case.plan for case in row.cases))
    return np.array([plans.index(case.plan) for case in row.cases])


def _worth(label: str, weights: Floats, logs: Floats) -> Worth:
    """``weights[truth, machine]`` after each simulated result."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    centred = logs - logs.mean(axis=0)
    mean = weights @ centred
    left = np.sqrt(np.maximum(weights @ centred**2 - mean**2, 0.0)).mean(axis=0)
    now = centred.std(axis=0)
    shares = 1 - np.divide(left, now, out=np.ones_like(left), where=now > 0)
    return Worth(label=label, narrower=float(shares.mean()), by_question=tuple(map(float, shares)))
