"""The analytic score: closed forms by hand, and simulation beside it."""

from typing import Any

import numpy as np
import pytest

from cluster.perf_model.attention import UNBOUNDED
from cluster.perf_model.prices import steady_decode
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import assemble
from cluster.studies.plan.mixed_cycle import decode_ps, mix_ps
from cluster.studies.plan.prices import price_arrays, score_inputs
from cluster.studies.plan.queueing import closing_ps, queue_ps
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from cluster.studies.plan.traffic import traffic_of

PROMPT, OUTPUT = 512, 64


def scenario_with(**changes: Any) -> Scenario:
    """Llama-3.1-8B on a server, equal requests."""
    return load(
        {
            "name": "plain",
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 8},
            "workload": {
                "synthetic": {
                    "requests": 900,
                    "arrivals": {"poisson": {"rate_per_s": 10}},
                    "prompt_tokens": {"fixed": PROMPT},
                    "output_tokens": {"fixed": OUTPUT},
                }
            },
        },
        **changes,
    )


@pytest.mark.parametrize(("group", "stages"), [(8, 1), (4, 2), (1, 8)])
def test_a_decode_cycle_is_that_of_the_steady_closed_form(group: int, stages: int) -> None:
    scenario = scenario_with(
        plan={"tensor_parallel_size": group, "pipeline_parallel_size": stages},
        formats={"weights": "mxint4"},
    )
    machine = assemble(resolve(scenario))
    same = np.full(1, 1)  # one step behind the first token, so every row has a context of 64
    traffic = traffic_of(63 * same, 2 * same, [])
    arrays = price_arrays(machine.prices, machine.joules, traffic, group)
    tables = score_inputs(arrays, traffic.bursts, np.array([256]), 64)

    cycle = decode_ps(tables, 3.0, float(stages))

    assert cycle == steady_decode(machine.prices, batch=3 * stages, context=64).cycle_ps


@pytest.mark.parametrize("stages", [1, 2])
def test_a_score_does_not_depend_on_where_its_search_begins(stages: int) -> None:
    found = []
    for max_num_seqs in (
        tuple(range(stages, 65)),
        (5, 16, 64),
    ):  # beside a neighbour, or a leap away
        choices = Choices(
            tensor_parallel_size=(4,),
            pipeline_parallel_size=(stages,),
            memory_mode=("performance",),
            weights=("mxint4",),
            kv=("mxint8",),
            max_num_seqs=max_num_seqs,
        )
        columns = plan(scenario_with(), choices=choices, finalists=0).columns
        rows = np.isin(columns["max_num_seqs"], (5, 16, 64))
        found.append({name: column[rows] for name, column in columns.items()})

    near, far = found
    assert len(near["cards"]) == 3 * 5 * (3 - stages)  # five budgets; one replica of two, or two
    for name in ("ttft_ms", "tpot_ms", "request_rate_per_s", "joules_per_output_token"):
        assert near[name] == pytest.approx(far[name], rel=1e-6)


def test_a_request_during_decode_waits_for_half_a_step() -> None:
    assert closing_ps(1e-9, 0.0, 8.0) == pytest.approx(4.0)
    # arrivals are rare: a vacation of one step of 6, then of 1 / (rate x 2) steps of 2
    assert closing_ps(1e-9, 6.0, 2.0) == pytest.approx(1.0, rel=1e-6)
    # arrivals are always frequent: the first step is the only one
    assert closing_ps(1e3, 6.0, 2.0) == pytest.approx(3.0)


def test_blocks_of_decoding_rows_are_counted_row_by_row() -> None:
    prompts, outputs = np.array([60, 200]), np.array([10, 3])
    contexts = [*range(61, 70), 201, 202]

    found = traffic_of(prompts, outputs, [2])

    assert found.blocks[UNBOUNDED] == np.mean([-(-context // 64) for context in contexts])
    assert found.blocks[2] == np.mean([min(2, -(-context // 64)) for context in contexts])
    assert found.decodes == (9 + 2) / 2


def test_a_mixed_cycle_is_between_its_two_kinds() -> None:
    assert mix_ps(2.0, 6.0, 0.0) == 2.0
    assert mix_ps(2.0, 6.0, 1.0) == 6.0
    assert mix_ps(2.0, 6.0, 0.5) == pytest.approx(3.0)


def test_the_wait_for_one_server_is_that_of_constant_service() -> None:
    assert queue_ps(0.5, 1.0, 8.0) == pytest.approx(0.5 * 8.0 * 0.5 / 0.5)  # M/D/1


@pytest.mark.parametrize(
    ("choice", "limit"),
    [
        ({"tensor_parallel_size": (8,), "max_num_seqs": (16,)}, 0.05),
        ({"tensor_parallel_size": (4,), "max_num_seqs": (32,)}, 0.10),
    ],
)
def test_a_loaded_candidate_is_simulated_as_it_was_scored(
    choice: dict[str, Any], limit: float
) -> None:
    stages = 8 // choice["tensor_parallel_size"][0]
    choices = Choices(
        **choice,
        pipeline_parallel_size=(stages,),
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_batched_tokens=(256,),
    )

    (found,) = plan(scenario_with(), choices=choices, finalists=1).verified

    assert found.errors["tpot_ms"] == pytest.approx(0, abs=limit)
    assert found.errors["output_throughput"] == pytest.approx(0, abs=0.05)
    assert found.errors["ttft_ms"] == pytest.approx(0, abs=0.10)
    assert found.errors["joules_per_output_token"] == pytest.approx(0, abs=0.05)
    for name in ("cost_per_hour_usd", "cost_per_million_output_tokens_usd_high"):
        assert found.candidate[name] == pytest.approx(found.summary[name], rel=0.05)


def test_cards_that_a_candidate_leaves_idle_are_taken_off_the_simulated_energy() -> None:
    choices = Choices(
        tensor_parallel_size=(4,),
        pipeline_parallel_size=(1,),
        replicas=(1,),
        memory_mode=("performance",),
        weights=("mxint4",),
        kv=("mxint8",),
        max_num_seqs=(4,),
        max_num_batched_tokens=(256,),
    )

    (found,) = plan(scenario_with(), choices=choices, finalists=1).verified

    summary = found.summary
    static_w = 64.3 * 4  # of the server's eight cards four have no rank
    assert found.idle_j == pytest.approx(static_w * summary["duration"], rel=1e-2)
    own = (summary["energy_j"] - found.idle_j) / summary["energy_j"]
    simulated = found.simulated["joules_per_output_token"]
    assert simulated == pytest.approx(own * summary["joules_per_output_token"])
    assert found.errors["joules_per_output_token"] == pytest.approx(0, abs=0.05)
