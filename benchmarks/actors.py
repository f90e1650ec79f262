"""Cards as Ray actors: time and memory of one run, in one process and on 1 to 64 actors.

Eight replicas of Llama-3.1-8B on 64 cards serve the same requests each time, in a fresh process of
its own; the results must be the same to the bit. Memory is the sum over all processes of what is
theirs alone and their part of what they share (PSS), at its highest.

    python benchmarks/actors.py [--requests N] [--actors 1,2,8,64] [--router round_robin]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from cluster import load, simulate
from results import open_run

CARDS = 64
SAMPLE_S = 0.5


def main() -> None:
    """Measure each engine in turn and print a line about it."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--requests", type=int, default=100_000)
    asked.add_argument("--actors", default="1,2,8,64")
    asked.add_argument("--router", default="round_robin")
    asked.add_argument("--one", type=int, help=argparse.SUPPRESS)
    words = asked.parse_args()
    if words.one is not None:
        print(json.dumps(run(words.one, words.requests, words.router)))
        return
    measure(0, 1000, words.router)  # so that the engine is compiled
    print(f"{words.requests:,} requests, {words.router}, {CARDS} cards, 8 replicas")
    print(f"{'engine':>8} {'actors':>6} {'start s':>8} {'run s':>8} {'whole s':>8} {'peak MB':>8}")
    digests = set()
    for actors in [0, *map(int, words.actors.split(","))]:
        found, whole_s, peak_bytes = measure(actors, words.requests, words.router)
        digests.add(json.dumps(found["digests"]))
        engine = "ray" if actors else "local"
        print(
            f"{engine:>8} {actors or '-':>6} {found['start_s']:8.1f} {found['run_s']:8.1f} "
            f"{whole_s:8.1f} {peak_bytes / 1e6:8.0f}",
            flush=True,
        )
    print("bit-identical" if len(digests) == 1 else "THE RESULTS DIFFER")


def run(actors: int, requests: int, router: str) -> dict[str, object]:
    """Run once in this process, on so many actors (0: none); ``start`` ends when all are there."""
    scenario = load(
        {
            "model": "llama-3.1-8b",
            "cluster": {"servers_per_rack": 8},
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "router": router,
            "workload": {
                "synthetic": {"requests": requests, "preset": "azure-conv-2023"},
                "rate_scale": 8.0,
            },
        }
    )
    began_s = time.perf_counter()
    started_s = [began_s]
    with tempfile.TemporaryDirectory() as folder:
        made = simulate(
            scenario,
            out=folder,
            engine="ray" if actors else "local",
            cards_per_actor=CARDS // actors if actors else "auto",
            notice=lambda _: started_s.append(time.perf_counter()),
        )
        assert made.run_dir is not None
        tables = open_run(made.run_dir).manifest["tables"]
    end_s = time.perf_counter()
    return {
        "start_s": started_s[-1] - began_s,
        "run_s": end_s - started_s[-1],
        "digests": {name: table["sha256"] for name, table in tables.items()},
    }


def measure(actors: int, requests: int, router: str) -> tuple[dict[str, float], float, int]:
    """Run in a process of its own; what it says, its whole time and its peak memory."""
    began_s = time.perf_counter()
    command = [sys.executable, str(Path(__file__)), "--one", str(actors), "--router", router]
    child = subprocess.Popen(
        [*command, "--requests", str(requests)], stdout=subprocess.PIPE, text=True
    )
    peak = 0
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, tree_bytes(psutil.Process(child.pid)))
        time.sleep(SAMPLE_S)
    assert child.stdout is not None
    with child.stdout:
        answer = child.stdout.read()
    if child.returncode:
        raise SystemExit(child.returncode)
    return json.loads(answer), time.perf_counter() - began_s, peak


def tree_bytes(process: psutil.Process) -> int:
    """PSS of a process and all that it has started."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += each.memory_full_info().pss
    return total


if __name__ == "__main__":
    main()
