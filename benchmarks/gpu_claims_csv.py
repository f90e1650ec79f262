"""The file docs/studies/gpu-claims.csv: its head, its lines, and how they are made and read."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROMPT, OUTPUT = 1024, 1024
TTFT_S = 2.0
"""Bound of the mean time to the first token."""
LOAD = 0.9
"""Of each candidate's capacity."""
TPOT_MS = (0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 11, 16, 22, 32, 45, 64, 90)
"""Bounds of the mean time per output token."""
DRAWS = 64
USER = "output_tokens_per_s_per_user"
METRICS: Mapping[str, tuple[str, int]] = {
    "output_tokens_per_s_per_card": ("tokens/s/card", 1),
    "joules_per_output_token": ("J (cards)", -1),
    "system_joules_per_output_token": ("J (cards, hosts, NICs, switches)", -1),
    "cost_per_million_output_tokens_usd": ("USD per million output tokens", -1),
}
"""Fronts over the bound of TPOT: the unit, and 1 where more is better."""
Best = dict[tuple[str, float], tuple[float, int]]
"""By metric and bound of TPOT: the value, and the row of its candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """A device and a model: best values as the catalogue has it, and in every draw."""

    best: Best
    words: Mapping[tuple[str, float], str]
    """The plan of each."""
    drawn: Sequence[Best | None]
    """None: the draw contradicts a published point."""


HEAD = (
    "# Corsair against H100, H200 and B200: best values at equal mean TPOT, each side with its"
    " best plan.",
    f"# Made by benchmarks/gpu_claims.py. Prompts of {PROMPT:,} and answers of {OUTPUT:,} tokens;"
    f" every candidate at {LOAD:.0%} of its capacity, mean TTFT within {TTFT_S:g} s; scores of"
    " plan, not simulated.",
    "# Corsair: 64 cards of a rack; GPUs: a server of 8. Weights, activations, KV: 8 bits"
    " (MXINT8, FP8 E4M3); gpt-oss: weights of 4 bits (MXINT4, MXFP4).",
    "# tpot_ms_bound [ms]: of the mean time per output token; empty: the fastest plan of all,"
    " whatever its throughput and its TTFT.",
    "# value [unit]; p5, p50, p95: percentiles over draws of what is uncertain"
    f" ({DRAWS}, seed 0). Corsair: ranges of the catalogue, the dispatch fitted again to the"
    " published point in each draw. GPUs: prices and energies by their ranges, all times by the"
    " band of the scoreboard (nine of ten errors of points that nothing was fitted on).",
    "# reached: share of the draws in which some plan is within the bound. corsair_better: how"
    " many times better Corsair is at the same bound, at the catalogue's values, with percentiles"
    " over the same draws; better_draws: share of the draws with more than 1.",
)
COLUMNS = (
    *("model", "device", "metric", "unit", "tpot_ms_bound", "value", "p5", "p50", "p95"),
    *("reached", "corsair_better", "better_p5", "better_p50", "better_p95", "better_draws"),
    "plan",
)
Row = dict[str, Any]


def rows_of(model: str, found: Mapping[str, Fronts]) -> Iterator[Row]:
    """The lines of a model."""
    keys = [(USER, 0.0), *((metric, float(bound)) for metric in METRICS for bound in TPOT_MS)]
    for device, fronts in found.items():
        for key in keys:
            if key not in fronts.best:
                continue
            metric, bound = key
            unit, _ = METRICS.get(metric, ("tokens/s/user", 1))
            yield {
                "model": model,
                "device": device,
                "metric": metric,
                "unit": unit,
                "tpot_ms_bound": bound or "",
                "value": fronts.best[key][0],
                **spread(("p5", "p50", "p95"), values(fronts.drawn, key)),
                "reached": share(each is not None and key in each for each in known(fronts.drawn)),
                **({} if device == "corsair" else better(found["corsair"], fronts, key)),
                "plan": fronts.words[key],
            }


def known(drawn: Sequence[Best | None]) -> list[Best]:
    """Draws that contradict nothing."""
    return [each for each in drawn if each is not None]


def values(drawn: Sequence[Best | None], key: tuple[str, float]) -> list[float]:
    """The value in each draw that has one."""
    return [each[key][0] for each in known(drawn) if key in each]


def share(truths: Iterable[bool]) -> float:
    """Of those that are true."""
    found = list(truths)
    return sum(found) / len(found) if found else math.nan


def spread(names: Sequence[str], found: Sequence[float]) -> Row:
    """The 5th, 50th and 95th percentile."""
    if not found:
        return {}
    return dict(zip(names, map(float, np.percentile(found, (5, 50, 95))), strict=True))


def better(corsair: Fronts, gpu: Fronts, key: tuple[str, float]) -> Row:
    """How many times better Corsair is, draw by draw."""
    sign = METRICS.get(key[0], ("", 1))[1]
    if key not in corsair.best:
        return {}
    ratio = (corsair.best[key][0] / gpu.best[key][0]) ** sign
    ratios = [
        (one[key][0] / two[key][0]) ** sign
        for one, two in zip(corsair.drawn, gpu.drawn, strict=True)
        if one is not None and two is not None and key in one and key in two
    ]
    names = ("better_p5", "better_p50", "better_p95")
    return {
        "corsair_better": ratio,
        **spread(names, ratios),
        "better_draws": share(each > 1 for each in ratios),
    }


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """The head, and four significant digits of every number."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("\n".join(HEAD) + "\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            rounded = {
                name: f"{value:.4g}" if isinstance(value, float) else value
                for name, value in row.items()
            }
            writer.writerow(rounded)


def read_csv(path: Path) -> list[Row]:
    """The lines, numbers as floats and blanks as None."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    words = ("model", "device", "metric", "unit", "plan")
    return [
        {
            name: text if name in words else (float(text) if text else None)
            for name, text in row.items()
        }
        for row in csv.DictReader(lines)
    ]
