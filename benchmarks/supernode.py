"""The tables of docs/studies/supernode.md: 70B on two nodes of 32 cards and on eight servers of 8.

``python benchmarks/supernode.py`` writes them into the page, between ``<!-- table NAME -->`` and
``<!-- end -->``; with ``--print`` it prints them instead. Four minutes.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.page_tables import with_table
from corsair_sim import Choices, decide, load, plan, simulate
from topology.inventory import count_nodes
from topology.types import NodeKind

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "supernode-70b.yaml"
PAGE = ROOT / "docs" / "studies" / "supernode.md"

RACKS: Mapping[str, Mapping[str, Any]] = {
    "8 servers": {"fabric": "jetstream", "servers_per_rack": 8, "cards_per_server": 8},
    "2 nodes": {"fabric": "supernode", "servers_per_rack": 2, "cards_per_server": 32},
}
SHAPES = ((2, 32), (4, 16), (8, 8), (16, 4), (32, 2))
"""Tensor-parallel and pipeline-parallel sizes of 64 cards."""
NODES = "2 nodes"
FIGURES: Mapping[str, Mapping[str, float]] = {
    "figures as above": {},
    "card to card 200 ns": {"server.pcie_latency_s": 200e-9},
    "card to card 880 ns": {"server.pcie_latency_s": 880e-9},
    "32 GB/s a card": {"card.pcie_bandwidth_bytes_per_s": 32e9},
    "880 ns and 32 GB/s": {
        "server.pcie_latency_s": 880e-9,
        "card.pcie_bandwidth_bytes_per_s": 32e9,
    },
    "node to node 3.17 us": {"rack.network_latency_s": 3.17e-6},
    "16 NICs a node": {"server.nics": 16},
}
"""Figures of the nodes at the ends of their ranges."""
Scenario = dict[str, Any]


def users(count: int, prompt: int, output: int, requests: int) -> Scenario:
    """A closed loop of requests that are all alike."""
    drawn = {
        "requests": requests,
        "arrivals": {"concurrency": count},
        "prompt_tokens": {"fixed": prompt},
        "output_tokens": {"fixed": output},
    }
    return {"workload": {"synthetic": drawn}}


LENGTHS = ("arrivals", "prompt_tokens", "output_tokens")
"""What a preset has of its own."""
CHATS = {"requests": 2000, "preset": "azure-conv-2023", **dict.fromkeys(LENGTHS)}
TRAFFIC: Mapping[str, Scenario] = {
    "one": users(1, 1024, 256, 3),
    "sixty": users(60, 1024, 256, 400),
    "chat": {"workload": {"synthetic": CHATS}},
    "prompt": users(1, 4096, 1, 3),
    "prompts": users(32, 4096, 1, 200),
}
"""What each column is a run of."""
HEAD = (
    "| plan | on | TPOT of one user, ms | TPOT of 60, ms | tokens/s of 60 | p99 TTFT of chats, ms "
    "| TTFT of 4,096 tokens, ms | prompt tokens/s | kW |\n|---|---|---|---|---|---|---|---|---|"
)


def shape(tensor: int, stages: int) -> Scenario:
    """A plan of one replica, or as many as fit."""
    return {"plan": {"tensor_parallel_size": tensor, "pipeline_parallel_size": stages}}


def summary(rack: str, traffic: str, changes: Scenario) -> Mapping[str, Any]:
    """One run of the example with these changes."""
    scenario = load(EXAMPLE, cluster=dict(RACKS[rack]), **{**TRAFFIC[traffic], **changes})
    found: Mapping[str, Any] = simulate(scenario).summary
    return found


def machines_kw(run: Mapping[str, Any]) -> float:
    """Mean power of cards, hosts, NICs and switches, without cooling."""
    watts: Mapping[str, float] = run["facility_power_w"]
    return 1e-3 * (sum(watts.values()) - watts["cooling"])


def prompt_rate(run: Mapping[str, Any]) -> float:
    """Prompt tokens a second."""
    return float(run["total_input_tokens"] / run["duration"])


def row(label: str, rack: str, changes: Scenario) -> str:
    """One line of the first two tables."""
    one, sixty, chat, prompt, prompts = (summary(rack, name, changes) for name in TRAFFIC)
    cells = (
        label,
        rack,
        f"{one['mean_tpot_ms']:.3f}",
        f"{sixty['mean_tpot_ms']:.3f}",
        f"{sixty['output_throughput']:,.0f}",
        f"{chat['p99_ttft_ms']:,.1f}",
        f"{prompt['mean_ttft_ms']:.1f}",
        f"{prompt_rate(prompts):,.0f}",
        f"{machines_kw(sixty):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def equal_plans() -> Iterator[str]:
    """Both racks at the same plans."""
    yield HEAD
    for tensor, stages in SHAPES:
        for rack in RACKS:
            yield row(f"TP {tensor} x PP {stages}", rack, shape(tensor, stages))


def best(rack: str, objective: str, traffic: Scenario) -> tuple[str, Scenario]:
    """The plan that ``plan`` ranks first, in words and as changes of the example."""
    scenario = load(EXAMPLE, cluster=dict(RACKS[rack]), **traffic)
    found = plan(scenario, objective=objective, choices=SEARCHED)
    chosen = found.scenario(found.verified[0].candidate).model_dump()
    size, work = chosen["plan"], chosen["scheduler"]
    words = (
        f"{size['replicas']} x (TP {size['tensor_parallel_size']} x PP "
        f"{size['pipeline_parallel_size']}), {work['max_num_seqs']} sequences, chunks of "
        f"{work['max_num_batched_tokens']}"
    )
    return words, {name: chosen[name] for name in ("plan", "memory", "scheduler")}


OBJECTIVES = (
    ("most tokens/s of 60", "tokens_per_s", TRAFFIC["sixty"]),
    ("least TPOT of one", "tpot", TRAFFIC["one"]),
    ("least TTFT of 4,096", "ttft", users(1, 4096, 256, 4)),
)
"""What a plan is best at, and the traffic on which it is searched."""
SEARCHED = Choices(weights=("mxint8",), pipeline_parallel_size=tuple(range(1, 33)))
"""Every number of stages: with more than layers ask for, the first and last stage have fewer, which
leaves room for the embedding and the head."""


def best_plans() -> Iterator[str]:
    """Each rack at the plans that are best on it."""
    yield HEAD
    for label, objective, traffic in OBJECTIVES:
        for rack in RACKS:
            words, changes = best(rack, objective, traffic)
            yield row(f"{label}: {words}", rack, changes)


def hangs_on() -> Iterator[str]:
    """The nodes with a figure at an end of its range: TPOT of one user, and prompt tokens/s."""
    shapes = SHAPES[1:]
    titles = " | ".join(f"TP {tensor} x PP {stages}" for tensor, stages in shapes)
    yield f"| on | {titles} |\n|---|{'---|' * len(shapes)}"
    nodes = [(f"{NODES}, {name}", NODES, figures) for name, figures in FIGURES.items()]
    for label, rack, figures in (("8 servers", "8 servers", {}), *nodes):
        cells = []
        for each in shapes:
            changes = {**shape(*each), "hardware_set": dict(figures)}
            one, prompts = (summary(rack, name, changes) for name in ("one", "prompts"))
            cells.append(f"{one['mean_tpot_ms']:.3f}, {prompt_rate(prompts):,.0f}")
        yield f"| {label} | {' | '.join(cells)} |"


COUNTED = (NodeKind.CARD, NodeKind.HOST, NodeKind.NIC, NodeKind.PCIE_SWITCH)


def inventory() -> Iterator[str]:
    """What stands in both racks, what it draws while 60 users are served, and its price."""
    yield (
        "| on | cards | hosts | NICs | PCIe switches | cards, kW | the rest, kW | with cooling, kW "
        "| price, thousand USD | USD an hour |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for rack in RACKS:
        changes = shape(4, 16)
        run = simulate(load(EXAMPLE, cluster=dict(RACKS[rack]), **TRAFFIC["sixty"], **changes))
        parts, found = count_nodes(run.machine.graph), run.summary
        cards_kw = 1e-3 * found["facility_power_w"]["cards"]
        bands = (
            " to ".join(f"{scale * found[f'{name}{end}']:,.0f}" for end in ("_low", "_high"))
            for name, scale in (("capital_usd", 1e-3), ("cost_per_hour_usd", 1.0))
        )
        price, hourly = bands
        cells = (
            rack,
            *(str(parts[kind]) for kind in COUNTED),
            f"{cards_kw:.1f}",
            f"{machines_kw(found) - cards_kw:.1f}",
            f"{1e-3 * sum(found['facility_power_w'].values()):.1f}",
            f"{1e-3 * found['capital_usd']:,.0f} ({price})",
            f"{found['cost_per_hour_usd']:.0f} ({hourly})",
        )
        yield f"| {' | '.join(cells)} |"


DRAWN = ("server.*", "rack.*", "card.pcie*", "cost.*")
"""Figures of networks, hosts and prices."""
METRICS: Mapping[str, tuple[str, int]] = {
    "p99_tpot_ms": ("p99 TPOT, ms", 2),
    "capacity_request_rate_per_s": ("requests/s", 1),
    "cost_per_million_output_tokens_usd": ("USD per million tokens", 2),
}


def draws(samples: int = 32) -> Iterator[str]:
    """Both racks with these figures drawn: values as they are with nine of ten draws, and in how
    many draws the nodes are better."""
    yield f"| plan | metric | {' | '.join(RACKS)} | nodes better |\n|---|---|---|---|---|"
    for each in ((2, 32), (16, 4)):
        servers, nodes = (
            load(EXAMPLE, cluster=dict(size), **TRAFFIC["sixty"], **shape(*each))
            for size in RACKS.values()
        )
        with tempfile.TemporaryDirectory() as out:
            found = decide(nodes, servers, samples=samples, figures=DRAWN, out=out)
        for name, (words, digits) in METRICS.items():
            bands = (study.bands[name] for study in (found.second, found.first))
            cells = [
                f"{band.base:,.{digits}f} ({band.p5:,.{digits}f} to {band.p95:,.{digits}f})"
                for band in bands
            ]
            wins = found.metrics[name]
            label = f"TP {each[0]} x PP {each[1]}"
            yield f"| {label} | {words} | {' | '.join(cells)} | {wins.first} of {wins.draws} |"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "best-plans": best_plans,
    "equal-plans": equal_plans,
    "hangs-on": hangs_on,
    "inventory": inventory,
    "draws": draws,
}


def main() -> None:
    """Make the tables anew, and put them into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", help="leave the page as it is")
    printed = parser.parse_args().print
    page = PAGE.read_text("utf-8")
    for name, rows in TABLES.items():
        lines = "\n".join(rows())
        if printed:
            print(f"\n## {name}\n{lines}", flush=True)
        page = with_table(page, name, lines)
    if not printed:
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
