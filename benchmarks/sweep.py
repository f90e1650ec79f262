"""A sweep in this process and on Ray: parallel efficiency, overhead per point, driver memory.

Up to 2,000 points (model x plan x weights x memory mode x rate, on one server to one rack), each of
which replays 2,000 requests of the Azure conversation trace. Both engines run the same sweep in
turn, so often as --times says, and must leave the same rows; the efficiency is that of the median
times. Ray and its workers are started, and the engine loaded, before the clock is.

    python benchmarks/sweep.py [--points 2000] [--times 3] [--trace FILE]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from cluster import sweep
from cluster.actors.session import connected
from results.sweep import Sweep

TRACE = "shared/data/traces/AzureLLMInferenceTrace_conv.csv"
RATES = 50
SERVED = (
    ("llama-3.1-8b", 1, 4, 2),
    ("llama-3.1-8b", 1, 8, 1),
    ("llama-3.1-8b", 2, 4, 2),
    ("llama-3.1-8b", 4, 4, 1),
    ("qwen3-8b", 1, 4, 2),
    ("qwen3-8b", 8, 4, 2),
    ("gpt-oss-20b", 2, 4, 4),
    ("qwen3-32b", 8, 4, 8),
    ("llama-3.1-70b", 8, 4, 16),
    ("llama-3.1-70b", 8, 8, 8),
)
"""Model, servers of eight cards, TP, PP; as many replicas as there is room for."""


class Watch:
    """Notes the memory of this process at every tenth of the points."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.rss_mb: list[float] = []

    def planned(self, looked_at: int, total: int) -> None: ...
    def noted(self, text: str) -> None: ...

    def started(self, total: int, done: int) -> None:
        self.total, self.done = total, done

    def advanced(self, row: Mapping[str, Any]) -> None:
        del row
        self.done += 1
        if self.done % max(1, self.total // 10) == 0:
            self.rss_mb.append(psutil.Process().memory_info().rss / 1e6)


def main() -> None:
    """Run both engines in turn, print a line about each run and then the medians."""
    requested = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    requested.add_argument("--points", type=int, default=2000)
    requested.add_argument("--times", type=int, default=3)
    requested.add_argument("--trace", type=Path, default=None)
    words = requested.parse_args()
    trace = words.trace or Path(__file__).resolve().parents[1].parent / TRACE
    wanted = definition(trace, words.points)
    walls: dict[str, list[float]] = {"local": [], "ray": []}
    with connected() as session, tempfile.TemporaryDirectory() as root:
        workers = int(session.cpus)
        for engine in walls:
            sweep(definition(trace, 80), out=f"{root}/warm-{engine}", engine=engine)  # type: ignore[arg-type]
        print(f"{workers} workers, load {os.getloadavg()[0]:.1f} before the first run")
        print("engine points   wall s in points s beyond ms  rss MB")
        for turn in range(words.times):
            rows = {}
            for engine, times in walls.items():
                watch, began_s = Watch(), time.perf_counter()
                done = sweep(wanted, out=f"{root}/{turn}-{engine}", engine=engine, observer=watch)  # type: ignore[arg-type]
                wall_s = time.perf_counter() - began_s
                times.append(wall_s)
                rows[engine] = comparable(done)
                print_run(engine, done, wall_s, workers if engine == "ray" else 1, watch.rss_mb)
            if rows["local"] != rows["ray"]:
                raise SystemExit("THE ROWS DIFFER")
    local_s, ray_s = (statistics.median(walls[engine]) for engine in ("local", "ray"))
    print(f"rows equal; medians: local {local_s:.1f} s, ray {ray_s:.1f} s")
    print(f"parallel efficiency {local_s / (workers * ray_s):.1%} on {workers} workers")


def definition(trace: Path, points: int) -> dict[str, Any]:
    """The sweep, with as many rates as the number of points allows."""
    machines = [
        {
            "model": model,
            "cluster.servers_per_rack": servers,
            "plan": {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline},
        }
        for model, servers, tensor, pipeline in SERVED
    ]
    rates = max(1, min(RATES, points // (4 * len(machines))))
    return {
        "name": "benchmark",
        "base": {
            "workload": {"trace": str(trace), "limit": 2000},
            "scheduler": {"max_num_seqs": 64},
            "slo": {"ttft_s": 0.5, "tpot_s": 0.02},
        },
        "axes": [
            {"list": machines},
            {"grid": {"formats.weights": ["mxint8", "mxint4"]}},
            {"grid": {"memory.mode": ["performance", "capacity"]}},
            {"sample": {"count": rates, "of": {"workload.rate_scale": RANGE}}},
        ],
    }


RANGE = {"low": 0.25, "high": 16.0, "scale": "log"}


def comparable(done: Sweep) -> list[dict[str, Any]]:
    """The rows without what may differ."""
    dropped = ("seconds", "host")
    return [{k: v for k, v in row.items() if k not in dropped} for row in done.points.to_pylist()]


def print_run(engine: str, done: Sweep, wall_s: float, workers: int, rss_mb: list[float]) -> None:
    """Print what one run took; ``beyond`` is the time of the workers outside of points."""
    inside_s = sum(seconds or 0.0 for seconds in done.points.column("seconds").to_pylist())
    beyond_ms = (workers * wall_s - inside_s) / done.total * 1e3
    memory = " ".join(f"{megabytes:.0f}" for megabytes in rss_mb)
    print(
        f"{engine:>6} {done.total:6} {wall_s:8.1f} {inside_s:11.1f} {beyond_ms:9.2f}  {memory}",
        flush=True,
    )
    print(" " * 7 + ", ".join(f"{n} {status}" for status, n in done.status_counts.items() if n))


if __name__ == "__main__":
    main()
