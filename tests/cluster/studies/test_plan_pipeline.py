"""Scores of several stages, through which prompts stream: by hand, and simulations beside them."""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.api.serving import simulate
from cluster.scenario.load import load
from cluster.scenario.schema import Scenario
from cluster.studies.plan.chance import capped, gathered, largest_of
from cluster.studies.plan.pipeline import queue_wait_ps, streaming_share
from cluster.studies.plan.space import Choices
from cluster.studies.plan.steps import RANDOM
from cluster.studies.plan.study import plan

share_of: Any = streaming_share.py_func  # type: ignore[attr-defined]  # as Python: made-up tables
STAGES, MAX_NUM_SEQS, BUDGET = 4, 64, 256


def scenario_with(
    prompt: int, output: Mapping[str, object], rate_per_s: float, requests: int
) -> Scenario:
    """Llama-3.1-8B in four stages on a server."""
    return load(
        {
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": STAGES},
            "formats": {"weights": "mxint8", "kv": "mxint8"},
            "scheduler": {"max_num_seqs": MAX_NUM_SEQS, "max_num_batched_tokens": BUDGET},
            "workload": {
                "synthetic": {
                    "requests": requests,
                    "arrivals": {"poisson": {"rate_per_s": rate_per_s}},
                    "prompt_tokens": {"fixed": prompt},
                    "output_tokens": output,
                }
            },
        }
    )


def as_it_is() -> Choices:
    """The plan of ``scenario_with``, and no other."""
    return Choices(
        tensor_parallel_size=(2,),
        pipeline_parallel_size=(STAGES,),
        replicas=(1,),
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(MAX_NUM_SEQS,),
        max_num_batched_tokens=(BUDGET,),
    )


def random_arrivals(chance: float) -> SimpleNamespace:
    facts = np.zeros(RANDOM + 1)
    facts[RANDOM] = chance
    return SimpleNamespace(facts=facts)


def test_the_largest_of_normal_numbers_has_its_known_distribution() -> None:
    assert largest_of(1) == pytest.approx(0.0, abs=1e-6)
    assert largest_of(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-5)
    assert largest_of(3) == pytest.approx(1.5 / math.sqrt(math.pi), rel=1e-5)


def test_a_slot_takes_at_most_max_num_seqs() -> None:
    assert capped(10.0, 2.0, 1.0) == pytest.approx(2.0)  # they are never all taken
    assert capped(10.0, 40.0, 1.0) == pytest.approx(10.0)  # always
    assert capped(5.0, 5.0, 1.0) == pytest.approx(5.0 - 1 / math.sqrt(2 * math.pi))


def test_rare_requests_seldom_arrive_with_others() -> None:
    assert gathered(1e-9) == 1.0
    assert gathered(1.0) == pytest.approx(1 / (1 - math.exp(-1)))


def test_chunks_are_on_their_way_as_often_as_servers_without_number_are_busy() -> None:
    share = share_of(random_arrivals(1.0), 0.5, (0.0, 2.0), 0.0)
    assert share == pytest.approx(1 - math.exp(-1.0))


def test_one_stage_after_the_other_is_busy_as_one_server_is() -> None:
    """Nothing is left of a prompt when the slowest stage is done with it."""
    share = share_of(random_arrivals(1.0), 0.25, (2.0, 2.0), 0.0)
    assert share == pytest.approx(0.5)


def test_prompts_that_wait_for_the_end_of_others_make_busy_times_longer() -> None:
    """With the mean of 1 during the others' 2 s, ``e - 1`` to 1 becomes ``e`` to 1."""
    share = share_of(random_arrivals(1.0), 0.5, (0.0, 2.0), 2.0)
    assert share / (1 - share) == pytest.approx(math.e)


def test_arrivals_in_step_keep_a_share_of_time_that_is_their_load() -> None:
    share = share_of(random_arrivals(0.0), 0.2, (1.0, 2.0), 0.0)
    assert share == pytest.approx(0.4)


def test_the_first_stage_is_one_server_with_constant_service() -> None:
    assert queue_wait_ps(0.5, 8.0, 0.0, 0.0) == pytest.approx(0.5 * 8.0 / (2 * 0.5))  # M/D/1
    assert queue_wait_ps(0.5, 8.0, 0.0, 1.0) == pytest.approx(0.5 * 8.0 / 0.5)  # M/M/1
    assert queue_wait_ps(0.5, 8.0, 1.0, 0.0) == pytest.approx(0.5 * 4.0)  # the rest of a batch


@pytest.mark.parametrize("prompt", [100, 256, 700, 2000])
def test_on_an_idle_pipeline_a_prompt_is_scored_as_it_is_simulated(prompt: int) -> None:
    """(chunks - 1) steps of the slowest stage and one crossing; 2,000 tokens are eight chunks."""
    (found,) = plan(
        scenario_with(prompt, {"fixed": 8}, 1.0, 40), choices=as_it_is(), load_at=1e-4, finalists=1
    ).verified

    assert found.errors["ttft_ms"] == pytest.approx(0, abs=0.02)
    assert found.errors["tpot_ms"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("prompt", "output"), [(200, 100), (1000, 200)])
def test_a_full_pipeline_serves_its_capacity(prompt: int, output: int) -> None:
    """Answers of many lengths keep requests at independent phases; too many come, and the middle
    of what is answered is counted."""
    lengths = {"uniform": {"low": 2, "high": 2 * output - 2}}
    scored = plan(
        scenario_with(prompt, lengths, 1.0, 1500), choices=as_it_is(), load_at=0.5, finalists=0
    )
    capacity = scored.candidates[0]["request_rate_per_s"] / 0.5

    run = simulate(scenario_with(prompt, lengths, 3 * capacity, 1500))

    finish_s = np.sort(np.asarray(run.requests["finish_s"]))
    assert 700 / (finish_s[1100] - finish_s[400]) == pytest.approx(capacity, rel=0.12)


@pytest.mark.parametrize(("prompt", "limit"), [(200, 0.06), (1000, 0.08)])
def test_a_loaded_pipeline_is_simulated_as_it_was_scored(prompt: int, limit: float) -> None:
    (found,) = plan(
        scenario_with(prompt, {"fixed": 100}, 1.0, 4000),
        choices=as_it_is(),
        load_at=0.6,
        finalists=1,
    ).verified

    for name in ("ttft_ms", "tpot_ms"):
        assert found.errors[name] == pytest.approx(0, abs=limit)
    assert found.errors["output_throughput"] == pytest.approx(0, abs=0.03)
    assert found.errors["joules_per_output_token"] == pytest.approx(0, abs=0.05)
