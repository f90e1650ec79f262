"""Scenarios whose prefill and decode pools are small enough for any test."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cluster import Run, load, simulate

POOLED: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 1},
    "memory": {"mode": "capacity"},
    "scheduler": {"max_num_seqs": 8, "max_num_batched_tokens": 256},
    "pools": {
        "prefill": {"cards": 4, "plan": {"tensor_parallel_size": 2}},
        "decode": {"cards": 3},
    },
    "workload": {
        "synthetic": {
            "requests": 60,
            "arrivals": {"poisson": {"rate_per_s": 40.0}},
            "prompt_tokens": {"uniform": {"low": 1, "high": 900}},
            "output_tokens": {"uniform": {"low": 1, "high": 12}},
        }
    },
}


@pytest.fixture(scope="session")
def pooled() -> Mapping[str, Any]:
    """Two replicas of two cards prefill, three of one card decode, the eighth card is spare."""
    return POOLED


@pytest.fixture(scope="session")
def run_pooled() -> Callable[..., Run]:
    """Run the scenario with these keys changed; each only once."""
    runs = dict[str, Run]()

    def run(**overrides: Any) -> Run:
        name = str(sorted(overrides.items()))
        if name not in runs:
            runs[name] = simulate(load(POOLED, **overrides))
        return runs[name]

    return run
