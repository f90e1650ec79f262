import math

import numpy as np
import pytest

from corsair_common.units import Integers
from workloads.describe import describe
from workloads.requests import TraceError
from workloads.synthetic import (
    Arrivals,
    Closed,
    Constant,
    Empirical,
    Fixed,
    Gamma,
    Lengths,
    Lognormal,
    Measured,
    Poisson,
    Quantiles,
    Uniform,
    generate,
)

S = 10**12
N = 20_000


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def gaps_s(arrivals: Arrivals) -> np.ndarray:
    requests = generate(N, arrivals, Fixed(tokens=1), Fixed(tokens=1), rng())
    return np.diff(requests.arrival_ps, prepend=0) / S


def lengths(spec: Lengths) -> Integers:
    return generate(N, Constant(rate_per_s=1), spec, Fixed(tokens=1), rng()).prompt_tokens


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def digest(seed: int) -> str:
        lognormal = Lognormal(mean=100, p50=50)
        return generate(
            50, Poisson(rate_per_s=3), lognormal, lognormal, np.random.default_rng(seed)
        ).digest

    assert digest(0) == digest(0) != digest(1)


def test_another_arrival_process_gets_the_same_requests() -> None:
    uniform = Uniform(low=1, high=1000)
    one = generate(50, Poisson(rate_per_s=3), uniform, uniform, rng())
    other = generate(50, Gamma(rate_per_s=9, burstiness=0.5), uniform, uniform, rng())

    assert one.prompt_tokens.tolist() == other.prompt_tokens.tolist()
    assert one.output_tokens.tolist() == other.output_tokens.tolist()
    assert one.prompt_tokens.tolist() != one.output_tokens.tolist()


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        (Poisson(rate_per_s=20), 1.0),
        (Gamma(rate_per_s=20, burstiness=1), 1.0),
        (Gamma(rate_per_s=20, burstiness=0.25), 2.0),
        (Gamma(rate_per_s=20, burstiness=4), 0.5),
    ],
)
def test_gaps_have_the_mean_and_the_variation_that_burstiness_says(
    arrivals: Arrivals, cv: float
) -> None:
    gaps = gaps_s(arrivals)

    error = cv / math.sqrt(N)  # standard error of the mean, relative
    assert gaps.mean() == pytest.approx(1 / 20, rel=4 * error)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_measured_gaps_have_exactly_the_mean_of_the_rate() -> None:
    spec = Measured(rate_per_s=20, gaps_s=Quantiles(levels=(0, 1), values=(1, math.e)))

    gaps = gaps_s(spec) * 20 * (math.e - 1)  # back to 1..e, whose mean is (e - 1) / ln e

    assert gaps.mean() == pytest.approx(math.e - 1, rel=0.01)
    assert 1 <= gaps.min() < 1.01
    assert math.e - 0.01 < gaps.max() <= math.e


def test_constant_arrivals_start_at_zero_and_are_exact() -> None:
    requests = generate(4, Constant(rate_per_s=8), Fixed(tokens=3), Fixed(tokens=5), rng())

    assert requests.arrival_ps.tolist() == [0, S // 8, S // 4, 3 * S // 8]
    assert requests.prompt_tokens.tolist() == [3] * 4
    assert requests.output_tokens.tolist() == [5] * 4


def test_a_closed_loop_gives_no_times() -> None:
    requests = generate(3, Closed(concurrency=2), Fixed(tokens=3), Fixed(tokens=5), rng())

    assert requests.arrival_ps.tolist() == [0, 0, 0]


def test_uniform_lengths_reach_both_ends() -> None:
    drawn = lengths(Uniform(low=3, high=5))

    assert sorted(set(drawn.tolist())) == [3, 4, 5]
    assert drawn.mean() == pytest.approx(4, abs=0.03)


def test_a_lognormal_has_the_mean_and_median_of_its_parameters() -> None:
    spec = Lognormal(mean=1155, p50=1020)

    assert spec.sigma == pytest.approx(0.4986, abs=1e-4)  # sqrt(2 ln(1155 / 1020))
    assert lengths(spec).mean() == pytest.approx(1155, rel=0.02)
    assert np.median(lengths(spec)) == pytest.approx(1020, rel=0.02)


def test_a_lognormal_is_held_between_one_and_its_maximum() -> None:
    drawn = lengths(Lognormal(mean=20, p50=1, maximum=40))

    assert (drawn.min(), drawn.max()) == (1, 40)
    assert set(lengths(Lognormal(mean=7, p50=7)).tolist()) == {7}


def test_empirical_lengths_are_those_of_the_trace() -> None:
    drawn = lengths(Empirical(values=np.array([5, 5, 5, 9], dtype=np.int64)))

    assert sorted(set(drawn.tolist())) == [5, 9]
    assert np.mean(drawn == 5) == pytest.approx(0.75, abs=0.015)


def test_quantiles_are_met_and_their_mean_is_known() -> None:
    spec = Quantiles(levels=(0, 0.5, 0.9, 1), values=(1, 100, 1000, 1000))
    drawn = spec.draw(200_000, rng())

    assert spec.mean == pytest.approx(0.5 * 99 / math.log(100) + 0.4 * 900 / math.log(10) + 100)
    assert drawn.mean() == pytest.approx(spec.mean, rel=0.02)
    assert np.quantile(drawn, 0.5) == pytest.approx(100, rel=0.1)
    assert np.mean(drawn == 1000) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(rate_per_s=0), "rate_per_s must be positive and finite, got 0"),
        (lambda: Poisson(rate_per_s=math.nan), "rate_per_s must be positive and finite, got nan"),
        (lambda: Gamma(rate_per_s=1, burstiness=-1), "burstiness must be positive"),
        (lambda: Constant(rate_per_s=math.inf), "rate_per_s must be positive and finite"),
        (lambda: Closed(concurrency=0), "concurrency must be a whole number of at least 1, got 0"),
        (lambda: Fixed(tokens=0), "tokens must be a whole number of at least 1, got 0"),
        (lambda: Uniform(low=5, high=4), "high must be a whole number of at least 5, got 4"),
        (lambda: Lognormal(mean=5, p50=6), "mean is at least its median: mean 5, p50 6"),
        (lambda: Lognormal(mean=math.nan, p50=6), "mean is at least its median: mean nan"),
        (lambda: Empirical(values=np.array([], dtype=np.int64)), "at least one value"),
        (lambda: Quantiles(levels=(0, 0.5), values=(1, 2)), "levels must rise from 0 to 1"),
        (lambda: Quantiles(levels=(0, 1), values=(2, 1)), "must not fall"),
        (lambda: Quantiles(levels=(0, 1), values=(1, math.nan)), "must be positive"),
        (lambda: Quantiles(levels=(0, 1), values=(1,)), "2 levels need as many values"),
    ],
)
def test_a_distribution_refuses_invalid_parameters(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(TraceError, match=message):
        make()


def test_a_trace_longer_than_a_run_is_refused() -> None:
    with pytest.raises(TraceError, match="106 days"):
        generate(20, Constant(rate_per_s=1e-6), Fixed(tokens=1), Fixed(tokens=1), rng())


def test_poisson_counts_are_as_even_as_poisson_should_be() -> None:
    requests = generate(N, Poisson(rate_per_s=5), Fixed(tokens=1), Fixed(tokens=1), rng())

    assert describe(requests)["dispersion_per_minute"] == pytest.approx(1, abs=0.6)
