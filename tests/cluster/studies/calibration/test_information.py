"""What a further measurement brings, where it follows from two normal distributions."""

import numpy as np
import pytest

from cluster.studies.calibration.cases import Case
from cluster.studies.calibration.information import worth
from cluster.studies.calibration.measurements import Measurement
from cluster.studies.calibration.posterior import Sample
from cluster.studies.calibration.priors import prior_of
from cluster.studies.calibration.surface import Surface, fit_surface

DISPATCH, LINKS = Case(metric="card.dispatch_s"), Case(metric="links.efficiency")
SPREAD = 0.2
"""Standard deviation of the dispatch's logarithm over the machines."""


@pytest.fixture(scope="module")
def surface() -> Surface:
    return fit_surface(prior_of([DISPATCH.metric, LINKS.metric]), [DISPATCH, LINKS], seed=0)


def machines(surface: Surface, count: int = 4096) -> Sample:
    rng = np.random.default_rng(5)
    values = np.empty((count, 2))
    values[:, surface.prior.names.index(DISPATCH.metric)] = 1e-6 * np.exp(
        SPREAD * rng.standard_normal(count)
    )
    values[:, surface.prior.names.index(LINKS.metric)] = rng.uniform(0.75, 0.92, count)
    return Sample(
        shares=rng.random((count, 2)),
        values=values,
        settings=np.zeros(count, np.int64),
        unsaid=np.zeros((count, 0), np.int64),
        effective=float(count),
        evaluations=0,
    )


def test_a_measurement_as_exact_as_what_is_known_takes_the_root_of_a_half(
    surface: Surface,
) -> None:
    question = Measurement(label="dispatch", cases=(DISPATCH,))
    as_exact = Measurement(label="its benchmark", cases=(DISPATCH,), error=SPREAD)
    beside_it = Measurement(label="another figure", cases=(LINKS,), error=0.01)

    first, second = worth(surface, machines(surface), ((), (beside_it, as_exact)), (question,))

    assert first.label == "its benchmark"
    assert first.narrower == pytest.approx(1 - 0.5**0.5, abs=0.02)  # 1/s2 + 1/s2 = 2/s2
    assert second.narrower == pytest.approx(0.0, abs=0.05)  # independent of the question
