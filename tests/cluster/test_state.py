"""Runs with parts of the cluster down: what is left of the replicas, and what that carries."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, replay_trace, simulate, sweep
from cluster.commands.app import main
from cluster.scenario.load import ScenarioError
from cluster.scenario.plans import NoReplicaError
from cluster.scenario.resolve import resolve
from cluster.studies.remaining import remaining

ONE = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2},
    "plan": ONE,
    "workload": {"synthetic": {"requests": 60, "preset": "azure-conv-2023"}},
}


def down(*names: str) -> list[dict[str, Any]]:
    return [{"match": name, "down": True} for name in names]


def ran(**overrides: Any) -> Run:
    return simulate(load(BASE, **overrides))


def same_requests(one: Run, other: Run) -> bool:
    drop = {"energy_j"}
    return all(
        np.array_equal(np.asarray(value), np.asarray(other.requests[name]), equal_nan=True)
        for name, value in one.requests.items()
        if name not in drop
    )


@pytest.mark.parametrize("server", ["s0", "s1"])
def test_two_replicas_of_which_one_is_down_serve_as_one(server: str) -> None:
    left, alone = ran(state=down(server)), ran(plan={**ONE, "replicas": 1})

    assert left.resolved.plan.replicas == 1
    assert left.machine.cards.shape == (1, 2, 4)
    assert same_requests(left, alone)
    assert left.run_id != alone.run_id
    assert any(f"rank 0 is on {server}.c0, which is down" in f for f in left.summary["flags"])


def test_a_lost_card_takes_its_replica_and_leaves_the_others_where_they_were() -> None:
    run = ran(state=down("s0.c3"))

    assert [loss.replica for loss in run.resolved.lost] == [0]
    names = run.machine.routes.card_id[run.machine.cards.ravel()].tolist()
    assert names == [f"s1.c{i}" for i in range(8)]


def test_a_part_that_is_not_down_changes_nothing() -> None:
    assert ran(state=[{"match": "s0", "down": False}]).run_id == ran().run_id


def test_a_link_of_no_bandwidth_is_down_in_both_directions() -> None:
    cable = [{"match": "s0.nic*>leaf", "bandwidth_scale": 0}]
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": 4}

    assert ran(links=cable).resolved.plan.replicas == 2  # no replica needs the leaf
    with pytest.raises(NoReplicaError, match=r"no path is left from s0.c0 to s1.c0") as refused:
        ran(links=cable, plan=plan)
    assert refused.value.exit_code == 3
    with pytest.raises(ScenarioError, match="must be 0 \\(down\\) or at least 1e-06"):
        load(BASE, links=[{"match": "*", "bandwidth_scale": 1e-9}])


def test_bytes_that_crossed_two_nics_cross_the_one_that_is_left() -> None:
    """A tensor group over both servers: its four cards under a switch have two NICs."""
    plan = {"tensor_parallel_size": 16, "pipeline_parallel_size": 1}

    def sent(**overrides: Any) -> dict[str, float]:
        run = ran(plan=plan, **overrides)
        table: dict[str, float] = {}
        for name, part in run.parts():
            if name == "links":
                moved = float(np.asarray(part["bytes"]).sum())
                table[str(part["link_name"])] = moved
        return table

    whole, left = sent(), sent(state=down("s0.nic0"))
    both = whole["s0.nic0>leaf"] + whole["s0.nic1>leaf"]

    assert left["s0.nic1>leaf"] == pytest.approx(both)
    assert left["s0.nic2>leaf"] == pytest.approx(whole["s0.nic2>leaf"])
    assert "s0.nic0>leaf" not in left


def test_plan_auto_is_chosen_as_if_nothing_were_down() -> None:
    healthy = resolve(load(BASE, plan="auto"))
    chosen = resolve(load(BASE, plan="auto", state=down("s1")))

    assert chosen.plan_reasons == healthy.plan_reasons
    assert chosen.plan.replicas + len(chosen.lost) == healthy.plan.replicas


def test_pools_lose_replicas_each_and_end_if_kv_has_no_path() -> None:
    sizes = {"cluster": {"servers_per_rack": 3}, "plan": {**ONE}}
    pools = {"pools": {"prefill": {"cards": 8}, "decode": {"cards": 16}}}
    run = ran(**sizes, **pools, state=down("s2"))

    assert run.resolved.pools is not None
    assert [pool.plan.replicas for pool in run.resolved.pools] == [1, 1]
    assert run.summary["completed"] == 60
    with pytest.raises(NoReplicaError, match=r"pools.prefill: no replica of 1 is left"):
        ran(**sizes, **pools, state=down("s0"))
    with pytest.raises(ValueError, match=r"no path is left for KV from s0.c0 to s1.c0"):
        ran(**sizes, **pools, state=down("leaf"))


def test_a_replay_with_a_dead_rank_ends_by_its_name() -> None:
    steps = {"workload": {"program": {"phase": "decode", "batch": 8, "context": 100, "steps": 2}}}
    base = {name: BASE[name] for name in ("model", "cluster", "plan")} | steps
    whole = replay_trace(base)

    assert (
        replay_trace({**base, "state": down("s1")}).summary["makespan_s"]
        == (whole.summary["makespan_s"])
    )
    with pytest.raises(ValueError, match=r"rank 3 is on s0.c3, which is down"):
        replay_trace({**base, "state": down("s0.c3")})


def test_a_sweep_over_what_is_down_has_a_point_for_each(tmp_path: Path) -> None:
    axes = [{"grid": {"state": [[], down("s1"), down("s?.c0")]}}]
    done = sweep({"name": "down", "base": BASE, "axes": axes}, out=tmp_path / "s")
    rows = done.points.sort_by("point").to_pylist()

    assert [row["status"] for row in rows] == ["completed", "completed", "infeasible"]
    assert "no replica of 2 is left" in rows[2]["reason"]
    assert rows[1]["mean_ttft_ms"] == ran(state=down("s1")).summary["mean_ttft_ms"]


def test_gpus_lose_replicas_as_well_and_without_their_nvswitch_talk_over_pcie() -> None:
    plan = {"tensor_parallel_size": 8, "pipeline_parallel_size": 1}
    gpus: dict[str, Any] = {"hardware": "h100", "plan": plan}
    slow = ran(**gpus, state=down("s?.nvsw0"))

    assert same_requests(
        ran(**gpus, state=down("s1")), ran(hardware="h100", plan={**plan, "replicas": 1})
    )
    assert slow.resolved.plan.replicas == 2
    assert slow.summary["mean_tpot_ms"] > ran(**gpus).summary["mean_tpot_ms"]


def test_what_is_left_is_counted_and_compared_with_the_load() -> None:
    """Each replica has as much capacity as the other: what fills 1.5 of them fills 1 to 2/3."""
    one = remaining(resolve(load(BASE, state=down("s0.c0"))))
    assert one is not None
    assert one.load is not None
    rate = 1.5 / one.load
    over = remaining(resolve(load(BASE, state=down("s0.c0"), workload={"rate_scale": rate})))

    assert (one.replicas, one.cards, one.cards_placed) == (1, 15, 16)
    assert one.drainable == ("s0",)
    assert one.keeps == 1.0
    assert over is not None
    assert over.keeps == pytest.approx(1 / 1.5)
    assert any(f"shed 33 % (workload.rate_scale {1 / one.load:.3g})" in x for x in over.lines())
    assert remaining(resolve(load(BASE))) is None


def test_the_commands_say_what_is_left_and_whether_the_slo_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "down.yaml"
    slo = {"slo": {"tpot_s": 1e-6}}
    path.write_text(json.dumps({**BASE, **slo, "state": down("s1")}), "utf-8")

    assert main(["check", str(path)]) == 0
    assert "Down: s1. Left: 1 of 2 replicas, 8 of 16 cards" in capsys.readouterr().out
    assert main(["serve", str(path), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "the 99th percentiles miss the SLO" in out
    assert "plan --max-rate" in out
    assert (
        main(
            ["serve", str(path), "--out", str(tmp_path), "--set", "state=[{match: s?, down: true}]"]
        )
        == 3
    )


def test_a_lost_nic_costs_what_the_flows_on_the_busiest_nic_say() -> None:
    """Where NICs are all that takes time, a step of the exchange between the servers lasts as long
    as its busiest NIC has flows: four cards share two NICs, then one."""
    thin = [{"match": match, "bandwidth_scale": 1e-4} for match in ("s?.nic*>leaf", "leaf>s?.nic*")]
    one = {
        "requests": 1,
        "arrivals": {"constant": {"rate_per_s": 1.0}},
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 1},
    }
    case = {
        "model": "llama-3.1-8b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"tensor_parallel_size": 16},
        "links": thin,
        "workload": {"synthetic": one},
    }
    whole, left = simulate(case), simulate({**case, "state": down("s0.nic0")})

    def busiest(run: Run) -> int:
        routes = run.machine.routes
        crossed = [routes.path(card, (card + 8) % 16) for card in range(16)]
        return int(np.bincount(np.concatenate(crossed)).max())

    assert busiest(left) == 4
    assert left.summary["mean_ttft_ms"] / whole.summary["mean_ttft_ms"] == pytest.approx(
        busiest(left) / busiest(whole), rel=1e-3
    )
