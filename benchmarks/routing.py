"""The tables of docs/studies/sessions-and-routing.md.

``python -m benchmarks.routing [TABLE ...]`` writes the named tables (by default all) between
``<!-- table NAME -->`` and ``<!-- end -->`` of the page; with ``--print`` it prints them. One
minute. ``mooncake`` needs the trace beside the project.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.linear_prices import linear_prices
from benchmarks.page_tables import with_table
from benchmarks.road_tables import row, table
from cluster.scenario.routers import Router
from cluster.scenario.schema import Scenario
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from corsair_sim import load, simulate
from results.sessions import by_turn
from workloads.prefix import block_keys
from workloads.requests import Requests
from workloads.trace import read_trace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "sessions-and-routing.md"
MOONCAKE = ROOT.parent / "shared" / "data" / "traces" / "mooncake_conversation_trace.jsonl"
EXAMPLE = ROOT / "examples" / "agents-8b.yaml"
REPLICAS = 8
BLOCK = 64
BUDGET = 2048
"""Tokens of a step."""
ROUTERS: tuple[Router, ...] = ("round_robin", "least_outstanding", "kv_overlap", "weighted_scorers")


def endless(requests: Requests, router: Router, tokens_per_s: float, room: float = 1 / 3) -> Served:
    """Serve prompts, with one token of answer, on replicas whose caches evict nothing.

    Each has ``room`` for so much of all prompts.
    """
    offsets, keys, key_count = block_keys(requests, BLOCK)
    arrivals = Arrivals(
        arrival_ps=requests.arrival_ps,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=np.ones(len(requests), np.int64),
        router_choice=np.empty(0, np.int64),
        key_offsets=offsets,
        keys=keys,
        key_count=key_count,
    )
    limits = Limits(
        max_num_seqs=64,
        max_num_batched_tokens=BUDGET,
        block_size=BLOCK,
        blocks=int(room * int(np.sum(-(-requests.prompt_tokens // BLOCK)))),
        max_model_len=2**20,
        router=router,
        prefix_caching=True,
    )
    work_ps = np.arange(BUDGET + 1) * round(1e12 / tokens_per_s)
    served = serve(
        arrivals, linear_prices(work_ps[None, :], 64, np.zeros((REPLICAS, 1), np.int64)), limits
    )
    new = requests.prompt_tokens - served.cached_tokens
    if np.bincount(served.replica, new).max() > limits.blocks * BLOCK:
        raise ValueError(f"{router}: a cache of {limits.blocks} blocks is not endless")
    return served


def spread(requests: Requests) -> Requests:
    """Requests of one tick evenly over the time to the next tick."""
    times = requests.arrival_ps
    ticks, first, counts = np.unique(times, return_index=True, return_counts=True)
    gaps = np.append(np.diff(ticks), np.median(np.diff(ticks)).astype(np.int64))
    place = np.arange(len(times)) - np.repeat(first, counts)
    return replace(
        requests, arrival_ps=times + np.repeat(gaps, counts) * place // np.repeat(counts, counts)
    )


def share(part: float) -> str:
    """As percent."""
    return f"{100 * part:.1f} %"


def mooncake() -> Iterator[str]:
    """Hits of prompt blocks by router, with endless caches."""
    requests = read_trace(MOONCAKE)
    blocks = int((requests.prompt_tokens // BLOCK).sum())
    yield table("arrivals", "prompt tokens/s of a replica", *ROUTERS)
    for name, arrivals in (("as recorded", requests), ("spread", spread(requests))):
        for tokens_per_s in (10_000, 20_000, 50_000):
            served = [endless(arrivals, router, tokens_per_s) for router in ROUTERS]
            hits = (share(int(one.cached_tokens.sum()) / BLOCK / blocks) for one in served)
            yield row(name, f"{tokens_per_s:,}", *hits)


def agents() -> Iterator[str]:
    """The example at two rates, with each router."""
    yield table(
        "sessions/s",
        "router",
        "hits, first turns",
        "hits, later turns",
        "TTFT mean / p99, ms",
        "TTFT of later turns, ms",
        "TPOT mean, ms",
        "session mean, s",
        "preemptions",
    )
    for rate in (8, 24):
        for router in (*ROUTERS, "session_affinity"):
            found = simulate(scenario_of(router, rate)).summary
            yield row(
                f"{rate}",
                router,
                share(found["first_turn_hit_rate"]),
                share(found["later_turn_hit_rate"]),
                f"{found['mean_ttft_ms']:.1f} / {found['p99_ttft_ms']:.0f}",
                f"{found['mean_later_turn_ttft_ms']:.1f}",
                f"{found['mean_tpot_ms']:.3f}",
                f"{found['mean_session_s']:.2f}",
                f"{found['preemptions']}",
            )


def turns() -> Iterator[str]:
    """Hits by turn at 8 sessions a second."""
    routers = ("round_robin", "kv_overlap", "weighted_scorers", "session_affinity")
    tables = [by_turn(simulate(scenario_of(router, 8)).requests) for router in routers]
    yield table("turn", "requests", "mean prompt, tokens", *routers)
    for turn in (0, 1, 2, 4, 9, 19, 39):
        yield row(
            f"{turn + 1}",
            f"{tables[0]['requests'][turn]:,}",
            f"{tables[0]['mean_prompt_tokens'][turn]:,.0f}",
            *(share(one["hit_rate"][turn]) for one in tables),
        )


def scenario_of(router: str, rate: int) -> Scenario:
    """The example with 12,000 calls."""
    sets = [f"workload.synthetic.arrivals.poisson.rate_per_s={rate}"]
    return load(EXAMPLE, router=router, sets=[*sets, "workload.synthetic.requests=12000"])


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "mooncake": mooncake,
    "agents": agents,
    "turns": turns,
}


def main() -> None:
    """Write or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], default=[])
    parser.add_argument("--print", action="store_true", dest="shown")
    wanted = parser.parse_args()
    for name in wanted.tables or TABLES:
        lines = "\n".join(TABLES[name]())
        if wanted.shown:
            print(lines)
        else:
            PAGE.write_text(with_table(PAGE.read_text("utf-8"), name, lines), "utf-8")


if __name__ == "__main__":
    main()
