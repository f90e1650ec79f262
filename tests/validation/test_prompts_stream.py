"""Long prompts on an idle rack of Llama-3.1-70B: their chunks follow one another through 16 stages.

They take what a flow shop with the same prices takes. vLLM 0.33's own scheduler was run on the
prices of model_version 3 alone: 119 ms to the first token of 12,000 tokens, as the flow shop then.
"""

from typing import Any

import numpy as np
import pytest

from cluster.perf_model.attention import attention_ps, measures_of
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals
from cluster.serving.reference import serve_reference
from cluster.serving.run import assemble

BUDGET = 512


@pytest.fixture(scope="module")
def prices() -> PriceTables:
    return assemble(resolve(load(rack()))).prices


def rack() -> dict[str, object]:
    return {
        "name": "idle",
        "cluster": {"servers_per_rack": 8},
        "model": "llama-3.1-70b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
        "scheduler": {"max_num_seqs": 64, "max_num_batched_tokens": BUDGET},
        "workload": {"synthetic": {"preset": "azure-conv-2023", "requests": 1}},
    }


def alone(prompt: int) -> Arrivals:
    return Arrivals(
        arrival_ps=np.zeros(1, np.int64),
        prompt_tokens=np.array([prompt]),
        output_tokens=np.ones(1, np.int64),
        router_choice=np.zeros(1, np.int64),
        key_offsets=np.zeros(2, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )


def streamed_ps(prices: PriceTables, prompt: int) -> int:
    """A flow shop: a chunk enters a stage when it and the stage are free of what came before."""
    free_ps = [0] * prices.stages
    there_ps = 0
    for start in range(0, prompt, BUDGET):
        tokens = min(BUDGET, prompt - start)
        passes = -(-(start + tokens) // 64) * -(
            -tokens * int(prices.kinds["clocks_per_query"][0]) // 64
        )
        emits = int(start + tokens == prompt)
        there_ps = 0
        for stage, kind in enumerate(prices.stage_class[0]):
            work_ps = prices.linear_ps[kind, tokens] + prices.collective_ps[kind, tokens]
            work_ps += attention_ps(prices.attention[kind], measures_of(1, prefill_passes=passes))
            work_ps = max(work_ps, prices.floor_ps[kind, tokens]) + prices.head_ps[kind, emits]
            free_ps[stage] = max(there_ps, free_ps[stage]) + int(work_ps)
            there_ps = free_ps[stage] + int(prices.send_ps[kind, tokens])
    return free_ps[-1]


@pytest.mark.parametrize("engine", [serve, serve_reference])
@pytest.mark.parametrize(("prompt", "ms"), [(12_000, 78.8), (2_048, 33.8)])
def test_a_prompt_alone_takes_what_a_flow_shop_takes(
    prices: PriceTables, engine: Any, prompt: int, ms: float
) -> None:
    limits = assemble(resolve(load(rack()))).limits

    served = engine(alone(prompt), prices, limits)

    assert served.first_token_ps[0] == streamed_ps(prices, prompt)
    assert served.first_token_ps[0] / 1e9 == pytest.approx(ms, rel=0.01)
