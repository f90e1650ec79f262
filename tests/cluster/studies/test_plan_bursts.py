"""Bursts of arrivals in scores: when there are any, and what they add."""

import numpy as np
import pytest

from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import map_of
from cluster.studies.plan import bursts
from cluster.studies.plan.bursts import bursts_of, bursty, slots_excess
from cluster.studies.plan.context import study_context_of
from cluster.studies.plan.demand import demand_of
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from cluster.studies.plan.traffic import traffic_of
from corsair_common.units import Integers

SECOND_PS = 10**12


def independent(number: int) -> Integers:
    gaps = np.random.default_rng(1).exponential(SECOND_PS, number)
    return np.cumsum(gaps).astype(np.int64)


def in_groups(number: int, size: int) -> Integers:
    """``size`` arrivals at once, at a mean of one a second."""
    return np.repeat(independent(number // size) * size, size)


def test_independent_and_regular_arrivals_are_no_bursts() -> None:
    assert not bursty(independent(4000))
    assert not bursty(np.arange(4000) * SECOND_PS)


@pytest.mark.parametrize("size", [2, 100])
def test_groups_are_bursts_at_short_and_long_scales(size: int) -> None:
    assert bursty(in_groups(4000, size))


def test_too_few_arrivals_are_taken_as_independent() -> None:
    assert not bursty(in_groups(60, 20))


def test_a_server_with_work_for_two_bins_in_the_first_keeps_it_waiting_half_a_bin() -> None:
    found = np.zeros((1, 2))

    bursts._prefill(np.array([2.0, 0.0]), np.array([1.0]), found)

    assert found[0, bursts.WAIT] == 0.5  # the fluid that comes last waits one bin, the first none
    assert found[0, bursts.SEEN] == 1.0


def test_a_server_twice_as_fast_keeps_even_work_not_waiting() -> None:
    found = np.zeros((1, 2))

    bursts._prefill(np.ones(4), np.array([0.5]), found)

    assert found[0].tolist() == [0.0, 0.5]


def test_more_slots_keep_bursts_waiting_less_and_more_load_longer() -> None:
    arrivals, tokens = in_groups(4000, 50), np.full(4000, 100)
    tables = bursts_of(arrivals, tokens, tokens)
    few, many, full = (
        slots_excess(tables, load, slots, 0.5, 0.5)[0]
        for load, slots in ((0.6, 4.0), (0.6, 256.0), (0.9, 4.0))
    )

    assert 0 <= many < few < full


def test_long_answers_hold_the_kv_longer() -> None:
    scenario = chat({"fixed": 64}, {"uniform": {"low": 2, "high": 400}}, 1.0)
    resolved = resolve(scenario)
    _, routes = map_of(resolved.scenario, resolved.hardware)
    study = study_context_of(resolved, routes, Choices(), demand_of(resolved, 0.5))
    outputs = np.asarray(resolved.requests.output_tokens)
    blocks = -(-(64 + outputs - 1) // 64)

    assert study.mean_blocks.tolist() == [pytest.approx((blocks * outputs).sum() / outputs.sum())]
    assert study.mean_blocks[0] > blocks.mean()


def test_equal_traffic_has_tables_only_if_it_comes_in_bursts() -> None:
    tokens = np.full(4000, 100)
    alone, together = (
        traffic_of(tokens, tokens, [0], arrivals)
        for arrivals in (independent(4000), in_groups(4000, 50))
    )

    assert alone.bursts.prefill.size == 0
    assert together.bursts.prefill.size > 0
    assert together.varied == 0.0  # what varies is in the tables


def test_the_score_of_bursty_traffic_is_near_its_simulation() -> None:
    scenario = chat({"fixed": 512}, {"fixed": 64}, 0.02)
    choices = Choices(
        tensor_parallel_size=(8,),
        pipeline_parallel_size=(1,),
        replicas=(1,),
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(32,),
        max_num_batched_tokens=(512,),
    )

    found = plan(scenario, choices=choices, load_at=0.6, finalists=1).verified[0]

    assert (
        found.simulated["ttft_ms"] or 0.0
    ) > 10 * 20  # far beyond the 20 ms of independent arrivals
    assert abs(found.errors["ttft_ms"] or 0.0) < 0.35


def chat(prompts: object, outputs: object, burstiness: float) -> Scenario:
    """Requests whose gaps are gamma distributed with this shape."""
    gaps = {"gamma": {"rate_per_s": 10, "burstiness": burstiness}}
    synthetic = {"requests": 3000, "arrivals": gaps, "prompt_tokens": prompts}
    workload = {"synthetic": synthetic | {"output_tokens": outputs}}
    return load({"model": "llama-3.1-8b", "workload": workload})
