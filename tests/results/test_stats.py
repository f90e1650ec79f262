import math

import pytest

from results.errors import ResultsError
from results.stats import quantile_975


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (30, 2.0423)]
)
def test_quantiles_are_those_of_the_printed_tables(degrees: int, quantile: float) -> None:
    assert quantile_975(degrees) == pytest.approx(quantile, abs=5e-5)


def test_one_degree_of_freedom_has_a_closed_form() -> None:
    assert quantile_975(1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-12)


def test_one_sample_has_no_interval() -> None:
    with pytest.raises(ResultsError, match="at least two samples, got 1"):
        quantile_975(0)
