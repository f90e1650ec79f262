"""What a change of the physics moves: the figures of the table in docs/physics.md, as JSON.

``python benchmarks/physics_effects.py`` prints decode of the vendor's two points, steady and
in a closed loop, the first token of a prompt of 4,096 tokens, decode of gpt-oss-120b and
DeepSeek-V3, and joules, on the tree as it is; ``--set KEY=VALUE`` applies to all scenarios but the
steady ones. Run before and after a change; two seconds.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.perf_model.calibrate import EIGHT_B, SEVENTY_B, predict
from corsair_sim import load, simulate

USERS = 60
"""Sequences at a time, as in the vendor's points."""
PROMPT, OUTPUT, LONG_PROMPT = 512, 1024, 4096
"""Tokens: contexts of decode run from 512 to 1,536, on average 1,024."""

Scenario = Mapping[str, Any]

LLAMA_8B: Scenario = {
    "name": "8b",
    "model": "llama-3.1-8b",
    "cluster": {"racks": 1, "servers_per_rack": 1, "cards_per_server": 8},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
}
LLAMA_70B: Scenario = {
    "name": "70b",
    "model": "llama-3.1-70b",
    "cluster": {"racks": 1, "servers_per_rack": 8, "cards_per_server": 8},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
}
FOUR_BITS: Scenario = {"weights": "mxint4", "activations": "mxint8", "kv": "mxint8"}
GPT_OSS_120B: Scenario = {
    "name": "gpt-oss-120b",
    "model": "gpt-oss-120b",
    "formats": FOUR_BITS,
    "cluster": {"racks": 1, "servers_per_rack": 8, "cards_per_server": 8},
    "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 8},
}
DEEPSEEK_V3: Scenario = {
    "name": "deepseek-v3",
    "model": "deepseek-v3",
    "formats": FOUR_BITS,
    "cluster": {"racks": 4, "servers_per_rack": 8, "cards_per_server": 8},
    "plan": {
        "tensor_parallel_size": 8,
        "pipeline_parallel_size": 32,
        "expert_parallel_size": 8,
    },
}


def decode(scenario: Scenario, settings: Sequence[str]) -> Mapping[str, Any]:
    """Summary of a closed loop of 60 users, three requests each, prompts read in between."""
    return _run(scenario, settings, requests=3 * USERS, arrivals={"concurrency": USERS})


def first_token_ms(scenario: Scenario, settings: Sequence[str]) -> float:
    """TTFT of one long prompt on idle cards."""
    arrivals = {"concurrency": 1}
    found = _run(scenario, settings, requests=1, arrivals=arrivals, prompt=LONG_PROMPT, output=1)
    return float(found["mean_ttft_ms"])


def _run(
    scenario: Scenario,
    settings: Sequence[str],
    *,
    requests: int,
    arrivals: Mapping[str, Any],
    prompt: int = PROMPT,
    output: int = OUTPUT,
) -> Mapping[str, Any]:
    traffic = {
        "requests": requests,
        "arrivals": arrivals,
        "prompt_tokens": {"fixed": prompt},
        "output_tokens": {"fixed": output},
    }
    whole = {
        **scenario,
        "scheduler": {"max_num_seqs": USERS, "max_num_batched_tokens": 512},
        "workload": {"synthetic": traffic},
    }
    found: Mapping[str, Any] = simulate(load(whole, sets=settings)).summary
    return found


def effects(settings: Sequence[str]) -> dict[str, float]:
    """Every figure of the table, by name and unit."""
    found: dict[str, float] = {}
    for point in (EIGHT_B, SEVENTY_B):
        cycle_ps = predict(point).cycle_ps
        found[f"{point.model} steady decode at context 1,024, ms"] = round(cycle_ps * 1e-9, 4)
    for scenario in (LLAMA_8B, LLAMA_70B, GPT_OSS_120B, DEEPSEEK_V3):
        name, run = scenario["name"], decode(scenario, settings)
        found[f"{name} TPOT, ms"] = round(run["median_tpot_ms"], 4)
        found[f"{name} energy, J per token"] = round(run["joules_per_output_token"], 5)
    for scenario in (LLAMA_8B, LLAMA_70B):
        name = f"{scenario['name']} TTFT of {LONG_PROMPT} tokens, ms"
        found[name] = round(first_token_ms(scenario, settings), 3)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments).set
    print(json.dumps(effects(chosen), indent=1))


if __name__ == "__main__":
    main()
