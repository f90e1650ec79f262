"""Analytic scores beside simulations; writes docs/plan-accuracy.md.

python benchmarks/plan_accuracy.py [first|second|third] [place,place,...]

With arguments it only prints: the first or second table (development cases) or the third (held-out
cases), or some rows of one.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cluster.api.serving import simulate
from cluster.scenario.load import load
from cluster.scenario.schema import Scenario
from cluster.studies.plan.candidate_scenario import SIMULATED, Verified, scenario_of
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan

PAGE = Path(__file__).parents[1] / "docs" / "plan-accuracy.md"
LIMIT = 0.05
REQUESTS = 20_000


class Case(NamedTuple):
    """One candidate, its traffic, and its load."""

    model: str
    servers: int
    racks: int
    tensor: int
    stages: int
    experts: int
    mode: Any
    max_num_seqs: int
    budget: int
    prompt: int
    output: int
    load: float = 0.7
    burstiness: float = 1.0
    """Shape of the gamma-distributed gaps: 1 is Poisson, less is burstier."""


CASES = (
    Case("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 32, 512, 1024, 256),
    Case("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 16, 256, 512, 64),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 60, 512, 1024, 256),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 32, 512, 128, 256),
    Case("llama-3.1-70b", 8, 1, 4, 16, 1, "performance", 64, 512, 1024, 256),
    Case("llama-3.1-70b", 8, 1, 8, 8, 1, "performance", 128, 1024, 256, 512),
    Case("llama-3.1-70b", 1, 1, 8, 1, 1, "capacity", 16, 512, 1024, 256),
    Case("gpt-oss-120b", 5, 2, 8, 9, 8, "performance", 72, 512, 1024, 256),
    Case("gpt-oss-120b", 1, 1, 8, 1, 8, "capacity", 32, 512, 1024, 256),
    Case("deepseek-v3", 8, 1, 8, 8, 8, "capacity", 64, 512, 1024, 256),
    Case("deepseek-v3", 1, 1, 8, 1, 8, "capacity", 8, 512, 1024, 256),
)
OTHERS = (
    Case("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 24, 256, 2048, 128, 0.5),
    Case("llama-3.1-8b", 1, 1, 2, 4, 1, "performance", 64, 1024, 512, 512),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 128, 2048, 1500, 100),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 40, 512, 1024, 256, 0.7, 0.5),
    Case("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 32, 512, 1024, 256, 0.7, 4.0),
    Case("llama-3.1-70b", 8, 1, 4, 16, 1, "performance", 128, 512, 500, 200, 0.5),
    Case("llama-3.1-70b", 8, 1, 8, 8, 1, "performance", 48, 512, 2000, 300),
    Case("llama-3.1-70b", 1, 1, 8, 1, 1, "capacity", 32, 1024, 300, 400),
    Case("gpt-oss-120b", 1, 1, 4, 2, 4, "capacity", 24, 256, 600, 150),
    Case("gpt-oss-120b", 8, 1, 8, 8, 8, "capacity", 128, 1024, 2000, 400, 0.5),
    Case("deepseek-v3", 8, 1, 8, 8, 8, "capacity", 128, 1024, 300, 300, 0.5),
    Case("deepseek-v3", 2, 1, 8, 2, 8, "capacity", 24, 512, 700, 200),
)
FRESH = (
    Case("llama-3.1-8b", 1, 1, 8, 1, 1, "performance", 32, 1024, 700, 300),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 96, 1024, 800, 200, 0.6),
    Case("llama-3.1-8b", 1, 1, 4, 2, 1, "performance", 48, 512, 600, 200, 0.7, 0.7),
    Case("llama-3.1-8b", 1, 1, 2, 4, 1, "performance", 48, 256, 700, 150),
    Case("llama-3.1-8b", 1, 1, 2, 4, 1, "performance", 128, 2048, 3000, 500, 0.5),
    Case("llama-3.1-8b", 1, 1, 1, 8, 1, "performance", 64, 512, 400, 300),
    Case("llama-3.1-70b", 8, 1, 4, 16, 1, "performance", 96, 256, 2000, 100),
    Case("llama-3.1-70b", 8, 1, 8, 8, 1, "performance", 96, 512, 700, 200, 0.8),
    Case("llama-3.1-70b", 2, 1, 8, 2, 1, "capacity", 32, 512, 900, 200),
    Case("gpt-oss-120b", 4, 1, 8, 4, 8, "capacity", 48, 512, 500, 250),
    Case("deepseek-v3", 4, 1, 8, 4, 8, "capacity", 48, 512, 1500, 200, 0.6),
)
TABLES = {"first": CASES, "second": OTHERS, "third": FRESH}
HEAD = """# Accuracy of plan scores

Analytic means beside simulated means of 20,000 equal requests, first and last included, that
arrive at a fraction of the saturation throughput (70 % unless stated). Errors are analytic over
simulated, less one; those beyond 5 % are in bold. Energy is that of the candidate's own
cards on both sides. Written by `python benchmarks/plan_accuracy.py`.

## Cases used to develop the model

