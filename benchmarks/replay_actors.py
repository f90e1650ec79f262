"""A rack's decode replayed in one process and on 1 to 64 actors: time, memory, and the same bits.

Llama-3.1-70B, TP 4 x PP 16 on 64 cards, 64 sequences, 100 steps, each time in a fresh process that
writes the whole run; the tables must be the same to the byte. Memory is what is a process's alone
and its part of what it shares (PSS), at its highest: of the driver, of all actors together, and of
everything, Ray's own processes included.

    python benchmarks/replay_actors.py [--steps N] [--actors 1,2,8,64]
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

from cluster import load, replay_trace
from results import open_run

CARDS = 64
SAMPLE_S = 0.5
WORDS = ("start s", "run s", "whole s", "CPU s", "driver MB", "actors MB", "all MB")


def main() -> None:
    """Measure each engine in turn and print a line about it."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--steps", type=int, default=100)
    asked.add_argument("--actors", default="1,2,8,64")
    asked.add_argument("--one", type=int, help=argparse.SUPPRESS)
    words = asked.parse_args()
    if words.one is not None:
        print(json.dumps(run(words.one, words.steps)))
        return
    measure(0, 1)  # so that the engine is compiled
    print(f"Llama-3.1-70B decode, {CARDS} cards, TP 4 x PP 16, 64 sequences, {words.steps} steps")
    print(f"{'engine':>8} {'actors':>6}" + "".join(f"{word:>10}" for word in WORDS))
    digests = set()
    for actors in [0, *map(int, words.actors.split(","))]:
        found, peaks = measure(actors, words.steps)
        digests.add(json.dumps(found["digests"]))
        figures = [*(f"{found[word]:10.1f}" for word in WORDS[:4]), *(f"{p:10.0f}" for p in peaks)]
        print(
            f"{'ray' if actors else 'local':>8} {actors or '-':>6}" + "".join(figures), flush=True
        )
    print("bit-identical" if len(digests) == 1 else "THE RESULTS DIFFER")


def run(actors: int, steps: int) -> dict[str, object]:
    """Run once in this process, on so many actors (0: none); ``start`` ends when all are there."""
    scenario = load(
        {
            "model": "llama-3.1-70b",
            "cluster": {"servers_per_rack": 8},
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
            "workload": {
                "program": {"phase": "decode", "batch": 64, "context": 512, "steps": steps}
            },
        }
    )
    began_s = time.perf_counter()
    started_s = [began_s]
    with tempfile.TemporaryDirectory() as folder:
        made = replay_trace(
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
        "start s": started_s[-1] - began_s,
        "run s": end_s - started_s[-1],
        "digests": {name: table["sha256"] for name, table in tables.items()},
    }


def measure(actors: int, steps: int) -> tuple[dict[str, float], list[float]]:
    """Run in a process of its own; what it says and how long it took, and peak memory in MB."""
    began_s = time.perf_counter()
    command = [sys.executable, str(Path(__file__)), "--one", str(actors), "--steps", str(steps)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peaks, cpu_s = [0.0, 0.0, 0.0], 0.0
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            *now, cpu = sampled(psutil.Process(child.pid))
            peaks, cpu_s = [max(pair) for pair in zip(peaks, now, strict=True)], max(cpu_s, cpu)
        time.sleep(SAMPLE_S)
    assert child.stdout is not None
    with child.stdout:
        answer = child.stdout.read()
    if child.returncode:
        raise SystemExit(child.returncode)
    took = {"whole s": time.perf_counter() - began_s, "CPU s": cpu_s}
    return {**json.loads(answer), **took}, peaks


def sampled(driver: psutil.Process) -> tuple[float, float, float, float]:
    """PSS in MB of a driver, of its actors and of all that it has started; CPU seconds of all."""
    sizes = {"driver": 0.0, "actor": 0.0, "other": 0.0}
    cpu_s = 0.0
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            kind = "driver" if process == driver else "other"
            if "CardActor" in " ".join(process.cmdline()):
                kind = "actor"
            sizes[kind] += process.memory_full_info().pss / 1e6
            times = process.cpu_times()
            cpu_s += times.user + times.system
    return sizes["driver"], sizes["actor"], sum(sizes.values()), cpu_s


if __name__ == "__main__":
    main()
