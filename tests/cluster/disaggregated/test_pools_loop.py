"""The loop of pools: as three runs in a row where blocks never run short, else as the reference."""

import random
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.api.serving import assemble_any
from cluster.disaggregated.kv_messages import Messages
from cluster.disaggregated.loop import serve_pools
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.reference import serve_pools_reference
from cluster.disaggregated.run import Loop, PooledOutcome, drawn, run_pools
from cluster.disaggregated.transfer_plan import plan_transfers
from cluster.perf_model.tables import STEP, Records
from cluster.scenario.resolve import Resolved, resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import serve
from cluster.serving.interface import Served, chosen
from corsair_common.units import Integers

CHATS: Mapping[str, Any] = {
    "preset": "mooncake-conversation",
    "requests": 25,
    "prompt_tokens": {"uniform": {"low": 1, "high": 900}},
    "output_tokens": {"uniform": {"low": 1, "high": 60}},
}


def machine_of(requested: Mapping[str, Any], **changes: Any) -> tuple[Resolved, PooledMachine]:
    resolved = resolve(load(requested, **changes))
    machine = assemble_any(resolved)
    assert isinstance(machine, PooledMachine)
    return resolved, machine


def in_a_row(resolved: Resolved, machine: PooledMachine) -> tuple[Served, Integers, Served]:
    """All prefills, then all transfers with what is known of their times, then all decodes; of the
    latter, in the order of the requests."""
    requested, inputs = resolved.pools or (resolved, resolved)
    source, target = machine.pools
    prompts, answers = arrivals_of(requested), arrivals_of(inputs)
    ones = np.ones(len(resolved.requests), np.int64)
    first = serve(replace(prompts, output_tokens=ones), source.prices, source.limits)
    layerwise = resolved.scenario.transfer is not None
    routed_ps = first.first_scheduled_ps if layerwise else first.finish_ps
    chosen_replica = np.argsort(np.argsort(routed_ps, kind="stable")) % target.prices.replicas
    plan = plan_transfers(machine.kv, prompts.prompt_tokens, ones, layerwise=layerwise, base_ps=0)
    began_ps = first.first_scheduled_ps
    messages = Messages(
        kv=machine.kv,
        resources=plan.resources,
        paths=plan.paths,
        first_path=(first.replica * target.prices.replicas + chosen_replica)
        * len(machine.kv.shares.layers),
        prompt_tokens=prompts.prompt_tokens,
        origin_ps=plan.before_ps + (began_ps if layerwise else first.finish_ps),
        paced_ps=(first.finish_ps - began_ps) * int(layerwise),
    )
    received_ps = np.maximum(messages.ends_ps(), first.finish_ps) + plan.after_ps
    order = np.argsort(received_ps, kind="stable")
    come = replace(
        answers,
        arrival_ps=received_ps,
        router_choice=chosen_replica,
        carried_tokens=answers.prompt_tokens - 1,
    )
    limits = replace(target.limits, router="random")
    second = serve(chosen(come, order), target.prices, limits)
    back = np.argsort(order)
    names = [
        field.name
        for field in fields(Served)
        if len(np.atleast_1d(getattr(second, field.name))) == len(back)
    ]
    return (
        first,
        received_ps,
        replace(second, **{name: getattr(second, name)[back] for name in names}),
    )


@pytest.mark.parametrize("scale", [1.0, 0.05])
@pytest.mark.parametrize("transfer", [None, {"mode": "layerwise"}], ids=["whole", "layerwise"])
def test_with_blocks_enough_it_is_three_runs_in_a_row(
    pooled: Mapping[str, Any], transfer: dict[str, str] | None, scale: float
) -> None:
    # In chunks that hold any prompt; links that carry it easily, and that are crowded.
    resolved, machine = machine_of(
        pooled,
        transfer=transfer,
        scheduler={"max_num_seqs": 8, "max_num_batched_tokens": 7200},
        links=[{"match": "*", "bandwidth_scale": scale}],
    )
    first, received_ps, second = in_a_row(resolved, machine)

    found = run_pools(resolved, machine)

    assert np.array_equal(found.pools[0].served.finish_ps, first.finish_ps)
    assert np.array_equal(found.transfer_ps, received_ps - first.finish_ps)
    for name in ("first_token_ps", "finish_ps", "slot", "itl_count"):
        expected = second if name != "slot" else first
        assert np.array_equal(getattr(found.served, name), getattr(expected, name)), name
    assert np.array_equal(found.decode_replica, second.replica + 2)


