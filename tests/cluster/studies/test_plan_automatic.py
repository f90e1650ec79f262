"""``plan: auto``: what it becomes, that it is the estimator's best, and where nothing fits."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster import load, replay_trace, simulate, sweep
from cluster.commands.app import main
from cluster.perf_model.placement import PlacementError
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import PlanSettings
from cluster.studies.plan.study import plan
from results.api import open_run

CHATS: dict[str, Any] = {"synthetic": {"requests": 60, "preset": "azure-conv-2023"}}
BASE: dict[str, Any] = {"model": "llama-3.1-8b", "workload": CHATS}


def resolved(**overrides: Any) -> Resolved:
    return resolve(load(BASE, **overrides))


def written(run: Resolved) -> dict[str, Any]:
    """What ``auto`` has become, as a scenario file would say it."""
    whole = run.scenario.model_dump(mode="json")
    return {name: whole[name] for name in ("plan", "memory", "scheduler")}


def test_a_scenario_that_says_nothing_of_its_plan_has_plan_auto() -> None:
    assert resolved().run_id == resolved(plan="auto").run_id
    assert resolved(plan={}).plan.tensor_parallel_size == 1


def test_the_chosen_plan_and_not_the_word_is_in_the_identity() -> None:
    chosen = resolved(plan="auto")

    assert resolved(**written(chosen)).run_id == chosen.run_id
    assert resolved(plan="auto", slo={"ttft_s": 5.0}).run_id != chosen.run_id  # the SLO's own part
    assert "plan auto took tensor_parallel_size" in chosen.plan_reasons[0]
    assert resolved(**written(chosen)).plan_reasons == ()


def test_the_chosen_plan_has_the_lowest_mean_latency_of_a_full_search() -> None:
    chosen = resolved()
    own = chosen.scenario.scheduler
    from cluster import Choices

    choices = Choices(
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(own.max_num_seqs,),
        max_num_batched_tokens=(own.max_num_batched_tokens,),
    )
    found = plan(load(BASE), choices=choices, load_at="offered")
    decodes = found.scored.decodes
    best = min(found.candidates, key=lambda row: row["ttft_ms"] + decodes * row["tpot_ms"])

    sizes = PlanSettings.model_fields
    assert {name: best[name] for name in sizes} == {
        name: getattr(chosen.plan, name) for name in sizes
    }


@pytest.mark.parametrize(
    ("model", "cards"),
    [("llama-3.1-8b", 1), ("llama-3.1-70b", 8), ("llama-3.1-405b", 8), ("gpt-oss-120b", 3)],
)
def test_a_model_that_can_fit_in_some_memory_runs_without_a_plan(model: str, cards: int) -> None:
    size = {"cards_per_server": cards}
    workload = {"synthetic": {"requests": 5, "preset": "azure-conv-2023"}}
    run = simulate(load(model=model, cluster=size, workload=workload, plan="auto", scheduler={}))

    assert run.summary["completed"] == 5
    assert run.resolved.plan.cards <= cards


def test_what_the_scenario_says_of_memory_and_batch_is_kept() -> None:
    chosen = resolved(memory={"mode": "capacity"}, scheduler={"max_num_seqs": 7})

    assert chosen.scenario.memory.mode == "capacity"
    assert chosen.scenario.scheduler.max_num_seqs == 7


def test_without_a_rate_or_beyond_every_capacity_the_plan_has_the_highest_capacity() -> None:
    (at_once,) = resolved(workload={"synthetic": {"requests": 1}}).plan_reasons
    (too_many,) = resolved(workload={"rate_scale": 1e4}).plan_reasons

    assert at_once.endswith(": the highest capacity")
    assert "the highest capacity; no plan carries" in too_many


def test_an_slo_that_no_plan_meets_is_named() -> None:
    (reason,) = resolved(slo={"tpot_s": 1e-6}).plan_reasons

    assert reason.endswith("no plan meets the SLO on the mean")


def test_kv_that_is_pinned_to_lpddr_gets_the_plan_of_kv_in_sram() -> None:
    spilled, near = resolved(memory={"pin": {"kv": "spill"}}), resolved()

    assert spilled.plan == near.plan
    assert spilled.scenario.memory.pin.kv == "spill"


def test_a_composing_ahead_scheduler_gets_one_stage() -> None:
    assert resolved(scheduler={"async_scheduling": True}).plan.pipeline_parallel_size == 1


def test_each_pool_gets_a_plan_of_its_own_cards() -> None:
    pools = {"prefill": {"cards": 8}, "decode": {"cards": 7, "plan": "auto"}}
    chosen = resolved(cluster={"servers_per_rack": 2}, pools=pools)

    assert chosen.pools is not None
    assert [pool.plan.cards for pool in chosen.pools] == [8, 6]  # 1 x 6 cards: 7 is no doubling
    assert [reason[:14] for reason in chosen.plan_reasons] == ["pools.prefill:", "pools.decode: "]
    explicit = chosen.scenario.model_dump(mode="json")["pools"]
    assert resolved(cluster={"servers_per_rack": 2}, pools=explicit).run_id == chosen.run_id


def test_a_pool_may_leave_its_plan_open_where_the_scenario_has_one() -> None:
    pools = {"prefill": {"cards": 8, "plan": "auto"}, "decode": {"cards": 8}}
    own = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    chosen = resolved(cluster={"servers_per_rack": 2}, plan=own, pools=pools)

    assert len(chosen.plan_reasons) == 1
    assert chosen.pools is not None
    assert chosen.pools[1].plan.tensor_parallel_size == 4


def test_where_nothing_fits_the_run_ends_with_the_shortfall_and_what_would() -> None:
    with pytest.raises(PlacementError) as refused:
        resolved(model="llama-3.1-405b", cluster={"cards_per_server": 1})

    text = str(refused.value)
    assert refused.value.exit_code == 3
    assert "short by" in text
    assert "the smallest cluster that fits has 2 cards" in text


def test_a_generated_program_gets_a_plan_and_recorded_operations_do_not(tmp_path: Path) -> None:
    program = {"phase": "decode", "batch": 8, "context": 100, "steps": 2}
    run = replay_trace({"model": "llama-3.1-70b", "workload": {"program": program}})
    run.save_program(tmp_path / "p.parquet")

    assert run.summary["steps"] == 2
    assert "lowest mean latency" in run.resolved.plan_reasons[0]
    recorded = {"model": "llama-3.1-70b", "workload": {"program": str(tmp_path / "p.parquet")}}
    with pytest.raises(ValueError, match="recorded operations have the ranks"):
        replay_trace({**recorded, "plan": "auto"})


def test_every_point_of_a_sweep_gets_its_own_plan(tmp_path: Path) -> None:
    axes = [{"grid": {"cluster.cards_per_server": [4, 8]}}]
    done = sweep({"name": "auto", "base": BASE, "axes": axes}, out=tmp_path / "s")

    assert [row["status"] for row in done.points.to_pylist()] == ["completed", "completed"]
    assert done.points.column("run_id").to_pylist() == [
        resolved(cluster={"cards_per_server": cards}).run_id for cards in (4, 8)
    ]


def test_the_command_and_the_manifest_say_which_plan_was_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(BASE), "utf-8")
    assert main(["serve", str(path), "--out", str(tmp_path), "--json"]) == 0

    shown = capsys.readouterr()
    payload = json.loads(shown.out)
    assert payload["plan_reasons"][0].startswith("plan auto took tensor_parallel_size")
    assert f"note: {payload['plan_reasons'][0]}" in shown.err
    manifest = open_run(payload["run_dir"]).manifest
    assert manifest["plan_reasons"] == payload["plan_reasons"]
    assert manifest["scenario"]["plan"]["tensor_parallel_size"] >= 1


def test_a_sweep_s_condition_reads_a_plan_that_is_named_and_not_one_that_is_open(
    tmp_path: Path,
) -> None:
    skip = ["plan.tensor_parallel_size == 1 and plan.pipeline_parallel_size == 4"]
    grid = {"plan.pipeline_parallel_size": [4, 8]}
    named = {"name": "named", "base": BASE, "axes": [{"grid": grid}], "skip": skip}
    done = sweep(named, out=tmp_path / "named")

    statuses = done.points.sort_by("point").column("status").to_pylist()
    assert statuses == ["skipped", "completed"]
    left_open = {**named, "axes": [{"grid": {"seed": [0, 1]}}]}
    with pytest.raises(ValueError, match="the plan of the point is auto, chosen when it runs"):
        sweep(left_open, out=tmp_path / "open")


def test_traffic_that_is_refused_as_a_whole_gets_the_plan_with_most_room() -> None:
    (reason,) = resolved(scheduler={"max_model_len": 1}).plan_reasons

    assert "the most room" in reason
