"""The table of docs/studies/kv-tiers.md: what KV tiers bring on Mooncake's conversations.

Run ``python -m benchmarks.kv_tiers [--write]`` with the traces beside the project; some minutes.
"""

import argparse
from pathlib import Path
from typing import Any

from corsair_sim import load, simulate

ROOT = Path(__file__).resolve().parents[1]
TRACE = ROOT.parent / "shared" / "data" / "traces" / "mooncake_conversation_trace.jsonl"
PAGE = ROOT / "docs" / "studies" / "kv-tiers.md"
BEGIN, END = "<!-- tiers -->", "<!-- end of tiers -->"
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2},
    "plan": {"tensor_parallel_size": 2, "pipeline_parallel_size": 4},
    "scheduler": {"max_num_batched_tokens": 64},
    "workload": {"synthetic": None, "trace": str(TRACE)},
    "slo": {"ttft_s": 2.0, "tpot_s": 0.002},
}
LPDDR = {"tier": "lpddr"}
TIERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "LPDDR, 8 GB a card": [{**LPDDR, "capacity_bytes": 8e9}],
    "LPDDR, 64 GB a card": [{**LPDDR, "capacity_bytes": 64e9}],
    "LPDDR, 64 GB a card, through": [{**LPDDR, "capacity_bytes": 64e9}],
    "LPDDR, 8 GB a card, by value": [{**LPDDR, "capacity_bytes": 8e9}],
    "LPDDR, 64 GB a card, by value": [{**LPDDR, "capacity_bytes": 64e9}],
    "LPDDR, all that is left": [LPDDR],
    "host, endless": [{"tier": "host", "capacity_bytes": 1e17}],
    "host, 64 GB a card": [{"tier": "host", "capacity_bytes": 64e9}],
    "LPDDR, 8 GB, then host, 64 GB": [
        {**LPDDR, "capacity_bytes": 8e9},
        {"tier": "host", "capacity_bytes": 64e9},
    ],
}
ONE = {"tensor_parallel_size": 2, "pipeline_parallel_size": 8}
"""One replica of all cards: a single cache."""
OF_ONE = ("none", "LPDDR, all that is left", "host, endless")
HEAD = (
    "| rate | tiers | hits | TTFT mean / p99, ms | TPOT mean, ms | requests/s | J/token "
    "| USD per million tokens |"
)


def row(rate: float, name: str, plan: dict[str, int] | None = None) -> str:
    """A run's figures."""
    traffic = {**BASE["workload"], "rate_scale": rate}
    write = "through" if name.endswith("through") else "eviction"
    policy = "value" if name.endswith("by value") else "lru"
    memory = {"kv_tiers": TIERS[name], "kv_write": write, "kv_policy": policy}
    changes: dict[str, Any] = {"plan": plan} if plan else {}
    found = simulate(load(BASE, workload=traffic, memory=memory, **changes)).summary
    cells = (
        f"x{rate:g}",
        f"{name}; one replica" if plan else name,
        f"{100 * found['prefix_hit_rate']:.1f} %",
        f"{found['mean_ttft_ms']:,.4g} / {found['p99_ttft_ms']:,.4g}",
        f"{found['mean_tpot_ms']:.3g}",
        f"{found['request_throughput']:.4g}",
        f"{found['joules_per_output_token']:.3g}",
        f"{found['cost_per_million_output_tokens_usd']:.3g}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print, or write the page's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    lines = [HEAD, "|---" * HEAD.count("| ") + "|"]
    wanted = parser.parse_args()
    wanted_rows = [(rate, name, None) for rate in (1.0, 3.0) for name in TIERS]
    for one in (*wanted_rows, *((1.0, name, ONE) for name in OF_ONE)):
        lines.append(row(*one))
        print(lines[-1], flush=True)
    if wanted.write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        table = "\n".join(lines)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
