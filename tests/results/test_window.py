import numpy as np
import pytest

from results.window import begin_ps, last_ps, window_of

S = 10**12
ARRIVALS = np.array([1000 * S, 1001 * S, 1009 * S])
FINISHES = np.array([1002 * S, 1003 * S, -1])


def test_the_window_begins_with_the_first_arrival_and_the_warm_up_after_it() -> None:
    assert begin_ps(ARRIVALS, 0.0) == 1000 * S
    assert begin_ps(ARRIVALS, 2.5) == 1002 * S + S // 2


def test_the_window_ends_with_the_last_finish_and_a_refused_request_finishes_at_once() -> None:
    assert window_of(ARRIVALS[:2], FINISHES[:2], 0.0).length_s == 3.0
    assert window_of(ARRIVALS, FINISHES, 1.0).length_s == 8.0
    assert last_ps(ARRIVALS, FINISHES) == 1009 * S


@pytest.mark.parametrize("warmup_s", [9.0, 10.0, 1e6])
def test_a_window_is_never_shorter_than_nothing(warmup_s: float) -> None:
    assert window_of(ARRIVALS, FINISHES, warmup_s).length_s == 0.0


def test_no_requests_have_an_empty_window() -> None:
    no_requests = np.empty(0, np.int64)

    assert window_of(no_requests, no_requests, 3.0).length_s == 0.0
