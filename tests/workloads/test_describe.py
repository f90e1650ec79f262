import numpy as np
import pytest

from workloads.describe import describe
from workloads.requests import Requests

S = 10**12


def trace(arrivals_s: list[float]) -> Requests:
    n = len(arrivals_s)
    return Requests(
        arrival_ps=np.array([int(each * S) for each in arrivals_s], dtype=np.int64),
        prompt_tokens=np.arange(1, n + 1, dtype=np.int64),
        output_tokens=np.full(n, 7, dtype=np.int64),
    )


def test_rates_count_gaps_and_the_busiest_minute() -> None:
    found = describe(trace([10, 20, 60, 70, 130]))

    assert found["first_arrival_s"] == 10
    assert found["duration_s"] == 120
    assert found["mean_rate_per_s"] == pytest.approx(4 / 120)
    assert found["peak_rate_per_minute"] == 3  # 10, 20, 60


def test_a_metronome_has_no_burstiness() -> None:
    found = describe(trace([float(second) for second in range(0, 301, 5)]))

    assert found["interarrival_cv"] == 0
    assert found["dispersion_per_minute"] == 0


def test_dispersion_counts_silent_minutes() -> None:
    found = describe(trace([0, 1, 2, 3, 120]))

    # whole minutes hold 4 and 0 requests: mean 2, variance 4
    assert found["dispersion_per_minute"] == pytest.approx(2.0)


def test_lengths_and_totals() -> None:
    found = describe(trace([float(i) for i in range(101)]))

    assert (found["mean_prompt_tokens"], found["p50_prompt_tokens"]) == (51, 51)
    assert (found["p90_prompt_tokens"], found["p99_prompt_tokens"]) == (91, 100)
    assert (found["max_prompt_tokens"], found["total_prompt_tokens"]) == (101, 5151)
    assert found["total_output_tokens"] == 707


@pytest.mark.parametrize("arrivals_s", [[3.0], [0.0, 0.0, 0.0]])
def test_what_one_instant_cannot_tell_is_none(arrivals_s: list[float]) -> None:
    found = describe(trace(arrivals_s))

    assert found["mean_rate_per_s"] is None
    assert found["interarrival_cv"] is None
    assert found["ideal_prefix_hit_rate"] is None
