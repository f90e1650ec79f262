"""What is simulated in a plan study, on which requests, and what a verdict allows."""

from pathlib import Path

import numpy as np
import pytest

from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Slo
from cluster.studies.plan import finalists
from cluster.studies.plan.capacity_bounds import bounds_of
from cluster.studies.plan.finalists import sample_of
from cluster.studies.plan.promise import promise
from cluster.studies.plan.simulations import Objective
from cluster.studies.plan.space import Choices

SUMMARY = {
    "rejected": 0,
    "completed": 10,
    "p99_ttft_ms": 300.0,
    "p99_tpot_ms": 5.0,
    "slo_attainment": 0.96,
}


def test_the_largest_percentile_over_its_bound_is_the_excess() -> None:
    objective = Objective(slo=Slo(ttft_s=0.2, tpot_s=0.01))

    assert objective.excess(SUMMARY) == pytest.approx(1.5)  # 300 ms of 200; 5 ms of 10
    assert not objective.met(SUMMARY)
    assert Objective(slo=Slo(ttft_s=0.3)).met(SUMMARY)


def test_an_attainment_takes_the_place_of_the_percentiles() -> None:
    objective = Objective(slo=Slo(ttft_s=0.2), attainment=0.95)

    assert objective.met(SUMMARY)
    assert objective.excess(SUMMARY) == pytest.approx(0.8)  # 4 % beyond the bounds, 5 % may be


def test_a_refused_request_misses_every_objective() -> None:
    refused = {**SUMMARY, "rejected": 1}

    assert not Objective(slo=Slo(ttft_s=1.0)).met(refused)
    assert not Objective(slo=Slo(ttft_s=1.0), attainment=0.5).met(refused)
    assert Objective(slo=Slo(ttft_s=1.0)).excess(refused) == float("inf")


@pytest.mark.parametrize("requests", [1, 7, 100, 101, 250])
def test_one_more_than_the_spare_requests_beyond_a_bound_fails_for_certain(requests: int) -> None:
    spare = Objective(slo=Slo(ttft_s=1.0)).spare(requests)

    values = np.ones(requests)
    values[: spare + 1] = 1.001  # hardly beyond the bound of 1
    assert np.percentile(values, 99) > 1.0
    values[: spare + 1] = 1.0
    values[:spare] = 1e-9 + 1.0
    assert spare == 0 or np.percentile(values, 99) < 1.0 + 1e-9


def test_of_a_long_trace_the_first_requests_are_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "four.csv"
    rows = "".join(f"{second},64,2\n" for second in range(4))
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows)
    resolved = resolve(load(workload={"trace": str(trace)}))
    monkeypatch.setattr(finalists, "MOST_REQUESTS", 3)

    sample = sample_of(resolved)

    assert (sample.requests, sample.of) == (3, 4)
    assert sample.rank_error == pytest.approx(1.96 * (0.99 * 0.01 / 3) ** 0.5)
    monkeypatch.setattr(finalists, "MOST_REQUESTS", 4)
    assert sample_of(resolved).rank_error == 0.0


def test_weights_in_sram_bound_the_cards() -> None:
    scenario = load(
        model="llama-3.1-8b",
        cluster={"cards_per_server": 8},
        workload={"synthetic": {"requests": 50, "arrivals": {"poisson": {"rate_per_s": 1}}}},
    )
    choices = Choices(
        tensor_parallel_size=(8,),
        pipeline_parallel_size=(1,),
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(16,),
    )

    found = bounds_of(promise(scenario, Objective(slo=Slo(ttft_s=1)), choices, scenario.cluster))

    # 8.03e9 parameters at 8.5 bits or less, of which a card holds 8 x 256 MB x 0.9 = 1.84 GB
    memory = next(each for each in found if "its weights" in each.because)
    assert memory.cards == 5
    assert "SRAM of so many cards, 1.84 GB each" in memory.because
    assert found[0].cards == 8  # one whole replica of the only plan
