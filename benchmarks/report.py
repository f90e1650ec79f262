"""A run of a million requests: how long every figure and the report take, and how much memory.

The run is made once, in a process of its own; the reading side then has a fresh process whose
highest resident memory is told.

    python benchmarks/report.py [--requests N]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import load, simulate
from cluster.scenario.model import Scenario
from results import ResultsError, open_run
from results.figures import FIGURES, save
from results.report import write_report

SERVERS = 8


def main() -> None:
    """Make the run, then look at it from another process."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    asked.add_argument("--requests", type=int, default=1_000_000)
    asked.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    words = asked.parse_args()
    if words.look is not None:
        look(words.look)
        return
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        run = simulate(scenario(words.requests), out=root)
        print(f"{words.requests:,} requests simulated and written in {since(began)}")
        command = [sys.executable, __file__, "--look", str(run.run_dir)]
        subprocess.run(command, check=True)


def scenario(requests: int) -> Scenario:
    """Chat on eight servers, each busy about half of the time."""
    return load(
        {
            "name": "a-million",
            "model": "llama-3.1-8b",
            "cluster": {"servers_per_rack": SERVERS},
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "workload": {
                "synthetic": {"requests": requests, "preset": "azure-conv-2023"},
                "rate_scale": 4.0 * SERVERS,
            },
            "slo": {"ttft_s": 0.2, "tpot_s": 0.01},
        }
    )


def look(folder: Path) -> None:
    """Draw every figure as SVG, and write the report."""
    run, total = open_run(folder), 0.0
    for name in FIGURES:
        began = time.perf_counter()
        try:
            save(run.draw(name), folder / f"{name}.svg")
        except ResultsError:
            continue
        total += time.perf_counter() - began
        print(f"{name:20} {since(began):>8}")
    began = time.perf_counter()
    report = write_report([run], folder / "report.html")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'all figures':20} {total:6.1f} s")
    print(f"{'report':20} {since(began):>8}, {report.stat().st_size / 1e6:.1f} MB")
    print(f"highest memory {peak_mb:,.0f} MB")


def since(began: float) -> str:
    """Time since then, in words."""
    return f"{time.perf_counter() - began:.1f} s"


if __name__ == "__main__":
    main()
