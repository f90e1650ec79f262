"""What an output token costs when memory takes 0.3 or 3 pJ/bit: the same traffic, side by side.

    python benchmarks/energy_per_bit.py [--figure docs/studies/figures/energy-per-bit.svg]

Every row is one ordinary run with another ``energy.sram_j_per_bit``: times are equal.
"""

import argparse
from pathlib import Path
from typing import Any

from cluster import load, simulate

CHAT: dict[str, Any] = {"synthetic": {"requests": 2000, "preset": "azure-conv-2023"}}
BUSY: dict[str, Any] = {
    "synthetic": {
        "requests": 600,
        "arrivals": {"concurrency": 60},
        "prompt_tokens": {"fixed": 128},
        "output_tokens": {"fixed": 512},
    }
}
TRAFFIC = {"chat, 5.5 requests/s": CHAT, "60 users without pause": BUSY}
MEMORIES = {
    "SRAM 0.3 pJ/bit": (0.3, 0.3, 0.3),
    "HBM 3 pJ/bit": (3.0, 2.3, 6.0),
}
"""Value, and the lowest and highest that sources give."""
GROUPS = ("memory", "products", "links and other work", "static")


def spent(workload: dict[str, Any], pj_per_bit: float) -> tuple[dict[str, float], float]:
    """Joules per output token by group, and tokens per second, of Llama-3.1-8B on a server."""
    run = simulate(
        load(
            {
                "model": "llama-3.1-8b",
                "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
                "scheduler": {"max_num_seqs": 60},
                "workload": workload,
                "hardware_set": {"energy.sram_j_per_bit": pj_per_bit * 1e-12},
            }
        )
    )
    token_j, share = run.summary["joules_per_output_token"], run.summary["energy_share"]
    named = {"memory": ("sram",), "products": ("mac",), "static": ("static",)}
    parts = {group: token_j * sum(share[part] for part in of) for group, of in named.items()}
    parts["links and other work"] = token_j - sum(parts.values())
    return parts, run.summary["output_throughput"]


def rows_of(traffic: str) -> list[dict[str, Any]]:
    """One row for each memory and group, with the whole and its band."""
    rows = []
    for memory, band in MEMORIES.items():
        (parts, rate), *ends = (spent(TRAFFIC[traffic], pj) for pj in band)
        low, high = (sum(found.values()) for found, _ in ends)
        rows += [
            {
                "traffic": traffic,
                "memory": memory,
                "group": group,
                "order": GROUPS.index(group),
                "joules": parts[group],
                "whole": sum(parts.values()),
                "low": low,
                "high": high,
                "rate": rate,
            }
            for group in GROUPS
        ]
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Stacked bars of J per output token, a band over the whole where sources differ."""
    import altair as alt

    data = alt.InlineData(values=rows)
    across = alt.X("memory:N", title=None, sort=list(MEMORIES), axis=alt.Axis(labelAngle=0))
    bars = (
        alt.Chart(data)
        .mark_bar(size=60)
        .encode(
            x=across,
            y=alt.Y("joules:Q", title="J per output token (cards)"),
            color=alt.Color("group:N", title=None, sort=list(GROUPS)),
            order="order:Q",
        )
    )
    band = (
        alt.Chart(data)
        .transform_filter("datum.order == 0 && datum.low < datum.high")
        .mark_errorbar(ticks=True, color="black")
        .encode(x=across, y=alt.Y("low:Q", title="J per output token (cards)"), y2="high:Q")
    )
    chart = (
        alt.layer(bars, band)
        .properties(width=240, height=280)
        .facet(column=alt.Column("traffic:N", title=None, sort=list(TRAFFIC)))
        .resolve_scale(y="independent")
    )
    chart.save(str(path))


def main() -> None:
    """Print the table and, on request, draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="SVG or PNG to write")
    requested = parser.parse_args()
    rows = [row for traffic in TRAFFIC for row in rows_of(traffic)]
    print("| traffic | memory | tokens/s | J per output token | of it memory | sources' spread |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        if row["group"] == "memory":
            print(
                f"| {row['traffic']} | {row['memory']} | {row['rate']:,.0f} | {row['whole']:.4f} "
                f"| {row['joules']:.4f} | {row['low']:.4f} to {row['high']:.4f} |"
            )
    if requested.figure is not None:
        draw(rows, requested.figure)


if __name__ == "__main__":
    main()
