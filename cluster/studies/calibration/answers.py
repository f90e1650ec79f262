"""What a sample of machines says: bands of answers, odds of settings, what cannot be told apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.studies.bands import PERCENTS
from cluster.studies.calibration.cases import SHARED, Case
from cluster.studies.calibration.measurements import Measurement, measured, plan_text
from cluster.studies.calibration.posterior import Sample
from cluster.studies.calibration.surface import Surface
from corsair_common.units import Floats

UNMOVED = 0.9
"""Of its prior's standard deviation: a figure with at least that much was not narrowed."""
TOGETHER = 0.3
"""Least correlation of two figures that the rows hold together and do not tell apart."""
SAME = 0.15
"""Of the machines: most that may lie elsewhere with the other value of a setting that the rows do
not decide; 4,096 machines leave some 0.06 by chance."""
NARROWED = 0.5
"""Of the prior's variance: directions with at most that much are held by the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question's 5th, 50th and 95th percentile in SI, before and after the rows."""

    label: str
    metric: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """A combination of what was not said."""

    settings: dict[str, str]
    """Of the machine's software."""
    rows: dict[str, str]
    """By label, of the row."""
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure after the rows."""

    name: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    width: float
    """Standard deviation of its share over the prior's."""


def times(surface: Surface, sample: Sample, cases: Sequence[Case]) -> Floats:
    """[n, case] the measured quantity in SI of each machine, by the surface."""
    numbers = [surface.cases.index(case) for case in cases]
    found = np.empty((len(sample.values), len(numbers)))
    for setting in np.unique(sample.settings).tolist():
        own = sample.settings == setting
        found[own] = surface.seconds(sample.values[own], setting, numbers)
    for at, case in enumerate(cases):
        found[:, at] = case.value(found[:, at])
    return found


def answers(
    surface: Surface, questions: Sequence[Measurement], before: Sample, after: Sample
) -> tuple[Answer, ...]:
    """Bands of every question, over its cases."""
    return tuple(
        Answer(
            label=question.label,
            metric=question.cases[0].metric,
            before=_band(times(surface, before, question.cases).ravel()),
            after=_band(times(surface, after, question.cases).ravel()),
        )
        for question in questions
    )


def odds(surface: Surface, rows: Sequence[Measurement], sample: Sample) -> tuple[Odds, ...]:
    """All combinations of settings, plans and batches that were not said, the likeliest first.

    Without settings of which the rows say nothing (``undecided``).
    """
    said = _said(rows, sample)
    names = [name for name in SHARED if name not in undecided(surface, rows, sample)]
    chosen = _settings(surface, sample, names)
    seen = Counter(zip(chosen, said, strict=True))
    return tuple(
        Odds(
            settings=dict(zip(names, settings, strict=True)),
            rows={row.label: text for row, text in zip(measured(rows), texts, strict=True) if text},
            share=count / len(said),
        )
        for (settings, texts), count in seen.most_common()
    )


def undecided(surface: Surface, rows: Sequence[Measurement], sample: Sample) -> list[str]:
    """Settings that leave all else as likely, whichever value they have, and are as likely."""
    said, left = _said(rows, sample), list(SHARED)
    for name in SHARED:
        rest = [other for other in left if other != name]
        others = list(zip(_settings(surface, sample, rest), said, strict=True))
        own = [value for (value,) in _settings(surface, sample, [name])]
        one, other = (
            Counter(each for each, value in zip(others, own, strict=True) if value == choice)
            for choice in SHARED[name]
        )
        if sum(abs(one[key] - other[key]) for key in one | other) < SAME * len(said):
            left = rest
    return [name for name in SHARED if name not in left]


def _said(rows: Sequence[Measurement], sample: Sample) -> list[tuple[str, ...]]:
    """[n] what each row may have been, in words."""
    texts = [
        np.array([unsaid_text(row, number) for number in range(len(row.cases))])[numbers].tolist()
        for row, numbers in zip(measured(rows), sample.unsaid.T, strict=True)
    ]
    return list(zip(*texts, strict=True)) if texts else [()] * len(sample.settings)


def _settings(surface: Surface, sample: Sample, names: Sequence[str]) -> list[tuple[str, ...]]:
    """[n] values of these settings."""
    kinds = [tuple(each[name] for name in names) for each in surface.prior.settings]
    return [kinds[setting] for setting in sample.settings.tolist()]


def spreads(surface: Surface, before: Sample, after: Sample) -> tuple[Spread, ...]:
    """Every figure, the most narrowed first."""
    found = [
        Spread(
            name=name,
            before=_band(before.values[:, at]),
            after=_band(after.values[:, at]),
            width=float(after.shares[:, at].std() / before.shares[:, at].std()),
        )
        for at, name in enumerate(surface.prior.names)
    ]
    return tuple(sorted(found, key=lambda spread: spread.width))


def together(surface: Surface, sample: Sample) -> list[tuple[str, str, float]]:
    """Pairs of figures that the rows hold together, with their correlation."""
    names = surface.prior.names
    if len(names) < 2:
        return []
    with np.errstate(invalid="ignore"):
        own = np.atleast_2d(np.corrcoef(sample.shares, rowvar=False))
    pairs = [
        (names[i], names[j], float(own[i, j]))
        for i in range(len(names))
        for j in range(i)
        if abs(own[i, j]) >= TOGETHER
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))


def held(before: Sample, after: Sample) -> int:
    """Independent combinations of figures whose variance the rows have halved."""
    if not before.shares.shape[1]:
        return 0
    scale = before.shares.std(axis=0)
    own = np.cov(after.shares / scale, rowvar=False).reshape(len(scale), len(scale))
    return int((np.linalg.eigvalsh(own) <= NARROWED).sum())


def unsaid_text(row: Measurement, number: int) -> str:
    """Plan and batch of one of the row's cases, where others have another: ``TP 4 x PP 2``."""
    case, parts = row.cases[number], []
    if len({each.plan for each in row.cases}) > 1:
        parts.append(plan_text(case.plan))
    if len({each.batch for each in row.cases}) > 1:
        parts.append(f"batch {case.batch:,}")
    return ", ".join(parts)


def settings_text(settings: dict[str, str]) -> str:
    """Names and values."""
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "any"


def _band(values: Floats) -> tuple[float, float, float]:
    low, middle, high = (float(value) for value in np.percentile(values, PERCENTS))
    return low, middle, high
