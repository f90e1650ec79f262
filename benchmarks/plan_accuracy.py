"""Analytic scores beside simulations at 70 % of capacity; writes docs/plan-accuracy.md.

python benchmarks/plan_accuracy.py
"""

from pathlib import Path
from typing import Any

from cluster.scenario.load import load
from cluster.studies.plan.chosen import Verified
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan

PAGE = Path(__file__).parents[1] / "docs" / "plan-accuracy.md"
LIMIT = 0.05
Case = tuple[str, int, int, int, int, int, str, int, int, int, int]
CASES: tuple[Case, ...] = (
    # model, servers per rack, racks, TP, PP, EP, mode, seats, budget, prompt, output
    ("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 32, 512, 1024, 256),
    ("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 16, 256, 512, 64),
    ("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 60, 512, 1024, 256),
    ("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 32, 512, 128, 256),
    ("llama-3.1-70b", 8, 1, 4, 16, 1, "performance", 64, 512, 1024, 256),
    ("llama-3.1-70b", 8, 1, 8, 8, 1, "performance", 128, 1024, 256, 512),
    ("llama-3.1-70b", 1, 1, 8, 1, 1, "capacity", 16, 512, 1024, 256),
    ("gpt-oss-120b", 5, 2, 8, 9, 8, "performance", 72, 512, 1024, 256),
    ("gpt-oss-120b", 1, 1, 8, 1, 8, "capacity", 32, 512, 1024, 256),
    ("deepseek-v3", 8, 1, 8, 8, 8, "capacity", 64, 512, 1024, 256),
    ("deepseek-v3", 1, 1, 8, 1, 8, "capacity", 8, 512, 1024, 256),
)
HEAD = """# How near the scores of plans are

Analytic means beside simulated ones: equal requests that come independently at 70 % of what the
candidate can do, 20,000 of them, first and last included. Errors are analytic over simulated, less
one; those beyond 5 % are set in bold, and stay here. Made by `python benchmarks/plan_accuracy.py`.

| model | plan | memory | seats, budget | prompt, output | TTFT ms | TPOT ms | tokens/s | J/token |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Simulate every case, print and write the table."""
    rows = []
    for case in CASES:
        rows.append(_row(case, _verified(case)))
        print(rows[-1], flush=True)
    PAGE.write_text(HEAD + "\n".join(rows) + "\n", "utf-8")


def _verified(case: Case) -> Verified:
    model, servers, racks, group, stages, ranks, mode, seats, budget, prompt, output = case
    scenario = load(
        {
            "model": model,
            "cluster": {"servers_per_rack": servers, "racks": racks},
            "workload": {
                "synthetic": {
                    "requests": 20000,
                    "arrivals": {"poisson": {"rate_per_s": 1}},
                    "prompt_tokens": {"fixed": prompt},
                    "output_tokens": {"fixed": output},
                }
            },
        }
    )
    choices = Choices(
        tensor_parallel_size=(group,),
        pipeline_parallel_size=(stages,),
        expert_parallel_size=(ranks,),
        replicas=(1,),
        memory_mode=("performance" if mode == "performance" else "capacity",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(seats,),
        max_num_batched_tokens=(budget,),
    )
    return plan(scenario, choices=choices, finalists=1).verified[0]


def _row(case: Case, found: Verified) -> str:
    model, _, _, group, stages, ranks, mode, seats, budget, prompt, output = case
    pairs = (
        ("ttft_ms", "mean_ttft_ms"),
        ("tpot_ms", "mean_tpot_ms"),
        ("output_throughput", "output_throughput"),
        ("joules_per_output_token", "joules_per_output_token"),
    )
    cells = [_cell(found.candidate[name], found.summary[key]) for name, key in pairs]
    shape = f"TP {group} x PP {stages}" + (f", EP {ranks}" if ranks > 1 else "")
    sizes = f"{seats}, {budget} | {prompt:,}, {output:,}"
    return f"| {model} | {shape} | {mode} | {sizes} | {' | '.join(cells)} |"


def _cell(analytic: Any, simulated: Any) -> str:
    error = analytic / simulated - 1
    said = f"{100 * error:+.1f} %"
    strong = "**" if abs(error) > LIMIT else ""
    return f"{analytic:,.4g} / {simulated:,.4g}: {strong}{said}{strong}"


if __name__ == "__main__":
    main()
