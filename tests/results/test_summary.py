import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corsair_common.units import Integers
from results.histogram import BINS, itl_edges_ps
from results.schema import TABLES
from results.schema.serving import cost_columns
from results.summary import Energy, Machine, flatten, nest, summarise

MS = 10**9
TWO_CARDS = Machine(cards=2)


def none_of(requests: dict[str, Integers]) -> dict[str, Integers]:
    return {name: column[:0] for name, column in requests.items()}


def test_rates_are_counts_over_the_time_from_first_arrival_to_last_event(
    requests: dict[str, Integers],
) -> None:
    summary = summarise(requests, machine=TWO_CARDS)

    assert summary["duration"] == 1.0  # the refused request arrives last, at 1 s
    assert (summary["completed"], summary["failed"], summary["rejected"]) == (3, 1, 1)
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (350, 9)
    assert summary["request_throughput"] == 3.0
    assert summary["output_throughput"] == 9.0
    assert summary["total_token_throughput"] == 359.0
    assert summary["output_tokens_per_s_per_card"] == 4.5


def test_latencies_are_those_of_completed_requests(requests: dict[str, Integers]) -> None:
    summary = summarise(requests, machine=TWO_CARDS)

    assert summary["median_ttft_ms"] == 12.0  # of 12, 20, 5
    assert summary["mean_tpot_ms"] == 6.5  # of 40/4 and 6/2; one token has none
    assert summary["output_tokens_per_s_per_user"] == 1e3 / 6.5
    assert summary["p50_e2el_ms"] == 26.0  # of 52, 26, 5
    assert summary["std_queue_ms"] == pytest.approx(np.std([2, 2, 0]))


def test_the_mean_inter_token_latency_is_exact_without_the_histogram(
    requests: dict[str, Integers],
) -> None:
    summary = summarise(requests, machine=TWO_CARDS)

    assert summary["mean_itl_ms"] == pytest.approx(46 / 6)  # 4 gaps in 40 ms, 2 in 6 ms
    assert summary["p99_itl_ms"] is None


def test_the_histogram_gives_the_spread_of_inter_token_latencies(
    requests: dict[str, Integers],
) -> None:
    gaps = [10 * MS] * 4 + [3 * MS] * 2
    counts = np.bincount(np.searchsorted(itl_edges_ps(), gaps, side="right") - 1, minlength=BINS)
    summary = summarise(requests, machine=TWO_CARDS, itl_count=counts)

    assert summary["median_itl_ms"] == pytest.approx(10, rel=0.004)
    assert summary["std_itl_ms"] == pytest.approx(np.std([10] * 4 + [3] * 2), rel=0.008)


def test_goodput_counts_requests_within_every_objective(requests: dict[str, Integers]) -> None:
    summary = summarise(requests, machine=TWO_CARDS, slo={"ttft_s": 0.012, "tpot_s": 0.01})

    assert summary["request_goodput"] == summary["goodput"] == 2.0  # the second misses its TTFT
    assert summary["slo_attainment"] == 0.5  # of four that came


def test_an_objective_that_is_met_to_the_picosecond_is_met(requests: dict[str, Integers]) -> None:
    requests["finish_ps"][0] += 1  # now 10 ms and a quarter of a picosecond per token
    summary = summarise(requests, machine=TWO_CARDS, slo={"tpot_s": 0.01})

    assert summary["request_goodput"] == 2.0


def test_one_token_outputs_satisfy_any_time_per_token(requests: dict[str, Integers]) -> None:
    summary = summarise(requests, machine=TWO_CARDS, slo={"tpot_s": 1e-9})

    assert summary["request_goodput"] == 1.0


def test_without_an_objective_there_is_no_goodput(requests: dict[str, Integers]) -> None:
    summary = summarise(requests, machine=TWO_CARDS, slo={"ttft_s": None})

    assert summary["goodput"] is None
    assert summary["slo_attainment"] is None


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_an_objective_must_be_a_number_above_zero(
    requests: dict[str, Integers], limit: float
) -> None:
    with pytest.raises(ValueError, match="above zero"):
        summarise(requests, machine=TWO_CARDS, slo={"ttft_s": limit})


def test_an_unknown_objective_is_named(requests: dict[str, Integers]) -> None:
    with pytest.raises(ValueError, match="unknown SLO 'ttfft_s'"):
        summarise(requests, machine=TWO_CARDS, slo={"ttfft_s": 1.0})


def test_a_histogram_of_other_bins_is_refused(requests: dict[str, Integers]) -> None:
    with pytest.raises(ValueError, match=r"shape \(10,\)"):
        summarise(requests, machine=TWO_CARDS, itl_count=np.zeros(10, np.int64))


def test_the_warm_up_is_left_out(requests: dict[str, Integers]) -> None:
    summary = summarise(requests, machine=TWO_CARDS, warmup_s=0.02)

    assert (summary["completed"], summary["rejected"]) == (1, 1)
    assert summary["duration"] == 0.98
    assert summary["preemptions"] == 0


