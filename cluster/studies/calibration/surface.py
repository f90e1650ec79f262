"""A quadratic response surface of the exact model over the figures, fitted on priced machines.

A case costs 10 to 30 ms to price, and a posterior asks for a million. Times are sums of products of
figures (clocks over lanes, bytes over bandwidth times efficiency, latencies), so in coordinates in
which each is linear a quadratic form follows them closely, but for bends: where another stage or
loop is the longest, which are therefore fitted one by one, and where another algorithm of a
collective becomes the fastest, which are not. What is left is measured on machines that nothing was
fitted on, and counts as an error of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from cluster.perf_model.prices import PriceError
from cluster.studies.calibration.cases import SHARED, Case, Machine, parts_of
from cluster.studies.calibration.priors import CalibrationError, Prior, coordinates_of
from corsair_common.units import PS_PER_S, Floats, Integers

TRAINED_PER_FIGURE = 8
TRAINED = 24
"""Machines that are priced: so many for each figure with any effect, and so many more."""
HELD_BACK = 16
"""Machines that only measure the error."""
RIDGE = 1e-5
LEAST_EFFECT = 1e-3
"""Scale of a coordinate without effect on a time, over that of the one with the most."""
STREAM = 11
"""Separates these random numbers from others of the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Times of cases at any point of the prior."""

    prior: Prior
    """Figures with an effect on any case."""
    unmoved: tuple[str, ...]
    """Figures without."""
    cases: tuple[Case, ...]
    errors: Floats
    """[case] root mean square of the relative error, on machines that were held back."""
    priced: int
    """Machines that were priced."""
    columns: tuple[slice, ...]
    """[case] which weights."""
    weights: Floats
    """[feature, column] picoseconds."""

    def seconds(self, values: Floats, setting: int, cases: Sequence[int]) -> Floats:
        """[n, case] times (of figures: the figures) of machines with these values and a setting."""
        machine = self.prior.settings[setting]
        figures = self.prior.coordinates(values)
        found = np.empty((len(values), len(cases)))
        made: dict[tuple[tuple[str, str], ...], Floats] = {}
        for at, number in enumerate(cases):
            case = self.cases[number]
            if case.of_a_figure:
                found[:, at] = self._figure(case.metric, values)
                continue
            if case.said not in made:
                signs = np.tile(coordinates_of(machine, dict(case.said)), (len(values), 1))
                made[case.said] = _features(np.hstack([figures, signs]))
            parts = made[case.said] @ self.weights[:, self.columns[number]]
            found[:, at] = parts.max(axis=1) / PS_PER_S
        return found

    def _figure(self, name: str, values: Floats) -> Floats:
        own: Floats = values[:, self.prior.names.index(name)]
        return own


def fit_surface(prior: Prior, cases: Sequence[Case], seed: int) -> Surface:
    """Price machines drawn from the prior, and fit a surface to each case.

    Raises
    ------
    CalibrationError
        A case that no machine can do, or the measurement of a figure that is not fitted.
    """
    _check(prior, cases)
    rng = np.random.default_rng([seed, STREAM])
    moved, unmoved, effects = _screened(prior, cases)
    count = TRAINED_PER_FIGURE * (len(moved.figures) + len(SHARED)) + TRAINED
    values, settings = _drawn(moved, count + HELD_BACK, rng)
    times = [
        _priced(cases, moved.machine(row, setting))
        for row, setting in zip(values, settings, strict=True)
    ]
    features = _features(_inputs(moved, values, settings))
    weights: list[Floats] = []
    columns: list[slice] = []
    errors = np.zeros(len(cases))
    for number, case in enumerate(cases):
        start = sum(part.shape[1] for part in weights)
        if not case.of_a_figure:
            own = np.array([priced[case] for priced in times], np.float64)
            own = np.unique(own, axis=1)  # equal stages once
            scale = _scale(effects[:, number])
            found = _ridge(features[:count], own[:count], scale)
            left = (features[count:] @ found).max(axis=1) / own[count:].max(axis=1) - 1
            errors[number] = float(np.sqrt(np.mean(left**2)))
            weights.append(found)
        columns.append(slice(start, sum(part.shape[1] for part in weights)))
    return Surface(
        prior=moved,
        unmoved=unmoved,
        cases=tuple(cases),
        errors=errors,
        priced=len(times),
        columns=tuple(columns),
        weights=np.hstack(weights) if weights else np.zeros((features.shape[1], 0)),
    )


def _check(prior: Prior, cases: Sequence[Case]) -> None:
    for case in cases:
        if case.of_a_figure and case.metric not in prior.names:
            raise CalibrationError(f"{case.metric} is measured, but not among the figures of --fit")


def _priced(cases: Sequence[Case], machine: Machine) -> dict[Case, tuple[int, ...]]:
    try:
        return dict(parts_of(cases, machine))
    except (PriceError, ValueError) as error:
        if getattr(error, "exit_code", None) is None:
            raise
        raise CalibrationError(str(error)) from None


def _screened(prior: Prior, cases: Sequence[Case]) -> tuple[Prior, tuple[str, ...], Floats]:
    """The figures that move any case, the names of the others, and [figure + setting, case] the
    relative effect of each at the end of its range that is farther from its value."""
    own = {figure.name: figure.value for figure in prior.figures}
    timed = [case for case in cases if not case.of_a_figure]
    measured = {case.metric for case in cases if case.of_a_figure}
    base = _priced(timed, Machine(figures=own))
    effects, kept = [], []
    for figure in prior.figures:
        below, above = figure.value - figure.low, figure.high - figure.value
        end = figure.low if below > above else figure.high
        effect = _effect(timed, base, Machine(figures={**own, figure.name: end}))
        if any(effect.values()) or figure.name in measured:
            kept.append(figure)
            effects.append(effect)
    for name, choices in SHARED.items():
        other = {each: values[0] for each, values in SHARED.items()} | {name: choices[1]}
        effects.append(_effect(timed, base, Machine(figures=own, settings=other)))
    unmoved = tuple(figure.name for figure in prior.figures if figure not in kept)
    table = [[effect.get(case, 0.0) for case in cases] for effect in effects]
    return replace(prior, figures=tuple(kept)), unmoved, np.array(table)


def _effect(
    cases: Sequence[Case], base: dict[Case, tuple[int, ...]], machine: Machine
) -> dict[Case, float]:
    """The largest relative change of a part of each case."""
    moved = _priced(cases, machine)
    return {
        case: max(
            abs(new / old - 1) for new, old in zip(moved[case], base[case], strict=True) if old
        )
        for case in cases
    }


def _drawn(prior: Prior, count: int, rng: np.random.Generator) -> tuple[Floats, Integers]:
    """[n, figure] values of a Latin hypercube, and [n] settings."""
    shares = np.stack(
        [(rng.permutation(count) + rng.random(count)) / count for _ in prior.figures], axis=1
    )
    return prior.values(shares), rng.integers(0, len(prior.settings), count)


def _inputs(prior: Prior, values: Floats, settings: Integers) -> Floats:
    signs = [coordinates_of(prior.settings[setting], {}) for setting in settings]
    return np.hstack([prior.coordinates(values), np.array(signs).reshape(len(values), -1)])


def _features(inputs: Floats) -> Floats:
    """[n, feature] 1, the coordinates, and their products."""
    pairs = _pairs(inputs.shape[1])
    products = inputs[:, pairs[:, 0]] * inputs[:, pairs[:, 1]]
    return np.hstack([np.ones((len(inputs), 1)), inputs, products])


def _pairs(count: int) -> Integers:
    return np.array(list(combinations_with_replacement(range(count), 2)), np.int64).reshape(-1, 2)


def _scale(effects: Floats) -> Floats:
    """[feature] how large a weight is expected to be: the effect of a coordinate, and of a product
    the smaller effect of its two."""
    own = np.maximum(effects, LEAST_EFFECT * max(effects.max(initial=0.0), LEAST_EFFECT))
    pairs = _pairs(len(own))
    return np.concatenate([[1.0], own, np.minimum(own[pairs[:, 0]], own[pairs[:, 1]])])


def _ridge(features: Floats, times: Floats, scale: Floats) -> Floats:
    """[feature, column] weights of the least relative error."""
    found = np.empty((features.shape[1], times.shape[1]))
    for column in range(times.shape[1]):
        own = np.maximum(times[:, column], 1.0)
        rows = features * scale / own[:, None] * own.mean()
        inner = rows.T @ rows + RIDGE * np.eye(len(scale))
        found[:, column] = scale * np.linalg.solve(inner, rows.T @ (np.full(len(own), own.mean())))
    return found
