"""Every number on the first screen of README.md: runs them, keeps them, writes them.

``python benchmarks/readme.py --trace AzureLLMInferenceTrace_conv.csv`` asks the question of all
machines, simulates the answers on what may differ from the catalogue, asks again for other bounds
of TPOT, and keeps what it finds in ``benchmarks/readme.json`` (ten minutes of processor time; what
is there is kept, ``--again`` makes it anew). Without ``--trace`` it writes README.md and the figure
from that file alone.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.page_tables import with_table
from benchmarks.readme_question import BOUNDS_MS, SIDES, TPOT_MS, Side, question
from benchmarks.readme_tables import TABLES, draw
from cluster.scenario.schema import Scenario
from cluster.scenario.trust import trust_of
from cluster.studies.draws import Draw, draws, with_settings
from corsair_sim import load, simulate

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RECORD = ROOT / "benchmarks" / "readme.json"
FIGURE = ROOT / "docs" / "studies" / "figures" / "readme-usd.svg"
DRAWS = 32
MONTH_H = 730


def asked(side: Side, trace: str, tpot_ms: float, scenario: Path) -> dict[str, Any]:
    """What the command prints as JSON; ``scenario`` is the answer's file."""
    command = [*question(side, trace, tpot_ms), "--json", "--write", str(scenario)]
    run = subprocess.run(
        [sys.executable, "-m", "corsair_sim", *command],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def answer(side: Side, trace: str) -> dict[str, Any]:
    """The row of one machine: the plan found, its run, and the same on machines drawn."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "answer.yaml"
        found = asked(side, trace, TPOT_MS, file)
        scenario = load(file)
        run = simulate(scenario)
        drawn = [
            figures_of(simulate(on(scenario, draw)).summary)
            for draw in draws(scenario, DRAWS, 0)
            if not draw.reason
        ]
    best, beyond = found["answer"], found["beyond"]
    trust, wanted = trust_of(run.resolved), ("cards", "p99_ttft_ms", "p99_tpot_ms")
    return {
        "cards": best["cards"],
        "plan": best["plan"],
        "max_num_seqs": best["max_num_seqs"],
        **figures_of(run.summary),
        "bound_share": run.summary["bound_share"],
        "peak_kv_fraction": run.summary["peak_kv_fraction"],
        "beyond": None if beyond is None else {key: beyond[key] for key in wanted},
        "measured_would_be": {
            name: trust.bands[name].truth(run.summary[f"p99_{name}_ms"]) for name in trust.bands
        },
        "trust": trust.level,
        "draws": {key: [one[key] for one in drawn] for key in figures_of(run.summary)},
    }  # fmt: skip


def on(scenario: Scenario, draw: Draw) -> Scenario:
    """The scenario on a machine that was drawn."""
    return with_settings(scenario, draw).model_copy(
        update={"hardware_set": {**scenario.hardware_set, **draw.hardware_set}}
    )


def figures_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Of a run: what the first screen shows."""
    return {
        "p99_ttft_ms": summary["p99_ttft_ms"],
        "p99_tpot_ms": summary["p99_tpot_ms"],
        "kw": math.fsum(summary["facility_power_w"].values()) / 1e3,
        "usd_per_month": summary["cost_per_hour_usd"] * MONTH_H,
        "slo_attainment": summary["slo_attainment"],
    }


def bill(side: Side, trace: str, tpot_ms: float) -> dict[str, Any]:
    """The least cluster for one bound of TPOT; no cards if none holds it."""
    with TemporaryDirectory() as folder:
        found = asked(side, trace, tpot_ms, Path(folder) / "answer.yaml")
    best = found.get("answer") or {}
    keys = ("cards", "usd_per_month", "usd_per_month_low", "usd_per_month_high", "p99_tpot_ms")
    return {key: best.get(key) for key in keys}


def main() -> None:
    """Make what is missing, then write the page and its figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", help="the hour of conversations of Azure, 2023")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    if options.trace:
        for key, make in parts(str(Path(options.trace).resolve())):
            if options.again or key not in record:
                record[key] = make()
                RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
                print(key, file=sys.stderr)
    text = README.read_text("utf-8")
    for name, lines in TABLES.items():
        text = with_table(text, name, "\n".join(lines(record)))
    README.write_text(text, "utf-8")
    draw(record).save(str(FIGURE))


def parts(trace: str) -> Iterator[tuple[str, Any]]:
    """Name of each thing kept, and what makes it."""
    for side in SIDES:
        yield side.title, partial(answer, side, trace)
    for side in SIDES:
        for bound in BOUNDS_MS:
            yield f"{side.title} at {bound}", partial(bill, side, trace, bound)


if __name__ == "__main__":
    main()
