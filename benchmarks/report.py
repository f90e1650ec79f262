"""Large runs: how long every figure and the report take, and how much memory.

A million requests with their steps, or a replay of 9.6 million operations. The run is made once;
the reading side then has a fresh process whose highest resident memory is printed.

    python benchmarks/report.py [--requests N | --replay examples/replay-70b-decode.yaml]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import load, replay_trace, simulate
from cluster.scenario.schema import Scenario
from results import ResultsError, Run, open_run
from results.figures import FIGURES
from results.figures.picture import picture
from results.report import write_report

SERVERS = 8


def main() -> None:
    """Make the run, then read it from another process."""
    requested = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    requested.add_argument("--requests", type=int, default=1_000_000)
    requested.add_argument("--replay", type=Path, help="scenario of a replay to read instead")
    requested.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    words = requested.parse_args()
    if words.look is not None:
        look(words.look)
        return
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        folder = made(words.requests, words.replay, root)
        print(f"simulated and written in {since(began)}", flush=True)
        subprocess.run([sys.executable, __file__, "--look", str(folder)], check=True)


def made(requests: int, replayed: Path | None, root: str) -> Path | None:
    """The folder of the run."""
    if replayed is not None:
        replay = replay_trace(replayed, out=root)
        print(f"{replay.summary['operations']:,} operations")
        return replay.run_dir
    print(f"{requests:,} requests")
    return simulate(scenario(requests), out=root).run_dir


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
            "store": {"steps": True},
        }
    )


def look(folder: Path) -> None:
    """Draw every figure as SVG and as PNG, and write the report."""
    run = open_run(folder)
    totals = {"drawn": 0.0, ".svg": 0.0, ".png": 0.0}
    print(f"{'seconds':18}" + "".join(f"{name:>8}" for name in totals))
    for name in FIGURES:
        spent = figure_s(run, name)
        if spent:
            print(f"{name:18}" + "".join(f"{seconds:8.1f}" for seconds in spent.values()))
            totals = {key: totals[key] + seconds for key, seconds in spent.items()}
    print(f"{'all figures':18}" + "".join(f"{seconds:8.1f}" for seconds in totals.values()))
    began = time.perf_counter()
    report = write_report([open_run(folder)], folder / "report.html")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"report {since(began)}, {report.stat().st_size / 1e6:.1f} MB")
    print(f"processor time {used.ru_utime + used.ru_stime:.1f} s in all")
    print(f"highest memory {used.ru_maxrss / 1024:,.0f} MB")


def figure_s(run: Run, name: str) -> dict[str, float]:
    """Seconds to draw a figure, and to make an SVG and a PNG of it; none where it has no data."""
    spent, began = {}, time.perf_counter()
    try:
        chart = run.draw(name)
    except ResultsError:
        return {}
    spent["drawn"] = time.perf_counter() - began
    for ending in (".svg", ".png"):
        began = time.perf_counter()
        picture(chart, ending)
        spent[ending] = time.perf_counter() - began
    return spent


def since(began: float) -> str:
    """Time since then, in words."""
    return f"{time.perf_counter() - began:.1f} s"


if __name__ == "__main__":
    main()
