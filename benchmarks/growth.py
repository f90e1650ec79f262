"""Cost of growth: from 1 replica on 8 cards to 64 on 512, the arrival rate growing alongside.

Run ``python benchmarks/growth.py``. Every replica gets equally many requests at an equal rate.
Times are CPU seconds of one process with the engine compiled: ``resolve`` draws the traffic,
``lay out`` builds map and routes and places the model, ``price`` tabulates, ``serve`` simulates and
accounts for every step, ``save`` writes all tables. Target: the sum, per request, stays within
twice that of 1 replica.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cluster import load, simulate
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import execute, lay_out, priced

PARTS = ("resolve", "lay out", "price", "serve", "save")
Answer = TypeVar("Answer")


def scenario_of(replicas: int, requests: int, router: str) -> Scenario:
    """The bundled chat scenario on ``replicas`` servers, at most eight to a rack."""
    changes: dict[str, Any] = {
        "cluster": {"racks": -(-replicas // 8), "servers_per_rack": min(8, replicas)},
        "workload": {"rate_scale": float(replicas), "synthetic": {"requests": requests * replicas}},
        "router": router,
    }
    return load(**changes)


def timed(work: Callable[[], Answer]) -> tuple[float, Answer]:
    """CPU seconds of this process, and the answer."""
    began_s = time.process_time()
    answer = work()
    return time.process_time() - began_s, answer


def measure(scenario: Scenario) -> dict[str, float]:
    """CPU seconds of each part of one run."""
    resolve_s, resolved = timed(lambda: resolve(scenario))
    lay_out_s, layout = timed(lambda: lay_out(resolved))
    price_s, machine = timed(lambda: priced(layout))
    serve_s, _ = timed(lambda: execute(resolved, machine))
    run = simulate(scenario)
    with tempfile.TemporaryDirectory() as folder:
        save_s, _ = timed(lambda: run.save(folder))
    return dict(zip(PARTS, (resolve_s, lay_out_s, price_s, serve_s, save_s), strict=True))


def main() -> None:
    """Print CPU microseconds per request of each part, and how the sum grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of each replica")
    parser.add_argument("--most", type=int, default=64, help="replicas")
    parser.add_argument("--router", default="least_outstanding")
    requested = parser.parse_args()
    measure(scenario_of(1, 50, requested.router))  # compiles, or loads what was compiled
    heads = "".join(f"{part:>10}" for part in (*PARTS, "sum"))
    print(f"CPU us per request\n{'replicas':>8} {'cards':>6}{heads} {'ratio':>6}")
    one = 0.0
    replicas = 1
    while replicas <= requested.most:
        parts = measure(scenario_of(replicas, requested.requests, requested.router))
        each = {
            part: 1e6 * used_s / (replicas * requested.requests) for part, used_s in parts.items()
        }
        total = sum(each.values())
        one = one or total
        figures = "".join(f"{figure:10.1f}" for figure in (*each.values(), total))
        print(f"{replicas:8} {8 * replicas:6}{figures} {total / one:6.2f}", flush=True)
        replicas *= 2


if __name__ == "__main__":
    main()
