"""Whole searches as a user types them: processor time of the process, and candidates a second.

    python benchmarks/plan.py [AICONFIGURATOR]

Each command is a process of its own: import, topology, prices of all shapes, memory check, scores
and ranking included, simulations of the best left out. It runs cold once (an empty folder of
compiled code), then warm; the best of the warm ones counts. Candidates are distinct and legal, and
got all of their columns: those that fail the memory check or cannot be divided take time, and are
not counted. Other work on the machine lengthens wall time, and processor time by up to a half.

With the path of NVIDIA's aiconfigurator (0.12 was tried) its search of an 8B model on eight GPUs
runs between ours. It counts its results, not the points that it dropped on the way.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REPEATS = 3
SCORES = ("--simulate", "0", "--json", "--quiet")
EXAMPLE = str(Path(__file__).parents[1] / "examples" / "plan-8b.yaml")
TWO_RACKS = ("model=llama-3.1-70b", "cluster.racks=2", "cluster.servers_per_rack=8")
CASES: Mapping[str, Sequence[str]] = {
    "8B on a server": (EXAMPLE,),
    "8B on a server, bursty chat": (
        EXAMPLE,
        "--set",
        "workload={synthetic: {requests: 2000, preset: azure-conv-2023}}",
    ),
    "70B on two racks": (EXAMPLE, *(word for each in TWO_RACKS for word in ("--set", each))),
}
THEIRS = (
    *("cli", "default", "--model-path", "meta-llama/Meta-Llama-3.1-8B", "--total-gpus", "8"),
    *("--system", "h200_sxm", "--backend", "trtllm", "--serving-mode", "agg"),
    *("--isl", "1024", "--osl", "256", "--ttft", "200", "--tpot", "20"),
)
COUNTED = re.compile(r"completed with (\d+) results")


def timed(command: Sequence[str], cache: str | None = None) -> tuple[float, float, str]:
    """Wall and processor seconds of a process, and what it printed."""
    place = {**os.environ, **({"CORSAIR_SIM_CACHE": cache} if cache else {})}
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=place)
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, done.stdout + done.stderr


def ours(words: Sequence[str]) -> tuple[float, float, int]:
    """The fastest of a few warm processes: wall and processor seconds, candidates."""
    command = [sys.executable, "-m", "corsair_sim", "plan", *words, *SCORES]
    runs = [timed(command) for _ in range(REPEATS)]
    wall_s, cpu_s, said = min(runs, key=lambda run: run[1])
    return wall_s, cpu_s, int(json.JSONDecoder().raw_decode(said)[0]["scored"])


def main(words: Sequence[str]) -> int:
    """Print a row for each search."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "corsair_sim", "plan", EXAMPLE, *SCORES]
        wall_s, cpu_s, _ = timed(command, cache)
    print(f"8B on a server, nothing compiled yet: {cpu_s:.1f} s of processor, {wall_s:.1f} s")
    ours([EXAMPLE])  # compiles
    for name, options in CASES.items():
        wall_s, cpu_s, count = ours(options)
        print(
            f"{name}: {count:,} candidates, {cpu_s:.2f} s of processor ({wall_s:.2f} s), "
            f"{count / cpu_s:,.0f}/s",
            flush=True,
        )
        if words:
            wall_s, cpu_s, said = timed([words[0], *THEIRS])
            count = sum(int(each) for each in COUNTED.findall(said))
            print(
                f"aiconfigurator: {count:,} results, {cpu_s:.2f} s of processor ({wall_s:.2f} s), "
                f"{count / cpu_s:,.0f}/s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
