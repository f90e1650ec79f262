"""Every picosecond of a request's latency has one cause."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import Run, load, simulate
from cluster.disaggregated.run import PooledOutcome
from cluster.perf_model.tables import PriceTables
from cluster.serving.engine import begun, run, served_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.latency_breakdown import LatencyBreakdown
from cluster.serving.reference import serve_reference
from cluster.serving.tables import latency_of, request_ps
from results.engine_columns import Latency

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]

ALONE: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
    "workload": {
        "synthetic": {
            "requests": 1,
            "arrivals": {"poisson": {"rate_per_s": 1.0}},
            "prompt_tokens": {"uniform": {"low": 100, "high": 100}},
            "output_tokens": {"uniform": {"low": 3, "high": 3}},
        }
    },
}


def split(problem: Problem, window_steps: int) -> tuple[Served, Latency]:
    """Serve in windows of so many steps."""
    state, latency = begun(*problem), LatencyBreakdown(problem[1], len(problem[0].arrival_ps))
    run(state, on_log=latency.add, window_steps=window_steps)
    served = served_of(state)
    return served, latency.of(served)


def with_bounds(prices: PriceTables) -> PriceTables:
    """Random tables have no times by bound, and products of a kind with unequal parts."""
    attention = prices.attention.copy()
    attention["parts"] = 2.0
    linear, head = (
        np.zeros_like(each) for each in (prices.linear_by_bound_ps, prices.head_by_bound_ps)
    )
    linear[..., 1], head[..., 0] = prices.linear_ps, prices.head_ps
    return replace(prices, attention=attention, linear_by_bound_ps=linear, head_by_bound_ps=head)


@settings(max_examples=25, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_parts_sum_to_every_latency_whatever_the_windows(
    data: st.DataObject,
    serving_problems: st.SearchStrategy[Problem],
    starved_problems: st.SearchStrategy[Problem],
    quiet_problems: st.SearchStrategy[Problem],
) -> None:
    arrivals, prices, limits = data.draw(serving_problems | starved_problems | quiet_problems)
    problem = arrivals, with_bounds(prices), limits

    served, parts = split(problem, 4096)
    other = split(problem, 3)[1]

    done = parts.done
    np.testing.assert_array_equal(
        parts.whole.sum(axis=1)[done], (served.finish_ps - served.arrival_ps)[done]
    )
    np.testing.assert_array_equal(
        parts.first.sum(axis=1)[done], (served.first_token_ps - served.arrival_ps)[done]
    )
    assert (parts.first >= 0).all()
    assert (parts.whole >= parts.first).all()
    assert not parts.whole[~done].any()
    again = parts.whole[:, parts.causes.index("recomputation")]
    assert not again[served.preemptions == 0].any()
    np.testing.assert_array_equal(parts.whole, other.whole)
    np.testing.assert_array_equal(parts.first, other.first)


def test_the_log_of_the_reference_gives_the_same_parts(
    constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    problem = (
        make_arrivals((0, 20, 3), (3, 2, 9), (4, 30, 4), (90, 1, 2)),
        replace(constant_tables(stage_ps=[10, 7]), return_ps=np.array([5])),
        roomy,
    )
    latency = LatencyBreakdown(problem[1], 4)
    served = serve_reference(*problem, on_log=latency.add)

    expected = split(problem, 4096)[1]
    np.testing.assert_array_equal(latency.of(served).whole, expected.whole)


def parts_of(latency: Latency, request: int, *, first: bool = False) -> dict[str, int]:
    """Causes that are not 0."""
    row = (latency.first if first else latency.whole)[request]
    return {name: int(ps) for name, ps in zip(latency.causes, row, strict=True) if ps}


def test_the_second_of_two_waits_for_the_first_ones_step(
    constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    """Steps of 10 ps on one stage. The second arrives at 3, is read from 10 to 20 while the first
    decodes, and decodes until 30."""
    prices = with_bounds(constant_tables(stage_ps=[10]))
    arrivals = make_arrivals((0, 4, 3), (3, 4, 2))

    served, latency = split((arrivals, prices, roomy), 4096)

    assert served.finish_ps.tolist() == [30, 30]
    assert parts_of(latency, 0) == {"mac": 30}
    assert parts_of(latency, 1) == {"admission": 7, "mac": 20}
    assert parts_of(latency, 1, first=True) == {"admission": 7, "mac": 10}


def test_a_request_that_steps_pass_over_waits_behind_what_they_compute(
    constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    """One sequence at a time: steps with prompt tokens from 0 and 10, decodes from 20 and 30; the
    second request arrives at 5, and its first step starts at 40."""
    prices = with_bounds(constant_tables(stage_ps=[10]))
    limits = replace(roomy, max_num_seqs=1, max_num_batched_tokens=4)

    latency = split((make_arrivals((0, 8, 3), (5, 4, 1)), prices, limits), 4096)[1]

    assert parts_of(latency, 0) == {"mac": 40}
    assert parts_of(latency, 1) == {
        "admission": 5,
        "queue_prompts": 10,
        "queue_decodes": 20,
        "mac": 10,
    }


def test_a_prompt_that_was_lost_half_read_is_computed_again(
    constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    """The run of ``two_stages_short_of_blocks`` in test_preemption_by_hand: request 2 joins at 1
    and is read from 10; it is preempted before the step at 20, waits behind that step of decodes
    until 40, is read from 40, and its last chunk passes both stages from 50 to 70."""
    prices = with_bounds(constant_tables(stage_ps=[10, 10]))
    limits = replace(roomy, block_size=1, blocks=11, max_num_batched_tokens=6)
    arrivals = make_arrivals((0, 2, 2), (0, 2, 2), (1, 7, 1))

    served, latency = split((arrivals, prices, limits), 4096)

    assert served.preemptions.tolist() == [0, 0, 1]
    assert parts_of(latency, 2) == {
        "admission": 9,
        "queue_decodes": 20,
        "recomputation": 10,
        "mac": 30,
    }


def test_one_request_alone_is_what_the_price_tables_say() -> None:
    """A prompt of 100 tokens in one step, then two decodes: three passes of one stage."""
    done = simulate(load(ALONE, hardware_set={"host.overhead_s": 5e-5}))
    prices, latency = done.machine.prices, done.outcome.latency
    assert latency is not None
    parts = parts_of(latency, 0)

    head = prices.head_by_bound_ps[0, 1]
    linear = prices.linear_by_bound_ps[0, 100] + 2 * prices.linear_by_bound_ps[0, 1] + 3 * head
    tiers = prices.collective_by_tier_ps[0, 100] + 2 * prices.collective_by_tier_ps[0, 1]
    tiers = tiers + 3 * prices.head_by_tier_ps[0, 1]
    for tier, ps in zip(prices.tiers, tiers.tolist(), strict=True):
        assert parts.get(f"network_{tier}", 0) == ps
    assert parts["host"] == 3 * 50_000_000
    assert parts["dispatch"] == linear[prices.bounds.index("dispatch")] - parts["host"]
    assert "other_batches" not in parts
    assert not any(name.startswith("queue") for name in parts)
    lasts_ps = done.outcome.served.finish_ps - done.outcome.served.arrival_ps
    assert sum(parts.values()) == lasts_ps[0]


@pytest.mark.parametrize(
    ("cause", "freed"),
    [
        ("host", {"host.overhead_s": 0.0}),
        ("dispatch", {"card.dispatch_s": 0.0}),
    ],
)
def test_without_a_cause_latencies_are_shorter_by_what_it_was_charged(
    cause: str, freed: dict[str, float]
) -> None:
    def served(**figures: float) -> Run:
        return simulate(load(ALONE, hardware_set={"host.overhead_s": 5e-5} | figures))

    before, after = served(), served(**freed)
    before_s, after_s = (np.asarray(done.requests["e2e_s"]).mean() for done in (before, after))
    gained_s = float(before_s - after_s)

    charged_s = float(np.asarray(before.latency_breakdown[f"{cause}_s"]).mean())
    assert gained_s == pytest.approx(charged_s, rel=0.05)


def test_pools_hand_over_between_their_parts(run_small: Callable[..., Run]) -> None:
    done = run_small(
        cluster={"servers_per_rack": 2},
        pools={"prefill": {"cards": 8}, "decode": {"cards": 8}},
        plan={"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    )
    latency, served = done.outcome.latency, done.outcome.served
    assert latency is not None
    assert isinstance(done.outcome, PooledOutcome)

    hand_over = latency.first[:, latency.causes.index("hand_over")]
    np.testing.assert_array_equal(hand_over, done.outcome.transfer_ps)
    np.testing.assert_array_equal(latency.whole.sum(axis=1), served.finish_ps - served.arrival_ps)
    np.testing.assert_array_equal(
        latency.first.sum(axis=1), served.first_token_ps - served.arrival_ps
    )


MACHINES: Mapping[str, dict[str, Any]] = {
    "a GPU, batches ahead, host time of requests": {
        "hardware": "h100",
        "hardware_set": {"engine.request_s": 0.01},
        "cluster": {"cards_per_server": 8},
        "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": 1},
        "scheduler": {"async_scheduling": True, "max_num_seqs": 8},
    },
    "windows, KV in LPDDR": {
        "model": "gpt-oss-20b",
        "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
        "memory": {"mode": "capacity", "pin": {"kv": "spill"}},
        "formats": {"weights": "mxint4"},
    },
    "weights in LPDDR, closed loop": {
        "memory": {"mode": "capacity"},
        "workload": {"synthetic": {"requests": 40, "arrivals": {"concurrency": 9}}},
    },
}


@pytest.mark.parametrize("machine", MACHINES)
def test_parts_sum_to_the_latencies_of_real_machines(
    run_small: Callable[..., Run], machine: str
) -> None:
    done = run_small(**MACHINES[machine])
    times = request_ps(done.resolved, done.outcome)
    latency = latency_of(done.resolved, done.outcome)
    assert latency is not None

    assert latency.done.all()
    for parts, end in ((latency.whole, "finish_ps"), (latency.first, "first_token_ps")):
        assert (parts >= 0).all()
        np.testing.assert_array_equal(parts.sum(axis=1), times[end] - times["arrival_ps"])
    if done.machine.prices.stages == 1 and not done.machine.limits.async_scheduling:
        assert not latency.whole[:, latency.causes.index("other_batches")].any()


def test_a_run_without_the_table_has_no_shares(run_small: Callable[..., Run]) -> None:
    done = run_small(store={"latency_breakdown": False})

    assert done.latency_breakdown == {}
    assert not any(done.summary["latency_share"].values())
