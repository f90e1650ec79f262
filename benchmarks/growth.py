"""Cost of growth: from 1 replica on 8 cards to many, the arrival rate growing alongside.

Run ``python -m benchmarks.growth``. Every replica gets equally many requests at an equal rate.
Times are CPU seconds of one process with the engine compiled: ``resolve`` draws the traffic,
``build`` the map, ``routes`` compiles it, ``place`` puts the model on it, ``price`` tabulates,
``serve`` simulates and accounts for every step, ``save`` writes all tables. Target: the sum, per
request, stays within twice that of 1 replica.

With ``--whole 1024 8192 16384`` each size is one command in a process of its own, start included:
CPU seconds, peak memory and the run's size on disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cluster import load, simulate
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import execute, lay_out, priced
from topology.build import build_pod
from topology.route import compile_routes

PARTS = ("resolve", "build", "routes", "place", "price", "serve", "save")
WHOLE_REQUESTS = 8
"""Of each replica, where whole runs are measured."""
Answer = TypeVar("Answer")


def changes_of(replicas: int, requests: int, router: str) -> dict[str, Any]:
    """The bundled chat scenario on ``replicas`` servers, at most eight to a rack."""
    return {
        "cluster": {"racks": -(-replicas // 8), "servers_per_rack": min(8, replicas)},
        "workload": {"rate_scale": float(replicas), "synthetic": {"requests": requests * replicas}},
        "router": router,
    }


def scenario_of(replicas: int, requests: int, router: str) -> Scenario:
    """As a scenario."""
    return load(**changes_of(replicas, requests, router))


def timed(work: Callable[[], Answer]) -> tuple[float, Answer]:
    """CPU seconds of this process, and the answer."""
    began_s = time.process_time()
    answer = work()
    return time.process_time() - began_s, answer


def measure(scenario: Scenario, *, save: bool = True) -> dict[str, float]:
    """CPU seconds of each part of one run."""
    used, size = dict.fromkeys(PARTS, 0.0), scenario.cluster
    used["resolve"], resolved = timed(lambda: resolve(scenario))
    used["build"], graph = timed(
        lambda: build_pod(resolved.racks, racks=size.racks, servers_per_rack=size.servers_per_rack)
    )
    used["routes"], routes = timed(lambda: compile_routes(graph))
    used["place"], layout = timed(lambda: lay_out(resolved, lambda *_: (graph, routes)))
    used["price"], machine = timed(lambda: priced(layout))
    used["serve"], _ = timed(lambda: execute(resolved, machine))
    if save:
        run = simulate(scenario)
        with tempfile.TemporaryDirectory() as folder:
            used["save"], _ = timed(lambda: run.save(folder))
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A command from start to end."""

    cpu_s: float
    peak_bytes: int
    written_bytes: int
    """Of the runs that it left."""


def process(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
    """Run ``corsair-sim`` with these words and a folder for its runs."""
    with tempfile.TemporaryDirectory() as folder:
        out = ["--out", folder] if words[0] in ("serve", "replay") else []
        child = subprocess.Popen(
            [sys.executable, "-m", "corsair_sim", *words, *out],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
        _, status, used = os.wait4(child.pid, 0)
        if child.returncode or status:
            raise SystemExit(f"{' '.join(words)}: ended with {status}")
        written = sum(path.stat().st_size for path in Path(folder).rglob("*.*"))
    return Process(
        cpu_s=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * 1024,
        written_bytes=written,
    )


def whole(cards: int, router: str = "least_outstanding") -> Process:
    """One ``serve`` on that many cards, all tables written."""
    changes = changes_of(cards // 8, WHOLE_REQUESTS, router)
    return process(["serve", "--quiet", *_set(changes)])


def _set(changes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The same as options of the command."""
    words = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            words += _set(value, f"{prefix}{key}.")
        else:
            words += ["--set", f"{prefix}{key}={json.dumps(value)}"]
    return words


def main() -> None:
    """Print CPU microseconds per request of each part, and how the sum grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000, help="of each replica")
    parser.add_argument("--most", type=int, default=64, help="replicas")
    parser.add_argument("--router", default="least_outstanding")
    parser.add_argument("--whole", type=int, nargs="+", metavar="CARDS")
    requested = parser.parse_args()
    measure(scenario_of(1, 50, requested.router))  # compiles, or loads what was compiled
    for cards in requested.whole or ():
        found = whole(cards, requested.router)
        print(
            f"{cards:6} cards: {found.cpu_s:6.2f} s of CPU, {found.peak_bytes / 1e6:7,.0f} MB, "
            f"{found.written_bytes / 1e6:6.1f} MB written",
            flush=True,
        )
    if not requested.whole:
        _table(requested.most, requested.requests, requested.router)


def _table(most: int, requests: int, router: str) -> None:
    heads = "".join(f"{part:>10}" for part in (*PARTS, "sum"))
    print(f"CPU us per request\n{'replicas':>8} {'cards':>6}{heads} {'ratio':>6}")
    one, replicas = 0.0, 1
    while replicas <= most:
        parts = measure(scenario_of(replicas, requests, router))
        each = {part: 1e6 * used_s / (replicas * requests) for part, used_s in parts.items()}
        total = sum(each.values())
        one = one or total
        figures = "".join(f"{figure:10.1f}" for figure in (*each.values(), total))
        print(f"{replicas:8} {8 * replicas:6}{figures} {total / one:6.2f}", flush=True)
        replicas *= 2


if __name__ == "__main__":
    main()
