"""Pools in a scenario: what they take over, what is refused, and what names the run."""

from typing import Any

import pytest

from cluster.api.serving import assemble_any
from cluster.perf_model.memory.expected_load import traffic_of
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve

BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "memory": {"mode": "capacity"},
    "plan": {"tensor_parallel_size": 2},
    "scheduler": {"max_num_seqs": 7},
    "pools": {
        "prefill": {"cards": 4},
        "decode": {
            "cards": 2,
            "memory": {"mode": "performance"},
            "plan": {"pipeline_parallel_size": 1},
            "scheduler": {"max_num_batched_tokens": 64},
        },
    },
    "workload": {"synthetic": {"requests": 3, "preset": "azure-conv-2023"}},
}


def test_a_pool_takes_over_what_it_does_not_say() -> None:
    resolved = resolve(load(BASE))
    assert resolved.pools is not None
    prefill, decode = resolved.pools

    assert prefill.plan.replicas == 2
    assert decode.plan.tensor_parallel_size == 2
    assert decode.scenario.memory.mode == "performance"
    assert prefill.scenario.memory.mode == "capacity"
    assert decode.scenario.scheduler.max_num_seqs == 7
    assert decode.scenario.scheduler.max_num_batched_tokens == 64
    assert prefill.scenario.scheduler.max_num_batched_tokens == 512
    assert (prefill.scenario.router, decode.scenario.router) == ("least_outstanding", "round_robin")
    assert (list(prefill.cards or ()), list(decode.cards or ())) == ([0, 1, 2, 3], [4, 5])


def test_the_whole_scenario_of_a_run_gives_the_same_run_again() -> None:
    resolved = resolve(load(BASE))
    again = resolve(load(resolved.scenario.model_dump(mode="json")))

    assert again.run_id == resolved.run_id


def test_pools_and_transfer_name_the_run() -> None:
    names = {
        resolve(load(BASE, **changes)).run_id
        for changes in (
            {},
            {"transfer": {"mode": "layerwise"}},
            {"pools": {"decode": {"cards": 4}}},
            {"pools": None, "plan": {"tensor_parallel_size": 2}},
        )
    }
    default = resolve(load(BASE, transfer={"mode": "whole"})).run_id

    assert len(names) == 4
    assert default == resolve(load(BASE)).run_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pools": {"prefill": {"cards": 7}}}, "are 9 cards, the cluster has 8"),
        ({"pools": {"prefill": {"cards": 0}}}, "pools.prefill.cards is 0; must be at least 1"),
        ({"pools": {"prefil": {}}}, "did you mean 'prefill'?"),
        ({"pools": {"decode": {"plans": {}}}}, "did you mean 'plan'?"),
        ({"pools": None, "transfer": {}}, "needs pools, and there are none"),
        ({"transfer": {"mode": "layers"}}, "did you mean 'layerwise'?"),
        ({"pools": {"decode": {"plan": {"tensor_parallel_size": 3}}}}, "pools.decode: llama"),
        (
            {"pools": {"decode": {"cards": 4, "router": "kv_overlap"}}},
            "pools.decode.router is 'kv_overlap'; must be 'round_robin', 'random', "
            "'least_outstanding', 'least_kv', 'vllm_dp' for 2 replicas",
        ),
        ({"workload": {"synthetic": None, "program": {"phase": "decode", "batch": 1, "context": 9,
         "steps": 1}}}, "pools serve requests"),
        (
            {"workload": {"synthetic": {"arrivals": {"concurrency": 4}}}},
            "a closed loop",
        ),
    ],
)  # fmt: skip
def test_what_no_run_can_mean_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
        resolve(load(BASE, **changes))

    assert getattr(caught.value, "exit_code", None) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"plan": {"tensor_parallel_size": 4}},
            "pools.decode: the plan needs 4 cards .*, the pool has 2",
        ),
        (
            {"model": "llama-3.1-70b", "pools": {"prefill": {"cards": 4}}},
            "pools.decode: .*70b",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_the_pools_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        assemble_any(resolve(load(BASE, **changes)))

    assert getattr(caught.value, "exit_code", None) == 3


def test_sram_placement_is_chosen_by_the_role_of_the_pool() -> None:
    resolved = resolve(load(BASE))
    assert resolved.pools is not None

    shares = [traffic_of(pool).prompt_share for pool in resolved.pools]

    assert shares == [1e3, 0.0]


def test_pools_stand_on_one_map() -> None:
    streamed = {"decode": {"memory": {"mode": "capacity"}}}
    machine = assemble_any(resolve(load(BASE, pools=streamed)))

    prefill, decode = machine.pools  # type: ignore[attr-defined]
    assert prefill.routes is decode.routes is machine.routes
    assert prefill.graph is decode.graph


@pytest.mark.parametrize(("bins", "most"), [("auto", 1000), (9, 8), (2, 2)])
def test_time_bins_are_an_even_number(bins: int | str, most: int) -> None:
    assert load(BASE, store={"bins": bins}).store.most_bins == most
