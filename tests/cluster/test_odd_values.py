"""Whatever a scenario's keys are given: it runs, or says what is wrong; never a fault of ours."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.commands.app import main

EXTREMES: list[Any] = [0, 1, -1, 3, 48, 10**6, 2**63, 10**30, 0.0, 0.5, 1e-300, 1e300, float("nan")]
EXTREMES += [float("inf"), True, None, "", "x", "auto", "../x", "\x00", "*", [], {}, [1], {"a": 1}]
PATHS = [
    "name",
    "hardware",
    "hardware_set.card.dispatch_s",
    "hardware_set.links.efficiency",
    "hardware_set.server.pcie_switches",
    "hardware_set.chiplet.sram_bytes",
    "cluster.servers_per_rack",
    "links",
    "model",
    "formats.kv",
    "plan.tensor_parallel_size",
    "plan.pipeline_parallel_size",
    "memory.mode",
    "scheduler.max_num_batched_tokens",
    "scheduler.block_size",
    "scheduler.max_model_len",
    "scheduler.enable_prefix_caching",
    "collectives.all_reduce",
    "experts.skew",
    "workload.trace",
    "workload.rate_scale",
    "workload.synthetic.arrivals.concurrency",
    "workload.synthetic.arrivals.gamma",
    "workload.synthetic.prompt_tokens.fixed",
    "workload.synthetic.output_tokens.lognormal",
    "slo.tpot_s",
    "warmup_s",
    "store.steps",
    "seed",
]


@given(changes=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(EXTREMES), max_size=2))
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
def test_no_value_of_any_key_is_called_a_fault_of_ours(
    changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    sets = [part for word in words for part in ("--set", word.replace("Infinity", ".inf"))]
    code = main(["check", *sets, "--json"])
    out, _ = capsys.readouterr()

    assert code in (0, 2, 3)
    assert isinstance(json.loads(out), dict)