"""
COLUMNS = """| model | plan | memory | max_num_seqs, budget | prompt, output \
| TTFT ms | TPOT ms | tokens/s | J/token |
|---|---|---|---|---|---|---|---|---|
"""
SECOND = """
## More development cases

Other lengths, sequence limits, budgets, loads and, twice, arrivals (a burstiness below 1 is
burstier than Poisson, above it more even). These cases were held out while prompts waited for their
last chunk in a pipeline; they were used for the model of streamed prompts.

"""
THIRD = """
## Held-out cases

Chosen after the model was finished, and simulated once; the model was not changed for them.

"""
FULL = """
## Saturation throughput

Loads above are fractions of this. Requests per second, analytic beside simulated, with
`max_num_seqs` always reached. Outputs have all lengths from 2 to twice the mean less 2, so that
requests are at independent phases. Requests arrive at 2.5 times the rate that can be served; the
middle of 3,000 is measured.

| model | plan | max_num_seqs, budget | prompt, output | requests/s |
|---|---|---|---|---|
"""


def main(words: Sequence[str]) -> None:
    """Simulate every case, print and write the tables."""
    if words:
        cases = TABLES[words[0]]
        chosen = map(int, words[1].split(",")) if words[1:] else range(len(cases))
        for row in _rows([cases[place] for place in chosen]):
            print(row, flush=True)
        return
    text = HEAD
    for head, cases in (("", CASES), (SECOND, OTHERS), (THIRD, FRESH)):
        text += head + COLUMNS + "\n".join(_rows(cases)) + "\n"
    every = [case for cases in TABLES.values() for case in cases]
    text += FULL + "\n".join(_full_row(case) for case in every if case.stages > 1) + "\n"
    PAGE.write_text(text, "utf-8")


def _rows(cases: Sequence[Case]) -> Iterator[str]:
    for case in cases:
        yield _row(case, verified(case))


def verified(case: Case) -> Verified:
    """Score and simulate one case."""
    found = plan(
        _asked(case, REQUESTS, {"fixed": case.output}, 1.0),
        choices=_as_it_is(case),
        load_at=case.load,
        finalists=1,
    )
    return found.verified[0]


def full(case: Case) -> tuple[float, float]:
    """Saturation throughput in requests/s: scored, and simulated with outputs of many lengths."""
    lengths = {"uniform": {"low": 2, "high": 2 * case.output - 2}}
    requested = _asked(case, 3000, lengths, 1.0)
    scored = plan(requested, choices=_as_it_is(case), load_at=0.5, finalists=0).candidates[0]
    analytic = scored["request_rate_per_s"] / 0.5
    crowded = scenario_of(requested, scored, 2.5 * analytic)
    finish_s = np.sort(np.asarray(simulate(crowded).requests["finish_s"]))
    return analytic, 1700 / float(finish_s[2300] - finish_s[600])


def _asked(case: Case, requests: int, output: dict[str, Any], rate_per_s: float) -> Scenario:
    gaps = {"rate_per_s": rate_per_s, "burstiness": case.burstiness}
    return load(
        {
            "model": case.model,
            "cluster": {"servers_per_rack": case.servers, "racks": case.racks},
            "workload": {
                "synthetic": {
                    "requests": requests,
                    "arrivals": {"poisson": {"rate_per_s": rate_per_s}}
                    if case.burstiness == 1
                    else {"gamma": gaps},
                    "prompt_tokens": {"fixed": case.prompt},
                    "output_tokens": output,
                }
            },
        }
    )


def _as_it_is(case: Case) -> Choices:
    return Choices(
        tensor_parallel_size=(case.tensor,),
        pipeline_parallel_size=(case.stages,),
        expert_parallel_size=(case.experts,),
        replicas=(1,),
        memory_mode=(case.mode,),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(case.max_num_seqs,),
        max_num_batched_tokens=(case.budget,),
    )


def _full_row(case: Case) -> str:
    sizes = f"{case.max_num_seqs}, {case.budget} | {case.prompt:,}, {case.output:,}"
    return f"| {case.model} | {_shape(case)} | {sizes} | {_cell(*full(case))} |"


def _shape(case: Case) -> str:
    shape = f"TP {case.tensor} x PP {case.stages}"
    return shape + (f", EP {case.experts}" if case.experts > 1 else "")


def _row(case: Case, found: Verified) -> str:
    cells = [_cell(found.candidate[name], found.simulated[name]) for name in SIMULATED]
    sizes = f"{case.max_num_seqs}, {case.budget} | {case.prompt:,}, {case.output:,}"
    sizes += f"; {100 * case.load:.0f} %" if case.load != 0.7 else ""
    sizes += f"; burstiness {case.burstiness}" if case.burstiness != 1 else ""
    return f"| {case.model} | {_shape(case)} | {case.mode} | {sizes} | {' | '.join(cells)} |"


def _cell(analytic: Any, simulated: Any) -> str:
    error = analytic / simulated - 1
    said = f"{100 * error:+.1f} %"
    strong = "**" if abs(error) > LIMIT else ""
    return f"{analytic:,.4g} / {simulated:,.4g}: {strong}{said}{strong}"


if __name__ == "__main__":
    main(sys.argv[1:])
