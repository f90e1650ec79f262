"""One prompt alone, in closed form and as served."""

import pytest

from cluster import load, simulate
from cluster.perf_model.prices import prompt_stages_ps, sends_ps


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
