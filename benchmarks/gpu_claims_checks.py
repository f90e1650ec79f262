"""What docs/studies/gpu-claims.md has beside its fronts: scores simulated, and answers of
``plan --against``."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import gpu_claims
from benchmarks.gpu_claims_csv import LOAD, TTFT_S
from benchmarks.gpu_claims_page import CARD, DEVICES, GPUS, head, line, number
from cluster.studies.draws import Draw, ends
from cluster.studies.other_hardware import both_sides
from cluster.studies.plan.candidate_scenario import scenario_of
from cluster.studies.plan.objective import Objective
from cluster.studies.scored_sizes import ScoredSizes
from cluster.studies.tco_comparison import Side
from corsair_sim import Choices, TcoComparison, compare_tco, load, plan, simulate

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "corsair-or-h200.yaml"
CHECKED_MS: Mapping[str, float] = {
    "qwen3-0.6b": 4.0,
    "llama-3.1-8b": 8.0,
    "gpt-oss-20b": 8.0,
    "llama-3.1-70b": 16.0,
    "gpt-oss-120b": 16.0,
}
"""A bound of TPOT that all devices meet."""
SECONDS = 60.0
"""Of arrivals in a simulation."""
HOURS_A_MONTH = 730.0
SHOWN = 10
"""Figures of the table of what an answer hangs on."""
ANSWERS: Mapping[str, tuple[float, float]] = {
    "qwen3-0.6b": (0.5, 0.01),
    "llama-3.1-8b": (1.0, 0.01),
    "gpt-oss-20b": (1.0, 0.01),
    "llama-3.1-70b": (2.0, 0.03),
    "gpt-oss-120b": (2.0, 0.03),
}
"""Bounds of TTFT and TPOT in seconds, for the traffic of the example."""


def simulated() -> Iterator[str]:
    """Candidates with most tokens/s/card at one bound, simulated at the rate of their scores."""
    yield from head(
        "model, TPOT, device", "plan", "TPOT scored, simulated, ms", "tokens/s scored, simulated"
    )
    for model, bound in CHECKED_MS.items():
        for device in DEVICES:
            scenario, choices = gpu_claims.question(model, device)
            found = plan(
                scenario,
                slo={"ttft_s": TTFT_S},
                load_at=LOAD,
                choices=choices,
                finalists=0,
            )
            columns = gpu_claims.with_system(found.columns)
            best = gpu_claims.best_of(columns)
            if (CARD, bound) not in best:
                continue
            row = best[CARD, bound][1]
            each = found.candidate(row)
            run = served(scenario.model_dump(mode="json", exclude_defaults=True), each)
            yield line(
                f"{model}, {number(bound)} ms, {device}",
                gpu_claims.words_of(columns, row),
                f"{number(each['tpot_ms'])}, {number(run['mean_tpot_ms'])}",
                f"{number(each['output_throughput'])}, {number(run['output_throughput'])}",
            )


def served(scenario: Mapping[str, Any], candidate: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary of a candidate at the rate that it was scored for."""
    rate = candidate["request_rate_per_s"]
    synthetic = {
        "requests": round(rate * SECONDS) + 500,
        "arrivals": {"poisson": {"rate_per_s": rate}},
    }
    there = load(scenario, workload={"synthetic": synthetic})
    summary: Mapping[str, Any] = simulate(scenario_of(there, candidate, None)).summary
    return summary


def answers() -> Iterator[str]:
    """Which hardware for the example's traffic, by model and GPU."""
    yield from head(
        "model, TTFT and TPOT", "against", "cards: Corsair, GPU", "kW", "USD a month",
        "Corsair cheaper in", "Corsair's card breaks even at", "the GPU at",
    )  # fmt: skip
    for model, (ttft_s, tpot_s) in ANSWERS.items():
        for gpu in GPUS:
            scenario = load(EXAMPLE, model=model, slo={"ttft_s": ttft_s, "tpot_s": tpot_s})
            found = compare_tco(scenario, gpu, choices=gpu_claims.formats_of(model))
            yield line(f"{model}, {ttft_s:g} s and {1e3 * tpot_s:g} ms", gpu, *_cells(found))


