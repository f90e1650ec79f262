"""Memory mode ``auto`` in plans: every batch is placed as a run with it would be."""

from typing import Any

import pytest

from cluster.perf_model.memory.placement import uniform
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import lay_out
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import Plans, plan

USERS = {"concurrency": 12}
POISSON = {"poisson": {"rate_per_s": 5}}


def studied(arrivals: dict[str, Any], *, group: int, stages: int, **memory: Any) -> Plans:
    traffic = {
        "requests": 50,
        "arrivals": arrivals,
        "prompt_tokens": {"fixed": 1024},
        "output_tokens": {"fixed": 256},
    }
    requested = load(
        {"model": "llama-3.1-8b", "memory": memory, "workload": {"synthetic": traffic}}
    )
    choices = Choices(
        tensor_parallel_size=(group,),
        pipeline_parallel_size=(stages,),
        memory_mode=("auto",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(1, 32),
        max_num_batched_tokens=(256,),
    )
    return plan(requested, choices=choices, finalists=0)


@pytest.mark.parametrize(("group", "stages"), [(4, 1), (4, 2)])
@pytest.mark.parametrize("arrivals", [POISSON, USERS])
def test_a_batch_is_placed_as_a_run_of_it_is(
    arrivals: dict[str, Any], group: int, stages: int
) -> None:
    found = studied(arrivals, group=group, stages=stages)
    rows = [found.candidate(row) for row in range(len(found.scored.shape))]

    assert {row["max_num_seqs"] for row in rows} == ({1, 32} if stages == 1 else {32})
    for row in rows:
        fitted = lay_out(resolve(found.scenario(row))).fit
        assert row["memory_mode"] == fitted.mode == "auto"
        assert row["kv_blocks"] == fitted.blocks
        assert row["headroom_bytes"] == min(fitted.headroom_bytes)


def test_everything_is_in_sram_if_it_fits() -> None:
    found = studied(POISSON, group=4, stages=2)
    resolved = resolve(found.scenario(found.candidates[0]))

    placed = lay_out(resolved).fit.residency

    assert placed == uniform("performance", resolved.model, resolved.plan)
    assert found.infeasible["fewer seats than stages"] == 1  # one replica, max_num_seqs 1


def test_a_model_that_waits_in_lpddr_takes_room_from_a_plan() -> None:
    alone = studied(POISSON, group=4, stages=1).infeasible
    # Twice 671 billion parameters of a byte, and 4 cards of 256 GB.
    beside = studied(POISSON, group=4, stages=1, also_resident=["deepseek-v3"] * 2)

    assert "LPDDR too small" not in alone
    assert beside.infeasible == {"LPDDR too small": 2 * 2}  # one or two replicas, two batches


def test_auto_takes_powers_of_two_unless_max_num_seqs_is_set() -> None:
    sizes, budgets = Choices(memory_mode=("auto",)).grid("auto")

    assert sorted(set(sizes.tolist())) == [1 << power for power in range(11)]
    assert len(sizes) == 11 * len(set(budgets.tolist()))
    assert set(Choices(max_num_seqs=(3, 5)).grid("auto")[0].tolist()) == {3, 5}
