"""An embedding model: prompts are read, nothing is generated, and costs count by input."""

from typing import Any

import numpy as np
import pytest

from cluster import load, simulate
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.scenario.run_content import content_text
from workloads.model import load_model, parse_config

VECTORS = "qwen3-embedding-0.6b"


def scenario(**more: Any) -> Any:
    traffic = {
        "requests": 40,
        "arrivals": {"poisson": {"rate_per_s": 50}},
        "prompt_tokens": {"fixed": 300},
        "output_tokens": {"fixed": 20},
    }
    one_card = {"racks": 1, "servers_per_rack": 1, "cards_per_server": 1}
    return load(
        {
            "name": "vectors",
            "model": VECTORS,
            "cluster": one_card,
            "plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": 1},
            "scheduler": {"max_num_seqs": 8},
            "workload": {"synthetic": traffic},
            **more,
        }
    )


def test_its_class_says_that_a_model_makes_vectors_and_has_no_head() -> None:
    text = {
        "model_type": "qwen3",
        "hidden_size": 64,
        "intermediate_size": 64,
        "vocab_size": 100,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    generator = parse_config(text | {"architectures": ["Qwen3ForCausalLM"]}, "text")
    vectors = parse_config(text | {"architectures": ["Qwen3Model"]}, "vectors")

    assert not generator.pooling
    assert not parse_config(text | {"architectures": ["GPT2LMHeadModel"]}, "text").pooling
    assert vectors.pooling
    assert generator.parameters - vectors.parameters == 64 * 100
    assert "pooling" not in content_text(generator)


def test_prompts_are_read_and_output_has_no_metrics() -> None:
    run = simulate(scenario())
    summary = run.summary

    assert summary["completed"] == 40
    assert summary["total_input_tokens"] == 40 * 300
    assert summary["total_output_tokens"] == 0
    silent = ("output_throughput", "mean_tpot_ms", "p99_itl_ms", "joules_per_output_token")
    assert [summary[name] for name in silent] == [None] * 4
    assert summary["cost_per_million_output_tokens_usd"] is None
    assert np.unique(run.requests["output_tokens"]).tolist() == [
        1
    ]  # done with the last token of its prompt


def test_the_cost_of_an_hour_is_that_of_its_input_and_of_its_requests() -> None:
    summary = simulate(scenario()).summary
    per_hour = 3600 * summary["request_throughput"]

    assert per_hour * summary["cost_per_request_usd"] == pytest.approx(summary["cost_per_hour_usd"])
    by_input = summary["cost_per_million_input_tokens_usd"] * 300 / 1e6
    assert by_input == pytest.approx(summary["cost_per_request_usd"])


def test_a_model_of_text_has_costs_by_input_beside_those_by_output() -> None:
    summary = simulate(scenario(model="qwen3-0.6b")).summary
    output, inputs = (
        summary[f"cost_per_million_{side}_tokens_usd"] for side in ("output", "input")
    )

    assert output * 20 == pytest.approx(inputs * 300)  # tokens of a request


def test_pools_and_vectors_do_not_go_together() -> None:
    pools = {"prefill": {"cards": 1}, "decode": {"cards": 1}}

    with pytest.raises(ScenarioError, match="this one makes vectors"):
        resolve(scenario(pools=pools, cluster={"cards_per_server": 2}))


def test_a_small_model_is_counted_as_published() -> None:
    # The published totals of Qwen3-0.6B and Qwen3-1.7B, their embedding tied to the head.
    assert load_model("qwen3-0.6b").parameters == 596_049_920
    assert load_model("qwen3-1.7b").parameters == 1_720_574_976
    assert load_model(VECTORS).parameters == 596_049_920
