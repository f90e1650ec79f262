"""For runs that can be followed with a pencil: both engines, and requests written as rows."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster.perf_model.tables import PHASE, PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.reference import serve_reference

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]


@pytest.fixture(params=[serve_reference, serve], ids=["reference", "kernel"])
def engine(request: pytest.FixtureRequest) -> Any:
    """Each engine in turn; the cases by hand hold for both."""
    return request.param


@pytest.fixture(scope="session")
def make_arrivals() -> Callable[..., Arrivals]:
    """Requests of (arrival, prompt, output), and the keys of the full blocks of each."""

    def build(
        *requests: tuple[int, int, int], keys: tuple[tuple[int, ...], ...] | None = None
    ) -> Arrivals:
        arrival, prompt, output = np.array(requests, np.int64).reshape(-1, 3).T.copy()
        chains = keys or ((),) * len(requests)
        flat = [key for chain in chains for key in chain]
        return Arrivals(
            arrival_ps=arrival,
            prompt_tokens=prompt,
            output_tokens=output,
            router_choice=np.zeros(len(requests), np.int64),
            key_offsets=np.cumsum([0, *map(len, chains)]).astype(np.int64),
            keys=np.array(flat, np.int64),
            key_count=max(flat, default=-1) + 1,
        )

    return build


@pytest.fixture(scope="session")
def roomy() -> Limits:
    """Higher max_num_seqs, budget and blocks than a small case needs."""
    return Limits(
        max_num_seqs=4, max_num_batched_tokens=16, block_size=2, blocks=100, max_model_len=1000
    )


@pytest.fixture(scope="session")
def phases_of() -> Callable[[Callable[..., Served], Problem], Records]:
    """Run an engine; the phases of its requests, in the order in which they began."""

    def run(engine: Callable[..., Served], problem: Problem) -> Records:
        parts: list[Records] = []
        engine(*problem, on_log=lambda _, part: parts.append(part.copy()))
        return np.concatenate([np.zeros(0, PHASE), *parts])

    return run
