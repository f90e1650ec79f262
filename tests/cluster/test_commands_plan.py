import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster import load
from cluster.commands.app import main
from cluster.scenario.schema import PlanSettings

Captured = pytest.CaptureFixture[str]
FEW = (
    *("--tp", "4,8", "--pp", "1-2", "--weights", "mxint8", "--kv", "mxint8"),
    *("--modes", "performance", "--max-num-seqs", "4,16", "--max-num-batched-tokens", "256"),
    *("--set", "workload.synthetic.requests=200"),
)


def answer(capsys: Captured, *words: object) -> dict[str, Any]:
    assert main(["plan", *map(str, words), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_plan_saves_all_candidates_and_writes_the_best(capsys: Captured, tmp_path: Path) -> None:
    table, scenario = tmp_path / "all.parquet", tmp_path / "best.yaml"

    found = answer(capsys, *FEW, "--out", table, "--write", scenario)

    assert found["candidates"][0]["tpot_ms"] > 0
    assert pq.read_table(table).num_rows == found["scored"]
    best, written = found["candidates"][0], load(scenario)
    assert isinstance(written.plan, PlanSettings)
    assert written.plan.tensor_parallel_size == best["tensor_parallel_size"]
    assert written.scheduler.max_num_seqs == best["max_num_seqs"]


def test_candidates_without_a_score_are_counted_by_reason(capsys: Captured) -> None:
    words = [word.replace("4,8", "2,3,8") for word in FEW]

    found = answer(capsys, *words, "--slo", "tpot_s=1e-6")

    assert found["candidates"] == []
    # TP 3 does not divide 32 heads: PP 1 with 1 and 2 replicas, PP 2 with 1; two batches each.
    assert found["infeasible"]["the model cannot be cut so"] == (2 + 1) * 2
    assert found["infeasible"]["misses the SLO"] == found["scored"]


def test_the_table_sets_simulations_beside_scores(capsys: Captured) -> None:
    assert main(["plan", *FEW]) == 0

    text = capsys.readouterr().out
    assert "simulated on 200 requests, each at the rate of its score: 2 of 2 plans" in text
    assert "1 x (TP 8 x PP 1)" in text


def test_candidates_are_ranked_as_simulated(capsys: Captured, tmp_path: Path) -> None:
    found = answer(capsys, *FEW, "--out", tmp_path / "all.parquet")

    speeds = [each["simulated_output_throughput"] for each in found["candidates"]]
    assert speeds == sorted(speeds, reverse=True)
    assert all(each["meets_slo"] for each in found["simulated"])
    assert found["sample"] == {"requests": 200, "of": 200, "rank_error": 0.0}
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.num_rows - table["simulated_p99_tpot_ms"].null_count == len(found["simulated"])


def test_without_simulations_the_ranks_are_called_scores(capsys: Captured) -> None:
    assert main(["plan", *FEW, "--simulate", "0"]) == 0

    assert "ranks are scores (means); nothing was simulated" in capsys.readouterr().out


def test_simulations_go_on_until_a_plan_meets_the_slo(capsys: Captured) -> None:
    # p99 of TPOT is about 1.03 ms in one plan and 1.6 ms in the other, which has more tokens/s
    every = answer(capsys, *FEW)
    bounds = sorted(each["summary"]["p99_tpot_ms"] for each in every["simulated"])
    slo = f"tpot_s={(bounds[0] + bounds[-1]) / 2e3}"

    found = answer(capsys, *FEW, "--simulate", "1", "--slo", slo)

    best = found["simulated"][0]
    assert best["meets_slo"]
    assert best["summary"]["p99_tpot_ms"] == pytest.approx(bounds[0], rel=0.2)


def test_a_plan_that_misses_the_slo_is_not_written(capsys: Captured, tmp_path: Path) -> None:
    mean = min(each["tpot_ms"] for each in answer(capsys, *FEW)["candidates"])
    scenario, slo = tmp_path / "best.yaml", f"tpot_s={0.9 * mean / 1e3}"

    assert main(["plan", *FEW, "--write", str(scenario), "--slo", slo, "--load", "offered"]) == 3

    said = capsys.readouterr().err
    assert "no simulated plan meets the SLO on the scenario's own traffic; the nearest" in said
    assert "% from its bound" in said
    assert not scenario.exists()


def test_the_best_is_explained_as_it_was_scored(capsys: Captured) -> None:
    found = answer(capsys, *FEW, "--explain")

    best, laid = found["candidates"][0], found["explain"]
    assert laid["kv_blocks"] == best["kv_blocks"]
    assert min(stage["headroom_bytes"] for stage in laid["stages"]) == best["headroom_bytes"]
    assert main(["plan", *FEW, "--explain"]) == 0
    assert f"KV (sram): {best['kv_blocks']:,} blocks a replica" in capsys.readouterr().out


def test_without_a_candidate_within_the_slo_no_memory_is_explained(capsys: Captured) -> None:
    assert answer(capsys, *FEW, "--explain", "--slo", "tpot_s=1e-6")["explain"] is None


def test_a_trace_takes_the_place_of_the_workload_whatever_its_name(
    capsys: Captured, tmp_path: Path
) -> None:
    trace = tmp_path / "two: requests.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,64,1\n0.5,64,1\n")

    found = answer(capsys, *FEW[:-2], "--trace", trace, "--load", "offered", "--simulate", "1")

    best, (simulated,) = found["candidates"][0], found["simulated"]
    assert best["request_rate_per_s"] == pytest.approx(2.0)  # one gap of half a second
    assert best["tpot_ms"] is None  # answers of one token
    assert simulated["summary"]["completed"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--load", "2"), "up to 0.95"),
        (("--load", "full"), "number or offered"),
        (("--tp", "x"), "--tp: whole numbers"),
        (("--modes", "fast"), "memory_mode is one of"),
        (("--weights", "int3"), "int3"),
        (("--slo", "speed=1"), "--slo speed=1"),
        (("--trace", "missing.csv"), "missing.csv"),
    ],
)
def test_wrong_words_get_a_clear_error(capsys: Captured, words: tuple[str, str], said: str) -> None:
    assert main(["plan", *words]) == 2

    assert said in capsys.readouterr().err


