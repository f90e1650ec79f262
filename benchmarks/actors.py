"""Cards as Ray actors: time and memory of one run, in one process and on 1 to 64 actors.

``serve``: eight replicas of Llama-3.1-8B on 64 cards serve so many requests. ``replay``: so many
decode steps of Llama-3.1-70B, TP 4 x PP 16 on 64 cards, 64 sequences (also ``benchmarks/replay.py
--actors 1 2 8 64``). Each time in a fresh process that writes the whole run; the tables must be the
same to the byte. Memory is what is a process's alone and its part of what it shares (PSS), at its
highest: of the driver, of all actors together, and of everything, Ray's own processes included.

    python benchmarks/actors.py serve|replay [--size N] [--actors 1 2 8 64] [--router round_robin]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from cluster import load, replay_trace, simulate
from results import open_run

CARDS = 64
SAMPLE_S = 0.5
WORDS = ("start s", "run s", "whole s", "CPU s", "driver MB", "actors MB", "all MB")
SIZES = {"serve": 100_000, "replay": 100}
"""Requests, and steps."""


def main() -> None:
    """Measure each engine in turn and print a line about it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("command", choices=SIZES)
    parser.add_argument("--size", type=int, help="requests, or steps")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 8, 64])
    parser.add_argument("--router", default="round_robin")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    requested = parser.parse_args()
    size = requested.size or SIZES[requested.command]
    if requested.one is None:
        compare(requested.command, requested.actors, size, requested.router)
    else:
        print(
            json.dumps(run(requested.one, scenario_of(requested.command, size, requested.router)))
        )


def compare(command: str, actors: Sequence[int], size: int, router: str = "round_robin") -> None:
    """Print a line for this process alone and one for each number of actors."""
    measure(command, 0, 1, router)  # so that the engine is compiled
    print(f"\n{title(command, size, router)}")
    print(f"{'engine':>8} {'actors':>6}" + "".join(f"{word:>10}" for word in WORDS))
    digests = set()
    for number in [0, *actors]:
        found = measure(command, number, size, router)
        digests.add(json.dumps(found["digests"]))
        figures = "".join(f"{found[word]:10.{0 if word.endswith('MB') else 1}f}" for word in WORDS)
        print(f"{'ray' if number else 'local':>8} {number or '-':>6}{figures}", flush=True)
    print("bit-identical" if len(digests) == 1 else "THE RESULTS DIFFER")


def title(command: str, size: int, router: str) -> str:
    """What the lines are about."""
    if command == "serve":
        return f"Llama-3.1-8B, {CARDS} cards, 8 replicas, {size:,} requests, {router}"
    return f"Llama-3.1-70B decode, {CARDS} cards, TP 4 x PP 16, 64 sequences, {size:,} steps"


def scenario_of(command: str, size: int, router: str) -> dict[str, Any]:
    """What is run."""
    if command == "serve":
        return {
            "model": "llama-3.1-8b",
            "cluster": {"servers_per_rack": 8},
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "router": router,
            "workload": {
                "synthetic": {"requests": size, "preset": "azure-conv-2023"},
                "rate_scale": 8.0,
            },
        }
    return {
        "model": "llama-3.1-70b",
        "cluster": {"servers_per_rack": 8},
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
        "workload": {"program": {"phase": "decode", "batch": 64, "context": 512, "steps": size}},
    }


def run(actors: int, requested: dict[str, Any]) -> dict[str, object]:
    """Run once in this process, on so many actors (0: none); ``start`` ends when all are there."""
    entry_point: Any = replay_trace if "program" in requested["workload"] else simulate
    scenario = load(requested)
    began_s = time.perf_counter()
    started_s = [began_s]
    with tempfile.TemporaryDirectory() as folder:
        made = entry_point(
            scenario,
            out=folder,
            engine="ray" if actors else "local",
            cards_per_actor=CARDS // actors if actors else "auto",
            notice=lambda _: started_s.append(time.perf_counter()),
        )
        tables = open_run(made.run_dir).manifest["tables"]
    end_s = time.perf_counter()
    return {
        "start s": started_s[-1] - began_s,
        "run s": end_s - started_s[-1],
        "digests": {name: table["sha256"] for name, table in tables.items()},
    }


def measure(command: str, actors: int, size: int, router: str) -> dict[str, Any]:
    """Run in a process of its own; what it says, how long it took, and peak memory in MB."""
    began_s = time.perf_counter()
    words = [command, "--one", str(actors), "--size", str(size), "--router", router]
    child = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    most = dict.fromkeys(WORDS[3:], 0.0)
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            now = sampled(psutil.Process(child.pid))
            most = {word: max(most[word], figure) for word, figure in now.items()}
        time.sleep(SAMPLE_S)
    assert child.stdout is not None
    with child.stdout:
        answer = child.stdout.read()
    if child.returncode:
        raise SystemExit(child.returncode)
    return {**json.loads(answer), "whole s": time.perf_counter() - began_s, **most}


def sampled(driver: psutil.Process) -> dict[str, float]:
    """CPU seconds, and PSS in MB, of a driver and of all that it has started."""
    figures = dict.fromkeys(WORDS[3:], 0.0)
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            size_mb = process.memory_full_info().pss / 1e6
            figures["all MB"] += size_mb
            if process == driver:
                figures["driver MB"] += size_mb
            elif "CardActor" in " ".join(process.cmdline()):
                figures["actors MB"] += size_mb
            times = process.cpu_times()
            figures["CPU s"] += times.user + times.system
    return figures


if __name__ == "__main__":
    main()