def _cells(found: TcoComparison) -> Iterator[str]:
    sides = (found.first, found.second)
    summaries = [side.found.answer.summary if side.found else {} for side in sides]
    watts = [sum((summary.get("facility_power_w") or {}).values()) for summary in summaries]
    yield ", ".join(str(side.bill.cards) if side.bill else "none" for side in sides)
    yield ", ".join(number(1e-3 * each) for each in watts)
    yield ", ".join(
        number(side.bill.usd_per_hour * HOURS_A_MONTH, 4) if side.bill else "none" for side in sides
    )
    yield f"{found.wins[0]} of {len(found.pairs)} draws"
    for side in sides:
        even = found.break_even(side)
        yield "" if even is None else price(even)


def hangs_on(model: str = "llama-3.1-70b", gpu: str = "b200") -> Iterator[str]:
    """USD of the GPU over USD of Corsair with one figure at an end of its range: the widest."""
    ttft_s, tpot_s = ANSWERS[model]
    scenario = load(EXAMPLE, model=model, slo={"ttft_s": ttft_s, "tpot_s": tpot_s})
    found = compare_tco(scenario, gpu, choices=gpu_claims.formats_of(model), samples=0)
    sides = (found.first, found.second)
    own, other = (math.nan if side.bill is None else side.bill.usd_per_hour for side in sides)
    base = other / own
    spaces = [space for _, space in both_sides(scenario, gpu, gpu_claims.formats_of(model))]
    moved = [
        dict(_moved(side, Objective(slo=scenario.slo), space))
        for side, space in zip(sides, spaces, strict=True)
    ]
    rows = []
    for figure in dict.fromkeys((*moved[0], *moved[1])):
        of = [side.hardware for side, own in zip(sides, moved, strict=True) if figure in own]
        factors = [own.get(figure, (1.0, 1.0)) for own in moved]
        ratios = [base * two / one for one, two in zip(*factors, strict=True)]
        rows.append((" and ".join(of), figure, ratios))
    yield from head(
        f"{model} against {gpu}: figure", "low", "high", "USD of the GPU over Corsair's at its low",
        "at its high",
    )  # fmt: skip
    yield line("all as they are", "", "", number(base), "")
    for hardware, figure, ratios in sorted(rows, key=lambda row: -_swing(row[2], base))[:SHOWN]:
        name, unit, low, high = figure
        yield line(
            f"{hardware}: `{name}`",
            f"{number(low)} {unit}",
            f"{number(high)} {unit}",
            *("more than twice the cards" if math.isnan(each) else number(each) for each in ratios),
        )


Key = tuple[str, str, float, float]
"""A figure's name, unit, low and high: equal on two sides if it is the same assumption."""


def _moved(
    side: Side, objective: Objective, space: Choices
) -> Iterator[tuple[Key, tuple[float, float]]]:
    """USD an hour with each figure at its low and its high, over those with all as they are."""
    if side.found is None:
        return
    sizes = ScoredSizes.of(side.scenario, objective, space, side.found)
    as_it_is = sizes.smallest(Draw(hardware_set={}))
    for figure, *pair in ends(side.found.answer.of):
        needed = [None if each.reason else sizes.smallest(each) for each in pair]
        low, high = (
            each.usd_per_hour / as_it_is.usd_per_hour if each and as_it_is else math.nan
            for each in needed
        )
        _, *span = figure.in_datasheet_unit()
        yield (figure.name, figure.datasheet_unit, span[0], span[1]), (low, high)


def _swing(ratios: list[float], base: float) -> float:
    return max(math.inf if math.isnan(each) else abs(math.log(each / base)) for each in ratios)


def price(even: tuple[float, tuple[float, ...]]) -> str:
    """USD, with the 5th and 95th percentile of the draws."""
    value, band = even
    spread = f" ({usd(band[0])} to {usd(band[2])})" if band else ""
    return f"{usd(value)}{spread}"


def usd(value: float) -> str:
    """Whole dollars; a negative price is none."""
    return number(value) if value >= 0 else "below 0"
