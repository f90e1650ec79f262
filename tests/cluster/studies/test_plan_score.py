"""The analytic score: closed forms by hand, and simulation beside it."""

from typing import Any

import numpy as np
import pytest

from cluster.assembly import assemble
from cluster.machine.price import steady_decode
from cluster.scenario.load import load
from cluster.scenario.model import Scenario
from cluster.scenario.resolve import resolve
from cluster.studies.plan.cycle import decode_ps, idle_share, mix_ps
from cluster.studies.plan.prices import laid
from cluster.studies.plan.solve import queue_ps
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from cluster.studies.plan.traffic import traffic_of

PROMPT, OUTPUT = 512, 64


def asked(**changes: Any) -> Scenario:
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
    scenario = asked(
        plan={"tensor_parallel_size": group, "pipeline_parallel_size": stages},
        formats={"weights": "mxint4"},
    )
    machine = assemble(resolve(scenario))
    same = np.full(1, 1)  # one step behind the first token, so every row has a context of 64
    traffic = traffic_of(63 * same, 2 * same, 0)
    tables = laid(machine.prices, machine.joules, traffic, 1, group)

    cycle, _ = decode_ps(tables, 3.0, float(stages))

    assert cycle == steady_decode(machine.prices, batch=3 * stages, context=64).cycle_ps


def test_blocks_of_decoding_rows_are_counted_row_by_row() -> None:
    prompts, outputs = np.array([60, 200]), np.array([10, 3])
    contexts = [*range(61, 70), 201, 202]

    found = traffic_of(prompts, outputs, 64)

    assert found.blocks == np.mean([-(-context // 64) for context in contexts])
    assert found.blocks_windowed == np.mean([min(2, -(-context // 64)) for context in contexts])
    assert found.decodes == (9 + 2) / 2


def test_one_server_is_idle_for_what_its_load_leaves() -> None:
    assert idle_share(0.3, 1.0) == pytest.approx(0.7)
    assert idle_share(1.5, 2.0) == pytest.approx((1 - 0.75) / (1 + 0.75))  # M/M/2, by hand
    assert idle_share(0.5, 60.0) == pytest.approx(np.exp(-0.5))


def test_a_mixed_cycle_lies_between_its_two_kinds() -> None:
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
    choice: dict[str, tuple[int, ...]], limit: float
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

    (found,) = plan(asked(), choices=choices, finalists=1).verified

    assert found.errors["tpot_ms"] == pytest.approx(0, abs=limit)
    assert found.errors["output_throughput"] == pytest.approx(0, abs=0.05)
    assert found.errors["ttft_ms"] == pytest.approx(0, abs=0.10)
    joules = found.candidate["joules_per_output_token"]
    assert joules == pytest.approx(found.summary["joules_per_output_token"], rel=0.05)
    for name in ("cost_per_hour_usd", "cost_per_million_output_tokens_usd_high"):
        assert found.candidate[name] == pytest.approx(found.summary[name], rel=0.05)