def test_the_smallest_cluster_is_explained_too(capsys: Captured) -> None:
    found = answer(
        capsys,
        *("--min-cards", "--keep-plan", "--explain", "--slo", "ttft_s=5"),
        *("--set", "workload.synthetic.requests=20", "--set", "cluster.cards_per_server=8"),
        *("--set", "plan={tensor_parallel_size: 4, pipeline_parallel_size: 2}"),
    )

    assert found["answer"]["cards"] == 8  # what the plan needs
    layers = [stage["layers"] for stage in found["explain"]["stages"]]
    assert layers == [16, 16]  # 32 on two stages


def test_the_smallest_cluster_comes_with_its_plan_its_cost_and_a_bound(capsys: Captured) -> None:
    words = (*FEW, "--min-cards", "--slo", "ttft_s=5", "--load", "offered")
    found = answer(capsys, *words)

    best = found["answer"]
    assert best["meets"]
    assert best["cards"] == 4 * best["plan"]["pipeline_parallel_size"]  # TP 4 is the least
    assert best["usd_per_month"] == pytest.approx(730 * best["usd_per_hour"])
    assert best["usd_per_hour_low"] < best["usd_per_hour"] < best["usd_per_hour_high"]
    assert best["power_kw"] > 0
    assert all(each["cards"] <= best["cards"] and each["because"] for each in found["bounds"])
    assert main(["plan", *words]) == 0
    text = capsys.readouterr().out
    assert f"{best['cards']} cards are the minimum" in text
    assert "USD a month of 730 hours" in text
    assert "no plan of fewer than" in text


def test_the_highest_rate_comes_with_its_plan_and_the_next_best(capsys: Captured) -> None:
    found = answer(capsys, *FEW, "--max-rate", "--slo", "ttft_s=0.5,tpot_s=0.01")

    best, second = found["answer"], found["runner_up"]
    assert best["meets"]
    assert not found["beyond"]["meets"]
    assert found["beyond"]["rate_scale"] == pytest.approx(1.05 * best["rate_scale"])
    assert second["rate_scale"] <= best["rate_scale"]
    assert second["plan"] != best["plan"]
