"""A scenario small enough for any test, and its runs."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cluster import Run, load, simulate

SMALL: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 200,
            "arrivals": {"poisson": {"rate_per_s": 20.0}},
            "prompt_tokens": {"uniform": {"low": 20, "high": 1500}},
            "output_tokens": {"uniform": {"low": 2, "high": 60}},
        }
    },
}


@pytest.fixture(scope="session")
def small_scenario() -> Mapping[str, Any]:
    """Llama-3.1-8B on one server with 200 requests."""
    return SMALL


@pytest.fixture(scope="session")
def run_small() -> Callable[..., Run]:
    """Run the small scenario with these keys of it changed."""
    return lambda **overrides: simulate(load(SMALL, **overrides))
