"""Scores beside simulations of recorded traffic; writes a table of docs/plan-accuracy.md.

    python benchmarks/plan_bursts.py DATA [TRACE ...]

``DATA`` is the folder with AzureLLMInferenceTrace_{conv,code}.csv, servegen_client_rates.parquet,
mooncake_conversation_trace.jsonl and servegen_deepseek-r1_dataset.tar.xz. With names of TRACES the
rows are printed only.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.scenario.load import load
from cluster.studies.plan.candidate_scenario import SIMULATED, Verified
from cluster.studies.plan.space import Choices
from cluster.studies.plan.study import plan
from workloads.servegen import generate_servegen
from workloads.trace import write_trace

PAGE = Path(__file__).parents[1] / "docs" / "plan-accuracy.md"
TITLE = "\n## Recorded traffic\n"
CLOSE = 0.10
LOADS: tuple[Any, ...] = ("offered", 0.5, 0.7, 0.9)
TRACES = {
    "azure-code": "AzureLLMInferenceTrace_code.csv",
    "azure-conv": "AzureLLMInferenceTrace_conv.csv",
    "mooncake": "mooncake_conversation_trace.jsonl",
    "servegen": "servegen_client_rates.parquet",
}
"""Files in DATA."""


class Case(NamedTuple):
    """A plan with 8-bit weights and KV in SRAM."""

    model: str
    servers: int
    tensor: int
    stages: int
    replicas: int
    max_num_seqs: int
    budget: int


CASES = (
    Case("llama-3.1-8b", 1, 8, 1, 1, 64, 1024),
    Case("llama-3.1-8b", 1, 4, 2, 1, 64, 512),
    Case("llama-3.1-70b", 8, 4, 16, 1, 96, 512),
)
"""Used for the model of bursts."""
FRESH = (
    Case("llama-3.1-8b", 2, 8, 1, 2, 48, 512),
    Case("llama-3.1-70b", 8, 8, 8, 1, 128, 1024),
)
"""Simulated once, after the model was finished."""
TEXT = """
An hour of Azure's code and conversation services, Mooncake's conversations and ServeGen's clients
of deepseek-r1 (an hour at 5 requests/s), first as recorded, then with all gaps scaled so that the
load is 50, 70 and 90 % of the capacity that the score finds. KV and weights in MXINT8, no prefix
cache. Errors beyond 10 % are in bold. A load of 90 % on the mean is an overload for minutes in all
of these traces, so an error of capacity of a few per cent changes waits severalfold. Written by
`python benchmarks/plan_bursts.py DATA`.

"""
HEAD = """| traffic | model | plan | max_num_seqs, budget | load \
| TTFT ms | TPOT ms | tokens/s | J/token |
|---|---|---|---|---|---|---|---|---|
"""


def main(words: Sequence[str]) -> int:
    """Simulate every case, print and write the table."""
    if not words:
        print(__doc__, file=sys.stderr)
        return 2
    data, names = Path(words[0]), words[1:] or list(TRACES)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: trace_of(name, data, Path(folder)) for name in names}
        parts = []
        for title, cases in (("Plans used to develop the model", CASES), ("Held out", FRESH)):
            rows = [*_rows(files, cases)]
            found = [errors for _, errors in rows]
            parts.append(
                f"{title}: {_within(found)}.\n\n{HEAD}" + "".join(f"{row}\n" for row, _ in rows)
            )
    if not words[1:]:
        before = PAGE.read_text("utf-8").partition(TITLE)[0]
        PAGE.write_text(before + TITLE + TEXT + "\n".join(parts), "utf-8")
    return 0


def trace_of(name: str, data: Path, folder: Path) -> Path:
    """The trace's file; ServeGen's clients of deepseek-r1 for an hour at 5 requests a second."""
    file = data / TRACES[name]
    if name != "servegen":
        return file
    lengths = data / "servegen_deepseek-r1_dataset.tar.xz"
    made = folder / "servegen.parquet"
    write_trace(generate_servegen(file, lengths, "deepseek-r1", 5.0, 3600.0, 0), made)
    return made


def _rows(
    files: dict[str, Path], cases: Sequence[Case]
) -> Iterator[tuple[str, dict[str, float | None]]]:
    for name, file in files.items():
        for case in cases:
            for load_at in LOADS:
                found = verified(file, case, load_at)
                if found is not None:
                    row = _row(name, case, found)
                    print(row, flush=True)
                    yield row, found.errors


def verified(file: Path, case: Case, load_at: Any) -> Verified | None:
    """Score and simulate; None if the plan does not hold the longest request."""
    scenario = {
        "model": case.model,
        "cluster": {"servers_per_rack": case.servers},
        "workload": {"trace": str(file)},
        "scheduler": {"enable_prefix_caching": False},
    }
    choices = Choices(
        tensor_parallel_size=(case.tensor,),
        pipeline_parallel_size=(case.stages,),
        replicas=(case.replicas,),
        memory_mode=("performance",),
        weights=("mxint8",),
        kv=("mxint8",),
        max_num_seqs=(case.max_num_seqs,),
        max_num_batched_tokens=(case.budget,),
    )
    found = plan(load(scenario), choices=choices, load_at=load_at, finalists=1)
    return found.verified[0] if found.verified else None


def _row(name: str, case: Case, found: Verified) -> str:
    candidate = found.candidate
    shape = f"{case.replicas} x " if case.replicas > 1 else ""
    shape += f"TP {case.tensor} x PP {case.stages}"
    part = candidate["output_throughput"] / candidate["capacity_output_throughput"]
    cells = [_cell(candidate[key], found.simulated[key]) for key in SIMULATED]
    sizes = f"{case.max_num_seqs}, {case.budget} | {100 * part:.0f} %"
    return f"| {name} | {case.model} | {shape} | {sizes} | {' | '.join(cells)} |"


def _cell(analytic: Any, simulated: Any) -> str:
    error = analytic / simulated - 1
    strong = "**" if abs(error) > CLOSE else ""
    return f"{analytic:,.4g} / {simulated:,.4g}: {strong}{100 * error:+.0f} %{strong}"


def _within(found: Sequence[dict[str, float | None]]) -> str:
    """``TTFT within 10 % in 3 of 40 cases, ...``, with the median of the absolute error."""
    parts = []
    for key, name in zip(SIMULATED, ("TTFT", "TPOT", "tokens/s", "J/token"), strict=True):
        sizes = sorted(abs(each[key] or 0.0) for each in found)
        close = sum(size <= CLOSE for size in sizes)
        middle = 100 * sizes[len(sizes) // 2]
        parts.append(f"{name} in {close} (median error {middle:.0f} %)")
    return f"of {len(found)} cases, within 10 % are {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
