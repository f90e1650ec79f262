"""One prompt alone, in closed form and as served."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cluster import load, simulate
from cluster.perf_model.attention import WIDTH
from cluster.perf_model.prices import prompt_stages_ps, sends_ps
from cluster.perf_model.prices.steady_state import _prompt_measures
from cluster.perf_model.tables import KIND, MEASURED, PriceTables, Records, as_integers
from cluster.serving.interface import Arrivals, Limits
from cluster.serving.reference import serve_reference
from corsair_common.names import STATE


@pytest.mark.parametrize(
    ("model", "tokens", "plan"),
    [
        ("llama-3.1-8b", 1000, (4, 2)),
        ("gpt-oss-20b", 700, (2, 8)),  # windows of 128 tokens beside full layers
    ],
)
def test_the_first_token_comes_after_all_stages_and_sends(
    model: str, tokens: int, plan: tuple[int, int]
) -> None:
    run = simulate(
        load(
            {
                "name": "one prompt",
                "cluster": {"servers_per_rack": 2},
                "model": model,
                "plan": {"tensor_parallel_size": plan[0], "pipeline_parallel_size": plan[1]},
                "formats": {"weights": "mxint4"},
                "scheduler": {"max_num_batched_tokens": 1024},
                "workload": {
                    "synthetic": {
                        "requests": 1,
                        "arrivals": {"concurrency": 1},
                        "prompt_tokens": {"fixed": tokens},
                        "output_tokens": {"fixed": 1},
                    }
                },
            }
        )
    )
    prices = run.machine.prices

    stages = prompt_stages_ps(prices, tokens=tokens)

    ttft_ps = int(stages.sum()) + sends_ps(prices, tokens)
    assert run.summary["mean_ttft_ms"] == pytest.approx(ttft_ps * 1e-9, rel=1e-12)


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200])
def test_its_measures_are_those_that_an_engine_logs(
    constant_tables: Callable[..., PriceTables], tokens: int
) -> None:
    kinds = np.array([(0, 8, 64, 0), (100, 8, 64, 0), (STATE, 8, 64, 0), (0, 32, 96, 64)], KIND)
    tables = replace(constant_tables([5], budget=256), kinds=kinds, far_block_ps=np.zeros((1, 4)))
    limits = Limits(
        max_num_seqs=4, max_num_batched_tokens=256, block_size=64, blocks=9, max_model_len=500
    )
    zero, log = np.zeros(1, np.int64), list[Records]()
    one = Arrivals(
        arrival_ps=zero,
        prompt_tokens=zero + tokens,
        output_tokens=zero + 1,
        router_choice=zero,
        key_offsets=np.zeros(2, np.int64),
        keys=zero[:0],
        key_count=0,
    )

    serve_reference(one, tables, limits, on_steps=lambda part: log.append(part.copy()))

    (row,) = as_integers(np.concatenate(log))
    measures = row[MEASURED : MEASURED + len(kinds) * WIDTH]
    assert measures.tolist() == _prompt_measures(kinds, tokens).tolist()
