"""The study docs/studies/gpu-claims.md: fronts of Corsair, H100, H200 and B200 for five models.

``python benchmarks/gpu_claims.py`` scores all plans of each device for each model, draws what is
uncertain, and writes ``docs/studies/gpu-claims.csv``, the tables of the page and its figures (ten
minutes of processor time); ``--tables`` makes tables and figures of the CSV that is there,
``--checks`` the tables of simulations and of ``plan --against``.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import gpu_claims_page
from benchmarks.gpu_claims_csv import (
    DRAWS,
    LOAD,
    METRICS,
    OUTPUT,
    PROMPT,
    TPOT_MS,
    TTFT_S,
    USER,
    Best,
    Fronts,
    Row,
    read_csv,
    rows_of,
    write_csv,
)
from benchmarks.gpu_claims_page import DEVICES, GPUS
from cluster.studies.draws import Draw, draws, with_settings
from cluster.studies.other_hardware import both_sides
from corsair_sim import Choices, Scenario, load, plan
from topology.catalog import load_hardware

ROOT = Path(__file__).resolve().parents[1]
CSV = ROOT / "docs" / "studies" / "gpu-claims.csv"
MODELS: Mapping[str, str] = {
    "qwen3-0.6b": "mxint8",
    "llama-3.1-8b": "mxint8",
    "gpt-oss-20b": "mxint4",
    "llama-3.1-70b": "mxint8",
    "gpt-oss-120b": "mxint4",
}
"""And the format of weights on Corsair: GPUs have one as wide. gpt-oss was released in 4 bits."""
RACK: Mapping[str, Mapping[str, int]] = {
    "corsair": {"racks": 1, "servers_per_rack": 8, "cards_per_server": 8},
    **{name: {"racks": 1, "servers_per_rack": 1, "cards_per_server": 8} for name in GPUS},
}
"""A rack of Corsair, a server of GPUs: no tensor group of GPUs leaves its NVLink."""
SHAPE = (
    *("tensor_parallel_size", "pipeline_parallel_size", "expert_parallel_size", "replicas"),
    "memory_mode",
)
Columns = Mapping[str, npt.NDArray[Any]]


def formats_of(model: str) -> Choices:
    """Of weights, on Corsair."""
    return Choices(weights=(MODELS[model],))


def question(model: str, device: str) -> tuple[Scenario, Choices]:
    """The traffic on a device, and what is searched."""
    synthetic = {
        "requests": 500,
        "preset": None,
        "arrivals": {"poisson": {"rate_per_s": 10.0}},
        "prompt_tokens": {"fixed": PROMPT},
        "output_tokens": {"fixed": OUTPUT},
    }
    base = load({"name": "claims", "model": model, "workload": {"synthetic": synthetic}})
    own, other = both_sides(base, device if device != "corsair" else "h100", formats_of(model))
    scenario, choices = own if device == "corsair" else other
    changes: dict[str, Any] = {"cluster": dict(RACK[device])}
    if device != "corsair":
        changes["scheduler"] = {"async_scheduling": True}
        choices = replace(
            choices,
            pipeline_parallel_size=(1,),
            max_num_batched_tokens=(256, 512, 1024, 2048, 8192),
        )
    return load(scenario.model_dump(mode="json", exclude_defaults=True), **changes), choices


def scored(scenario: Scenario, choices: Choices) -> Columns:
    """All candidates within the bound of TTFT, with the joules of whole servers."""
    found = plan(scenario, slo={"ttft_s": TTFT_S}, load_at=LOAD, choices=choices, finalists=0)
    return with_system(found.columns)


def with_system(columns: Columns) -> Columns:
    """The columns, and joules of whole servers for a token."""
    whole = columns["power_w"] / columns["output_throughput"]
    return {**columns, "system_joules_per_output_token": whole}


def best_of(columns: Columns, group: int | None = None) -> Best:
    """The fastest candidate for one user, and the best of each metric at each bound of TPOT; of
    all tensor groups, or of one size."""
    found: Best = {}
    if not len(columns["tpot_ms"]):
        return found
    fastest = int(np.lexsort((columns["cards"], columns["max_num_seqs"], columns["tpot_ms"]))[0])
    found[USER, 0.0] = float(columns[USER][fastest]), fastest
    own = group is None or columns["tensor_parallel_size"] == group
    rows = np.flatnonzero(columns["meets_slo"] & own)
    for metric, (_, sign) in METRICS.items():
        values = sign * columns[metric]
        for bound in TPOT_MS:
            within = rows[columns["tpot_ms"][rows] <= bound]
            if len(within):
                row = int(within[values[within].argmax()])
                found[metric, float(bound)] = float(columns[metric][row]), row
    return found


def narrowed(choices: Choices, columns: Columns) -> list[Choices]:
    """The search of only those shapes that are best somewhere, of all or of tensor groups of 1, 2,
    4 or 8 cards: a search for each group."""
    bests = [best_of(columns, group) for group in (None, 1, 2, 4, 8)]
    rows = sorted({row for best in bests for _, row in best.values()})
    shapes = {tuple(columns[name][row].item() for name in SHAPE) for row in rows}
    budgets = tuple(sorted({int(columns["max_num_batched_tokens"][row]) for row in rows}))
    found = []
    for group, experts, mode in sorted({(tp, ep, mode) for tp, _, ep, _, mode in shapes}):
        same = [each for each in shapes if (each[0], each[2], each[4]) == (group, experts, mode)]
        found.append(
            replace(
                choices,
                tensor_parallel_size=(group,),
                expert_parallel_size=(experts,),
                memory_mode=(mode,),
                pipeline_parallel_size=tuple(sorted({each[1] for each in same})),
                replicas=tuple(sorted({each[3] for each in same})),
                max_num_batched_tokens=budgets,
            )
        )
    return found


def merged(parts: Iterable[Columns]) -> Columns:
    """Rows of several searches, one after another."""
    parts = list(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fronts_of(model: str, device: str) -> Fronts:
    """Search once with all plans, then in each draw among those that were best somewhere."""
    scenario, choices = question(model, device)
    columns = scored(scenario, choices)
    best = best_of(columns)
    few = narrowed(choices, columns)
    words = {key: words_of(columns, row) for key, (_, row) in best.items()}
    tensor = int(columns["tensor_parallel_size"][best[USER, 0.0][1]])
    placed = load(
        scenario.model_dump(mode="json", exclude_defaults=True),
        plan={"tensor_parallel_size": 8 if device == "corsair" else tensor},
    )
    unlike = None if device == "corsair" else load_hardware("corsair")
    machines = draws(placed, DRAWS, 0, unlike=unlike)
    return Fronts(
        best=best,
        words=words,
        drawn=[None if each.reason else best_in(scenario, few, each) for each in machines],
    )


def best_in(scenario: Scenario, few: Sequence[Choices], draw: Draw) -> Best:
    """The same with the figures of a draw."""
    changed = with_settings(scenario, draw).model_copy(
        update={"hardware_set": dict(draw.hardware_set)}
    )
    return best_of(merged(scored(changed, each) for each in few))


def words_of(columns: Columns, row: int) -> str:
    """``4 x (TP 1 x PP 2), 64 seqs, budget 512``."""
    at = {name: column[row].item() for name, column in columns.items()}
    experts = f", EP {at['expert_parallel_size']}" if at["expert_parallel_size"] > 1 else ""
    mode = "" if at["memory_mode"] == "performance" else f", {at['memory_mode']}"
    return (
        f"{at['replicas']} x (TP {at['tensor_parallel_size']} x PP {at['pipeline_parallel_size']}"
        f"{experts}){mode}, {at['max_num_seqs']} seqs, budget {at['max_num_batched_tokens']}"
    )


def main() -> None:
    """Make the CSV anew unless only tables are wanted; then the page's tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--tables", action="store_true", help="and figures of the CSV that is there"
    )
    parser.add_argument("--checks", action="store_true", help="only simulations and --against")
    args = parser.parse_args()
    if not (args.tables or args.checks):
        rows: list[Row] = []
        for model in MODELS:
            found = {}
            for device in DEVICES:
                found[device] = fronts_of(model, device)
                print(f"{model} on {device}", flush=True)
            rows += rows_of(model, found)
            write_csv(rows, CSV)
    if not args.checks:
        gpu_claims_page.write_page(read_csv(CSV))
    if not args.tables:
        from benchmarks import gpu_claims_checks as checks

        tables = {
            "simulated": checks.simulated,
            "against": checks.answers,
            "hangs-on": checks.hangs_on,
        }
        gpu_claims_page.write_tables(tables)


if __name__ == "__main__":
    main()