def problem(seed: int, pooled: Mapping[str, Any]) -> tuple[Resolved, PooledMachine]:
    """Pools that run short of blocks, of all kinds of schedulers and links."""
    draw = random.Random(seed)
    of = draw.choice
    asynchronous = {"async_scheduling": True, "max_num_seqs": 4}
    stages = of([1, 2])
    caching = {"enable_prefix_caching": True} if seed % 3 == 0 else {}
    decode = of([{"plan": {"pipeline_parallel_size": 2}}, {"scheduler": asynchronous}, {}])
    resolved, machine = machine_of(
        pooled,
        transfer={"mode": of(["whole", "layerwise"])},
        scheduler={
            "max_num_seqs": of([2, 8]),
            "max_num_batched_tokens": of([128, 1024]),
            "long_prefill_token_threshold": of([0, 0, 64]),
            **caching,
        },
        links=[{"match": "*", "bandwidth_scale": of([1, 0.05, 0.003])}],
        pools={
            "prefill": {
                "cards": 4,
                "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": stages},
            },
            "decode": {
                "cards": 4,
                "router": of(["round_robin", "random", "least_kv", "vllm_dp"]),
                **decode,
            },
        },
        workload={"synthetic": {**CHATS, "arrivals": {"poisson": {"rate_per_s": of([20, 300])}}}},
    )
    blocks = of([16, 30]), of([18, 30])
    first, second = (
        replace(pool, limits=replace(pool.limits, blocks=count, sram_blocks=2**62))
        for pool, count in zip(machine.pools, blocks, strict=True)
    )
    return resolved, replace(machine, pools=(first, second))


def outcome_and_log(
    resolved: Resolved, machine: PooledMachine, loop: Loop
) -> tuple[PooledOutcome, Records]:
    windows = [np.zeros(0, STEP)]
    found = run_pools(resolved, machine, loop=loop, on_steps=lambda log: windows.append(log.copy()))
    return found, np.sort(np.concatenate(windows), order=["replica", "start_ps", "slot"])


@pytest.mark.parametrize(
    ("seed", "alone"), [*((n, False) for n in range(6)), (7, True), (13, True)]
)
def test_the_kernel_and_the_reference_agree_where_blocks_run_short(
    pooled: Mapping[str, Any], seed: int, alone: bool
) -> None:
    resolved, machine = problem(seed, pooled)
    if alone:  # decodes one request at a time, which never waits for blocks of the next
        first, second = machine.pools
        limits = replace(second.limits, max_num_seqs=1)
        machine = replace(machine, pools=(first, replace(second, limits=limits)))
    found, log = outcome_and_log(resolved, machine, serve_pools)
    expected, expected_log = outcome_and_log(resolved, machine, serve_pools_reference)

    for field in fields(Served):
        name = field.name
        assert np.array_equal(getattr(found.served, name), getattr(expected.served, name)), name
    for name in ("transfer_ps", "transfer_bytes", "decode_replica"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert np.array_equal(log, expected_log)
    assert found.transfers.bin_ps == expected.transfers.bin_ps
    assert np.array_equal(found.transfers.link_bytes, expected.transfers.link_bytes)
    # without rows for every step, cycles of steps that recur are run at once
    whole = run_pools(resolved, machine)
    assert np.array_equal(whole.served.finish_ps, found.served.finish_ps)


def test_drawn_replicas_are_of_the_decode_pool(pooled: Mapping[str, Any]) -> None:
    resolved, _ = machine_of(pooled)
    assert resolved.pools is not None
    assert set(drawn(resolved.pools[1], 60).tolist()) == {0, 1, 2}
