"""Fits of figures that can be followed by hand, on the exact model."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.perf_model.calibrate import EIGHT_B
from cluster.studies.calibration import surface as surfaces
from cluster.studies.calibration.cases import Case, Machine, times_of
from cluster.studies.calibration.measurements import Measurement
from cluster.studies.calibration.posterior import sample_posterior
from cluster.studies.calibration.priors import CalibrationError, prior_of
from cluster.studies.calibration.surface import fit_surface
from workloads.plan import Plan

SAID = (("wire", "fp16"), ("norms", "auto"), ("overlap", "none"))
EIGHT = Case(
    metric="tpot", model=EIGHT_B.model, plan=EIGHT_B.plan, batch=60, context=1024, said=SAID
)


def measured(case: Case, value: float, error: float = 0.001) -> Measurement:
    return Measurement(label=case.metric, cases=(case,), value=value, error=error)


def tpot_s(dispatch_s: float) -> float:
    return times_of([EIGHT], Machine(figures={"card.dispatch_s": dispatch_s}))[EIGHT]


@pytest.fixture(autouse=True)
def few_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thirds of the machines that are usually priced: these cases have few figures."""
    for name, count in {"TRAINED_PER_FIGURE": 6, "TRAINED": 16, "HELD_BACK": 8}.items():
        monkeypatch.setattr(surfaces, name, count)


def test_one_row_and_one_figure_give_the_figure_of_the_straight_line() -> None:
    below, above = tpot_s(1.0e-6), tpot_s(1.2e-6)  # TPOT is linear in the dispatch
    expected_s = 1.0e-6 + 0.2e-6 * (0.25 * (above - below)) / (above - below)  # 1.05 us
    row = measured(EIGHT, below + 0.25 * (above - below))
    surface = fit_surface(prior_of(["card.dispatch_s"]), [EIGHT], seed=0)

    found = sample_posterior(surface, [row], samples=4096, kept=512, model_error=0.0)

    assert np.median(found.values[:, 0]) == pytest.approx(expected_s, rel=0.01)
    # 0.1 % and the surface's error, of a TPOT of which a third is dispatch
    assert np.log(found.values[:, 0]).std() < 0.02
    assert surface.errors[0] < 0.01  # norms are divided where that is cheaper: bends


def test_a_measured_figure_is_itself() -> None:
    case = Case(metric="links.efficiency")
    surface = fit_surface(prior_of(["links.efficiency", "card.dispatch_s"]), [case, EIGHT], seed=0)

    found = sample_posterior(surface, [measured(case, 0.8, 0.01)], samples=4096, kept=512)

    efficiency, dispatch = found.shares.T
    at = surface.prior.names.index("links.efficiency")
    assert np.median(found.values[:, at]) == pytest.approx(0.8, rel=0.005)
    assert (dispatch if at == 0 else efficiency).std() == pytest.approx(12**-0.5, rel=0.1)


def test_of_two_plans_the_one_that_can_be_is_found() -> None:
    other = replace(EIGHT, plan=Plan(tensor_parallel_size=1, pipeline_parallel_size=8))
    surface = fit_surface(prior_of(["links.chunk_overhead_s"]), [EIGHT, other], seed=0)
    exact = times_of([other], Machine(figures={}))[other]
    row = Measurement(label="8B", cases=(EIGHT, other), value=exact, error=0.01)

    found = sample_posterior(surface, [row], samples=2048, kept=256, model_error=0.01)

    assert (found.unsaid[:, 0] == 1).all()


def test_rows_that_no_machine_explains_are_named() -> None:
    surface = fit_surface(prior_of(["links.efficiency"]), [EIGHT], seed=0)

    with pytest.raises(CalibrationError, match="misses 'tpot' by"):
        sample_posterior(surface, [measured(EIGHT, 1e-6)], samples=512, kept=64)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("card.dispatch", "did you mean 'card.dispatch_s'"),
        ("cost.card_usd", "no time depends on it"),
        ("rack.servers", "a choice's"),
    ],
)
def test_figures_that_cannot_be_fitted_are_refused(pattern: str, why: str) -> None:
    with pytest.raises(CalibrationError, match=why):
        prior_of([pattern])


def test_the_surface_follows_the_exact_model() -> None:
    prior = prior_of(["card.dispatch_s", "links.efficiency", "simd.lanes", "simd.norm_clocks"])
    prompt = Case(metric="ttft", model=EIGHT_B.model, plan=EIGHT_B.plan, context=512)
    free = replace(EIGHT, said=(("wire", "fp16"),))
    surface = fit_surface(prior, [free, prompt], seed=3)
    shares = np.random.default_rng(4).random((8, 4))
    values = prior.values(shares)

    for row, setting in zip(values, range(8), strict=True):
        exact = times_of([free, prompt], prior.machine(row, setting))
        near = surface.seconds(row[None], setting, (0, 1))[0]
        assert near == pytest.approx([exact[free], exact[prompt]], rel=0.05)
    assert surface.errors.max() < 0.02