def test_a_warm_up_in_the_histogram_is_noted(
    requests: dict[str, Integers],
) -> None:
    empty = np.zeros(BINS, np.int64)
    summary = summarise(
        requests, machine=TWO_CARDS, warmup_s=0.02, itl_count=empty, flags=["overload"]
    )

    assert summary["flags"] == ["overload", "itl percentiles include the warm-up"]


def test_a_run_in_which_nothing_completed_has_no_latencies(requests: dict[str, Integers]) -> None:
    refused = {name: column[3:] for name, column in requests.items()}
    summary = summarise(refused, machine=TWO_CARDS, slo={"ttft_s": 1.0})

    assert summary["mean_ttft_ms"] is None
    assert summary["p99_itl_ms"] is None
    assert summary["output_tokens_per_s_per_user"] is None
    assert summary["request_throughput"] is None  # nothing lasted: there is no time to divide by
    assert summary["slo_attainment"] == 0.0


@given(st.integers(0, 4), st.booleans())
def test_a_summary_is_json_without_nan_whatever_came(kept: int, with_slo: bool) -> None:
    columns = {
        name: np.arange(kept, dtype=np.int64)
        for name in (
            "arrival_ps",
            "first_scheduled_ps",
            "first_token_ps",
            "finish_ps",
            "prompt_tokens",
            "preemptions",
            "cached_tokens",
        )
    }
    columns |= {"output_tokens": np.ones(kept, np.int64), "status": np.zeros(kept, np.int64)}
    summary = summarise(columns, machine=TWO_CARDS, slo={"e2e_s": 1.0} if with_slo else None)

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_concurrency_peaks_where_answers_overlap(requests: dict[str, Integers]) -> None:
    assert summarise(requests, machine=TWO_CARDS)["max_concurrent_requests"] == 3


def test_a_request_that_arrives_as_another_finishes_does_not_overlap_it(
    requests: dict[str, Integers],
) -> None:
    requests["finish_ps"][:3] = [10 * MS, 20 * MS, 25 * MS]
    requests["first_token_ps"][:3] = [5 * MS, 15 * MS, 25 * MS]

    assert summarise(requests, machine=TWO_CARDS)["max_concurrent_requests"] == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=30))
def test_concurrency_is_that_of_counting_at_every_instant(spans: list[tuple[int, int]]) -> None:
    start = np.array([begin for begin, _ in spans])
    end = start + np.array([length for _, length in spans])
    some = np.zeros_like(start)
    columns = {"arrival_ps": start, "first_scheduled_ps": start, "first_token_ps": end}
    columns |= {"finish_ps": end, "prompt_tokens": some + 1, "output_tokens": some + 1}
    columns |= {"preemptions": some, "cached_tokens": some, "status": some}
    counted = max(int(((start <= now) & (now < end)).sum()) for now in range(61))

    assert summarise(columns, machine=TWO_CARDS)["max_concurrent_requests"] == counted


def test_the_machines_side_is_passed_on_and_shared_out(requests: dict[str, Integers]) -> None:
    machine = Machine(
        cards=2,
        busy_ps=[1, 1, 0, 0, 0, 2],
        prefix_caching=True,
        mean_batch_size=7.5,
        energy=Energy(
            parts_j=[2.0, 4.0, *[0.0] * 7, 12.0],
            mean_power_w=9.0,
            peak_power_w=10.0,
            facility_energy_j=36.0,
            facility_power_w={"cards": 9.0, "hosts": 9.0},
        ),
    )
    summary = summarise(requests, machine=machine)

    assert nest(flatten(summary)) == summary
    assert flatten(summary)["bound_share.dispatch"] == 0.5
    assert summary["prefix_hit_rate"] == 64 / 350
    assert summary["mean_batch_size"] == 7.5
    assert summary["joules_per_output_token"] == 2.0
    assert summary["facility_joules_per_output_token"] == 4.0
    assert flatten(summary)["energy_share.sram"] == 4 / 18


def test_busy_time_may_pass_what_int64_holds(requests: dict[str, Integers]) -> None:
    machine = Machine(cards=2, busy_ps=[2**63, 0, 0, 0, 0, 2**63])

    assert flatten(summarise(requests, machine=machine))["bound_share.stream"] == 0.5


def test_a_summary_has_exactly_the_declared_keys(requests: dict[str, Integers]) -> None:
    summary = {"run_id": "x", "model_version": 1, **summarise(requests, machine=TWO_CARDS)}

    costs = {column.name for column in cost_columns()}  # added by who knows the prices

    assert set(flatten(summary)) | costs == {column.name for column in TABLES["summary"].columns}


def test_an_empty_run_is_summarised(requests: dict[str, Integers]) -> None:
    summary = summarise(none_of(requests), machine=TWO_CARDS)

    assert summary["completed"] == 0
    assert summary["duration"] is None
