"""Speed of replay: without contention, with contention, and from 8 to 512 cards.

Run ``python benchmarks/replay.py``; with ``--growth 8 512`` only those sizes of the growth table,
with ``--actors 1 2 8 64`` only the table of one process against so many Ray actors.
Every case runs in a separate process on one core, the engine loaded before: ``api`` is all of
``replay_trace`` (read, generate, price, route, replay, measure), ``engine`` the engine with its
records, ``save`` the writing of the run's folder, nearly all of it ``ops.parquet``. Rates are
operations over CPU seconds of the API call; wall seconds are printed too. Targets: 3 million a
second where nothing contends, 300 thousand with two replicas contending on one leaf.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks import actors
from cluster import load, replay_trace
from cluster.replay.run import assemble_replay, run_replay
from cluster.scenario.resolve import resolve

RACK = {"tensor_parallel_size": 4, "pipeline_parallel_size": 16}
SERVER = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
SIZES = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case; seconds of the CPU unless they say wall."""

    operations: int
    call_s: float
    call_wall_s: float
    engine_s: float
    save_s: float | None
    makespan_s: float
    contention: float
    """Share of the critical path."""
    peak_mb: float


def decode(
    model: str, plan: dict[str, int], size: tuple[int, int, int], steps: int
) -> dict[str, Any]:
    """A scenario of full decode: (racks, servers in each, replicas), 64 sequences a replica."""
    racks, servers, replicas = size
    return {
        "cluster": {"racks": racks, "servers_per_rack": servers, "cards_per_server": 8},
        "model": model,
        "plan": {**plan, "replicas": replicas},
        "workload": {"program": {"phase": "decode", "batch": 64, "context": 512, "steps": steps}},
    }


def measure(scenario: dict[str, Any], *, save: bool = False) -> Measured:
    """Run a case; a small run before it loads the engine."""
    replay_trace(load(decode("llama-3.1-8b", SERVER, (1, 1, 1), 1)))
    began = time.process_time(), time.perf_counter()
    run = replay_trace(load(scenario))
    done = time.process_time(), time.perf_counter()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    save_s = None
    if save:
        with tempfile.TemporaryDirectory() as folder:
            begun_s = time.process_time()
            run.save(folder)
            save_s = time.process_time() - begun_s
    summary = run.summary
    del run
    resolved = resolve(load(scenario), wanted="operations")
    machine = assemble_replay(resolved)
    begun_s = time.process_time()
    operations = run_replay(resolved, machine).operations.total
    return Measured(
        operations=operations,
        call_s=done[0] - began[0],
        call_wall_s=done[1] - began[1],
        engine_s=time.process_time() - begun_s,
        save_s=save_s,
        makespan_s=summary["makespan_s"],
        contention=summary["critical_share"]["contention"],
        peak_mb=peak_mb,
    )


def apart(scenario: dict[str, Any], *, save: bool = False) -> Measured:
    """Measure in a process of its own, so that memory is that of the case."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(measure, scenario, save=save).result()


def alone() -> None:
    """Llama-3.1-70B decode on a rack without contention."""
    print("\nLlama-3.1-70B decode, TP 4 x PP 16, 64 cards, 64 sequences, collectives as coflows")
    words = ("operations", "api s", "wall s", "engine s", "save s", "M op/s", "saved", "peak MB")
    print(f"{'steps':>8}" + "".join(f"{word:>12}" for word in words))
    for steps in (10, 100):
        scenario = decode("llama-3.1-70b", RACK, (1, 8, 1), steps)
        scenario["fabric"] = {"contention": False}
        found = apart(scenario, save=True)
        rate = found.operations / found.call_s / 1e6
        saved = found.operations / (found.call_s + (found.save_s or 0.0)) / 1e6
        print(
            f"{steps:>8}{found.operations:>12,}{found.call_s:>12.2f}{found.call_wall_s:>12.2f}"
            f"{found.engine_s:>12.2f}{found.save_s or 0.0:>12.2f}{rate:>12.2f}{saved:>12.2f}"
            f"{found.peak_mb:>12,.0f}"
        )


def contending() -> None:
    """Two replicas of 64 cards on servers of six, so that they share servers, NICs and the leaf."""
    print("\ntwo replicas of 64 cards in 22 servers of six cards, which share NICs and the leaf")
    words = ("operations", "api s", "wall s", "k op/s", "slower by", "on the path", "peak MB")
    print(f"{'case':>22}" + "".join(f"{word:>12}" for word in words))
    for name, program, how in CONTENDING:
        base: dict[str, Any] = {
            **decode("llama-3.1-70b", RACK, (1, 22, 2), 1),
            "cluster": {"racks": 1, "servers_per_rack": 22, "cards_per_server": 6},
            "hardware_set": {"rack.servers": 22},
            "workload": {"program": program},
        }
        free, found = (
            apart({**base, "fabric": {"collectives": how, "contention": on}})
            for on in (False, True)
        )
        slower = found.makespan_s / free.makespan_s - 1
        print(
            f"{name:>22}{found.operations:>12,}{found.call_s:>12.2f}{found.call_wall_s:>12.2f}"
            f"{found.operations / found.call_s / 1e3:>12,.0f}{slower:>12.3%}"
            f"{found.contention:>12.2%}{found.peak_mb:>12,.0f}"
        )


DECODE = {"phase": "decode", "batch": 64, "context": 512, "steps": 20}
PREFILL = {"phase": "prefill", "batch": 16, "prompt_tokens": 512, "chunk_tokens": 128}
CONTENDING = (
    ("decode", DECODE, "coflow"),
    ("prefill", PREFILL, "coflow"),
    ("prefill in messages", PREFILL, "messages"),
)


def growth(sizes: tuple[int, ...]) -> None:
    """More and more replicas of eight cards, each with a program of its own."""
    print("\nLlama-3.1-8B decode, TP 4 x PP 2, 20 steps, one replica for eight cards")
    words = ("operations", "api s", "wall s", "M op/s", "us per op", "peak MB")
    print(f"{'cards':>8}" + "".join(f"{word:>12}" for word in words))
    for cards in sizes:
        servers = cards // 8
        size = (-(-servers // 8), min(servers, 8), servers)
        found = apart(decode("llama-3.1-8b", SERVER, size, 20))
        print(
            f"{cards:>8}{found.operations:>12,}{found.call_s:>12.2f}{found.call_wall_s:>12.2f}"
            f"{found.operations / found.call_s / 1e6:>12.2f}"
            f"{found.call_s / found.operations * 1e6:>12.3f}{found.peak_mb:>12,.0f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--growth", type=int, nargs="+", choices=SIZES, metavar="CARDS")
    parser.add_argument("--actors", type=int, nargs="+", metavar="N")
    requested = parser.parse_args()
    if requested.actors:
        actors.compare("replay", requested.actors, actors.SIZES["replay"])
        return
    if requested.growth is None:
        alone()
        contending()
    growth(tuple(requested.growth or SIZES))


if __name__ == "__main__":
    main()
