import hashlib
import json
from typing import Any

import pytest

from cluster import load
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved, ResolvedReplay, resolve
from cluster.scenario.run_id import MODEL_VERSION, encoded, run_id

BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {"synthetic": {"requests": 3, "preset": "azure-conv-2023"}},
}


PLAN = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}


def machine_id(**overrides: Any) -> str:
    """With a plan of its own: the best one may depend on the traffic."""
    return resolve(load({**BASE, "plan": PLAN}, **overrides)).machine_id


def test_runs_that_differ_in_traffic_only_share_a_machine() -> None:
    assert machine_id() == machine_id(workload={"rate_scale": 2.0})
    assert machine_id() == machine_id(slo={"ttft_s": 1.0}, warmup_s=1.0)
    assert machine_id() != machine_id(scheduler={"max_num_seqs": 3})
    assert machine_id() != machine_id(hardware_set={"card.clock_hz": 1e9})


def test_the_traffic_is_of_the_machine_where_weights_are_placed_for_it() -> None:
    auto = {"memory": {"mode": "auto"}}

    assert machine_id(**auto) != machine_id(**auto, workload={"synthetic": {"requests": 4}})
    assert machine_id(**auto) == machine_id(**auto, slo={"ttft_s": 1.0})


def test_the_seed_is_of_the_machine_only_where_tokens_are_dealt_to_experts() -> None:
    assert machine_id(seed=0) == machine_id(seed=1)
    assert machine_id(model="gpt-oss-20b", seed=0) != machine_id(model="gpt-oss-20b", seed=1)


def test_a_piece_that_is_encoded_already_changes_no_identity() -> None:
    content = {"a": {"y": [1, 2.5], "b": None}, "z": "word", "m": True}

    assert run_id({**content, "a": encoded(content["a"])}) == run_id(content)
    typed = json.dumps({**content, "model_version": MODEL_VERSION}, sort_keys=True).encode()
    plain = typed.replace(b": ", b":").replace(b", ", b",")
    assert run_id(content) == hashlib.sha256(plain).hexdigest()[:12]


def test_one_function_resolves_requests_and_operations() -> None:
    program = {"phase": "decode", "batch": 1, "context": 16, "steps": 2}
    served = load(BASE)
    replayed = load({"model": "llama-3.1-8b", "workload": {"program": program}})

    assert resolve(served, wanted="either").run_id == resolve(served).run_id
    assert isinstance(resolve(served, wanted="either"), Resolved)
    assert isinstance(resolve(replayed, wanted="either"), ResolvedReplay)
    with pytest.raises(ScenarioError, match="use corsair-sim replay"):
        resolve(replayed)
    with pytest.raises(ScenarioError, match="use corsair-sim serve"):
        resolve(served, wanted="operations")
