"""How fast operations replay: the 70B decode of a rack, and smaller and larger clusters beside it.

Run ``python benchmarks/replay.py``. Times are CPU seconds of one process with the engine compiled:
``assemble`` reads, generates, prices and lays out; ``play`` writes the repeats out, checks, pairs
and runs the engine. Target: 3 million operations a second in ``play`` where nothing contends.
"""

import resource
import time
from typing import Any

from cluster import load
from cluster.replay_assembly import assemble_replay, play_replay
from cluster.scenario.resolve_replay import resolve_replay

RACK = {"tensor_parallel_size": 4, "pipeline_parallel_size": 16}
SERVER = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}


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


CASES = {
    "8 cards, 8B": decode("llama-3.1-8b", SERVER, (1, 1, 1), 200),
    "64 cards, 70B, 10 steps": decode("llama-3.1-70b", RACK, (1, 8, 1), 10),
    "64 cards, 70B, 100 steps": decode("llama-3.1-70b", RACK, (1, 8, 1), 100),
    "512 cards, 70B, 2 steps": decode("llama-3.1-70b", RACK, (8, 8, 8), 2),
}


def measure(scenario: dict[str, Any]) -> tuple[int, float, float, float]:
    """Operations, CPU seconds to assemble and to play, and the makespan in seconds."""
    began_s = time.process_time()
    resolved = resolve_replay(load(scenario))
    machine = assemble_replay(resolved)
    assembled_s = time.process_time()
    replayed = play_replay(resolved, machine).replayed
    played_s = time.process_time()
    makespan_s = replayed.makespan_ps * 1e-12
    return len(replayed.end_ps), assembled_s - began_s, played_s - assembled_s, makespan_s


def main() -> None:
    """Print one line a case; the first, unprinted run compiles the engine."""
    measure(decode("llama-3.1-8b", SERVER, (1, 1, 1), 1))
    words = ("operations", "assemble s", "play s", "M op/s", "ms a step")
    print(f"{'case':26}" + "".join(f"{word:>12}" for word in words))
    for name, scenario in CASES.items():
        operations, assemble_s, play_s, makespan_s = measure(scenario)
        steps = scenario["workload"]["program"]["steps"]
        print(
            f"{name:26}{operations:>12,}{assemble_s:>12.2f}{play_s:>12.2f}"
            f"{operations / play_s / 1e6:>12.2f}{makespan_s / steps * 1e3:>12.3f}"
        )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of all {peak_mb:,.0f} MB")


if __name__ == "__main__":
    main()
