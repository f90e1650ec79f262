"""What helps helps and what hurts hurts: hardware, memory, traffic and models, end to end."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from cluster import Run
from cluster.scenario.load import ScenarioError
from cluster.scenario.routers import ROUTERS
from results.sessions import by_turn


def closed_loop(users: int, requests: int = 60) -> dict[str, Any]:
    return {
        "synthetic": {
            "requests": requests,
            "arrivals": {"concurrency": users},
            "prompt_tokens": {"fixed": 100},
            "output_tokens": {"fixed": 20},
        }
    }


def test_a_bad_cable_slows_a_plan_that_crosses_it(run_small: Callable[..., Run]) -> None:
    tp8 = {"tensor_parallel_size": 8, "pipeline_parallel_size": 1}
    cable = [{"match": "s0.sw0>s0.sw1", "bandwidth_scale": 0.01}]
    good, bad = run_small(plan=tp8), run_small(plan=tp8, links=cable)

    assert bad.summary["mean_tpot_ms"] > 2 * good.summary["mean_tpot_ms"]


def test_a_bad_cable_changes_nothing_for_a_plan_that_stays_off_it(
    run_small: Callable[..., Run],
) -> None:
    one_switch = {"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "replicas": 1}
    formats = {"weights": "mxint4"}
    cable = [{"match": "s0.sw0>s0.sw1", "bandwidth_scale": 0.01}]
    good = run_small(plan=one_switch, formats=formats)
    bad = run_small(plan=one_switch, formats=formats, links=cable)

    assert bad.run_id != good.run_id
    for name in ("first_token_s", "finish_s"):
        np.testing.assert_array_equal(bad.requests[name], good.requests[name])


@pytest.mark.parametrize(
    ("figure", "worse", "better"),
    [
        ("card.clock_hz", 0.8e9, 1.2e9),
        ("card.pcie_bandwidth_bytes_per_s", 32e9, 128e9),
        ("card.dispatch_s", 3e-6, 0.1e-6),
        ("server.pcie_latency_s", 1e-6, 0.1e-6),
        ("links.efficiency", 0.5, 0.99),
        ("host.overhead_s", 100e-6, 1e-6),
    ],
)
def test_better_hardware_answers_sooner(
    figure: str, worse: float, better: float, run_small: Callable[..., Run]
) -> None:
    slow, fast = (run_small(hardware_set={figure: value}).summary for value in (worse, better))

    assert fast["mean_tpot_ms"] < slow["mean_tpot_ms"]
    assert fast["mean_ttft_ms"] < slow["mean_ttft_ms"]


def test_a_bridged_pair_may_be_on_two_switches(run_small: Callable[..., Run]) -> None:
    run = run_small(hardware_set={"server.pcie_switches": 3})

    assert run.summary["completed"] == 200


def test_weights_in_lpddr_are_slower_at_a_small_batch_and_leave_room_for_kv(
    run_small: Callable[..., Run],
) -> None:
    sram, lpddr = run_small(), run_small(memory={"mode": "capacity"})

    assert lpddr.summary["mean_tpot_ms"] > 2 * sram.summary["mean_tpot_ms"]
    assert lpddr.summary["bound_share"]["lpddr"] > 0.5
    assert lpddr.machine.fit.blocks > sram.machine.fit.blocks


def test_a_prefix_that_is_found_need_not_be_read_again(run_small: Callable[..., Run]) -> None:
    chats = {"synthetic": {"preset": "mooncake-conversation"}}
    on, off = (
        run_small(workload=chats, scheduler={"enable_prefix_caching": wanted})
        for wanted in ("auto", False)
    )

    assert on.summary["prefix_hit_rate"] > 0.2
    assert off.summary["prefix_hit_rate"] is None
    assert on.summary["mean_ttft_ms"] < 0.9 * off.summary["mean_ttft_ms"]
    assert np.asarray(on.requests["cached_tokens"]).sum() > 0


def test_a_run_says_that_with_prefix_caching_windowed_layers_keep_their_blocks(
    run_small: Callable[..., Run],
) -> None:
    chats = {"synthetic": {"preset": "mooncake-conversation", "requests": 4}}
    said = {
        (model, wanted): any(
            "windowed layers keep all" in flag
            for flag in run_small(
                model=model,
                memory={"mode": "capacity"},
                workload=chats,
                scheduler={"enable_prefix_caching": wanted},
            ).summary["flags"]
        )
        for model, wanted in (
            ("gpt-oss-20b", True),
            ("gpt-oss-20b", False),
            ("llama-3.1-8b", True),
        )
    }

    assert said == {
        ("gpt-oss-20b", True): True,
        ("gpt-oss-20b", False): False,
        ("llama-3.1-8b", True): False,
    }


def test_a_closed_loop_keeps_as_many_in_the_system_as_it_has_users(
    run_small: Callable[..., Run],
) -> None:
    run = run_small(workload=closed_loop(users=7))
    arrival, finish = run.outcome.served.arrival_ps, run.outcome.served.finish_ps
    there = [int(((arrival <= at) & (finish > at)).sum()) for at in arrival]

    assert max(there) == 7
    assert there[7:-7] == [7] * (60 - 14)


def test_more_users_of_a_closed_loop_wait_longer_each_and_are_served_more_in_all(
    run_small: Callable[..., Run],
) -> None:
    few, many = (run_small(workload=closed_loop(users)).summary for users in (1, 12))

    assert few["mean_tpot_ms"] < many["mean_tpot_ms"]
    assert few["output_throughput"] < many["output_throughput"]


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_serves_all_requests_on_several_replicas(
    router: str, run_small: Callable[..., Run]
) -> None:
    run = run_small(router=router, cluster={"servers_per_rack": 3})
    shares = np.bincount(np.ma.asarray(run.requests["replica"]).astype(np.int64), minlength=3)

    assert run.summary["completed"] == 200
    assert len(shares) == 3
    assert (shares > 0).all()
    if router == "round_robin":
        assert shares.max() - shares.min() <= 1


AGENTS: Mapping[str, Any] = {
    "requests": 60,
    "arrivals": {"constant": {"rate_per_s": 50}},
    "prompt_tokens": {"fixed": 640},
    "output_tokens": {"fixed": 65},
    "sessions": {
        "turns": {"fixed": 3},
        "added_tokens": {"fixed": 64},
        "delay_s": {"fixed": 0.5},
    },
}


def test_a_session_on_one_replica_finds_all_of_its_history_that_fills_blocks(
    run_small: Callable[..., Run],
) -> None:
    # Prompts of 640, 769 and 898 tokens. Histories of 704 and 833 tokens have KV: 11 and 13 blocks.
    run = run_small(workload={"synthetic": AGENTS})
    turn = np.asarray(run.requests["turn"])
    table, summary = by_turn(run.requests), run.summary

    assert summary["sessions"] == 20
    assert np.bincount(turn).tolist() == [20, 20, 20]
    assert table["hit_rate"].tolist() == pytest.approx([0, 11 * 64 / 769, 13 * 64 / 898])
    assert summary["first_turn_hit_rate"] == 0
    assert summary["mean_session_s"] == pytest.approx(1 + 3e-3 * summary["mean_e2el_ms"])
    arrival, finish = (np.asarray(run.requests[name]) for name in ("arrival_s", "finish_s"))
    assert np.sort(arrival[turn == 1]) == pytest.approx(np.sort(finish[turn == 0] + 0.5))


def test_pools_serve_no_sessions(run_small: Callable[..., Run]) -> None:
    with pytest.raises(ScenarioError, match="the workload has sessions, whose turns wait"):
        run_small(
            workload={"synthetic": AGENTS}, pools={"prefill": {"cards": 4}, "decode": {"cards": 4}}
        )


MIXTURES: Mapping[str, dict[str, Any]] = {
    "gpt-oss-20b on two servers": {
        "model": "gpt-oss-20b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"pipeline_parallel_size": 4},
        "formats": {"weights": "mxint4"},
    },
    "gpt-oss-20b, experts whole on cards": {
        "model": "gpt-oss-20b",
        "cluster": {"servers_per_rack": 2},
        "plan": {"pipeline_parallel_size": 4, "expert_parallel_size": 4},
        "formats": {"weights": "mxint4"},
    },
    "gpt-oss-20b from LPDDR, skewed experts": {
        "model": "gpt-oss-20b",
        "memory": {"mode": "capacity"},
        "formats": {"weights": "mxint4"},
        "experts": {"routing": "zipf", "skew": 1.5},
    },
    "deepseek-v3 from LPDDR": {"model": "deepseek-v3", "memory": {"mode": "capacity"}},
    "deepseek-v3 on 512 cards": {
        "model": "deepseek-v3",
        "cluster": {"racks": 8, "servers_per_rack": 8},
        "plan": {
            "tensor_parallel_size": 8,
            "pipeline_parallel_size": 61,
            "expert_parallel_size": 8,
        },
    },
}


@pytest.mark.parametrize("changes", MIXTURES.values(), ids=MIXTURES.keys())
def test_experts_and_latent_attention_run_end_to_end(
    changes: dict[str, Any], run_small: Callable[..., Run]
) -> None:
    few = {"synthetic": {"requests": 20}}
    run = run_small(**changes, workload=few)

    assert run.summary["completed"] == 20
    assert sum(run.summary["bound_share"].values()) == pytest.approx(1.0)
    assert len(run.machine.routes.card_id) >= run.resolved.plan.cards
