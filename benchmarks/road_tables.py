"""The tables of docs/studies/pcie-road.md and nics.md, and what the tables of small studies share.

``python benchmarks/small_studies.py roads-one roads-many nic-sends nic-pools`` makes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.supernode import TRAFFIC, shape
from corsair_sim import load, simulate
from topology.catalog import NICS, load_hardware

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Changes = dict[str, Any]
Summary = Mapping[str, Any]
SMALL_IS_GOOD = {"s": True, "W": True, "B/s": False, "fraction": False}
"""Units of figures that are moved to an end of their range."""


def served(file: str, *changes: Changes) -> Summary:
    """The summary of an example with these changes, the later in place of the earlier."""
    whole: Changes = {}
    for each in changes:
        sets = {**whole.get("hardware_set", {}), **each.get("hardware_set", {})}
        whole = {**whole, **each, "hardware_set": sets}
    found: Summary = simulate(load(EXAMPLES / file, **whole)).summary
    return found


def ends(hardware: str, fabric: str, names: Sequence[str]) -> tuple[Changes, Changes]:
    """All figures whose names begin so and whose sources leave a range, at its good end and at its
    bad end."""
    good, bad = {}, {}
    for name, figure in load_hardware(hardware, fabric=fabric).figures.items():
        if figure.uncertain and name.startswith(tuple(names)) and figure.unit in SMALL_IS_GOOD:
            low_first = SMALL_IS_GOOD[figure.unit]
            good[name], bad[name] = (figure.low, figure.high)[:: 1 if low_first else -1]
    return {"hardware_set": good}, {"hardware_set": bad}


def number(value: float, digits: int = 3) -> str:
    """So many significant digits."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The first, and the least and most of the others as its band."""
    middle, *others = values
    low, high = (number(end, digits) for end in (min(others), max(others)))
    return f"{number(middle, digits)} ({low} to {high})" if low != high else number(middle, digits)


def table(*headers: str) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(headers)} |\n|{'---|' * len(headers)}"


def row(*cells: str) -> str:
    """A line of it."""
    return f"| {' | '.join(cells)} |"


SEVENTY = "supernode-70b.yaml"
GROUPS = ((2, 32), (4, 16), (8, 8), (16, 4))
"""Cards of a group, and stages, of 64 cards."""
FP8 = dict.fromkeys(("weights", "activations", "kv"), "fp8_e4m3")
TO_MATCH = {
    "card.package_link_bandwidth_bytes_per_s": 1e12,
    "package.d2d_bandwidth_bytes_per_s": 512e9,
    "package.d2d_total_bytes_per_s": 4.096e12,
}
"""Inside a card: as fast as its NVLink, where D2D brings half of it to the first chiplet."""
TRAYS = {"fabric": "auto", "servers_per_rack": 16, "cards_per_server": 4}
NVLINK: Changes = {"hardware": "corsair-nvl72", "cluster": TRAYS}
ROADS: Mapping[str, Changes] = {
    "8 air-cooled servers": {
        "cluster": {"fabric": "jetstream", "servers_per_rack": 8, "cards_per_server": 8}
    },
    "2 FabreX nodes": {"cluster": {"servers_per_rack": 2, "cards_per_server": 32}},
    "NVLink, cards as they are": NVLINK,
    "NVLink, cards to match": {**NVLINK, "hardware_set": TO_MATCH},
    "GB200 NVL72": {"hardware": "gb200-nvl72", "cluster": TRAYS, "formats": FP8},
}
"""Sixty-four cards each."""
ROAD_FIGURES = ("server.", "rack.", "nvswitch.", "pair.", "card.pcie", "links.")
OBJECTIVES: Mapping[str, tuple[str, str, int]] = {
    "least TPOT of one user": ("one", "mean_tpot_ms", 1),
    "most tokens/s of 60": ("sixty", "output_throughput", -1),
}
"""Traffic, metric, and whether little or much of it is good."""


def road_plans(road: str) -> Iterator[tuple[str, Changes]]:
    """The plans from which each road takes its best."""
    gpus = road.startswith("GB200")
    shapes = [(tensor, 1) for tensor in (4, 8, 16, 32)] if gpus else GROUPS
    for tensor, stages in shapes:
        for chunk in (8192,) if gpus else (128, 512):
            sizes = {"max_num_seqs": 64, "max_num_batched_tokens": chunk}
            words = f"TP {tensor}" if gpus else f"TP {tensor} x PP {stages}"
            yield f"{words}, chunks of {chunk:,}", {**shape(tensor, stages), "scheduler": sizes}


def roads(objective: str) -> Iterator[str]:
    """70B over each road at the plan that is best on it."""
    yield table(
        "road",
        "plan",
        "TPOT of one user, ms",
        "TPOT of 60, ms",
        "tokens/s of 60",
        "TTFT of 4,096 tokens, ms",
        "kW",
        "thousand USD",
        "J/token",
        "USD per million tokens",
    )
    traffic, metric, sign = OBJECTIVES[objective]
    for road, on in ROADS.items():
        plans = dict(road_plans(road))
        scores = {
            words: sign * served(SEVENTY, on, plan, TRAFFIC[traffic])[metric]
            for words, plan in plans.items()
        }
        words = min(scores, key=lambda each: scores[each])
        fabric = on["cluster"].get("fabric", "supernode")
        moved: Sequence[Changes] = ({}, *ends(on.get("hardware", "corsair"), fabric, ROAD_FIGURES))
        one, sixty, prompt = (
            [served(SEVENTY, end, on, plans[words], TRAFFIC[name]) for end in moved]
            for name in ("one", "sixty", "prompt")
        )
        yield row(
            road,
            words,
            spread([run["mean_tpot_ms"] for run in one]),
            spread([run["mean_tpot_ms"] for run in sixty]),
            spread([run["output_throughput"] for run in sixty]),
            spread([run["mean_ttft_ms"] for run in prompt]),
            spread([facility_kw(run) for run in sixty]),
            priced(sixty[0], "capital_usd", 1e-3),
            spread([run["facility_joules_per_output_token"] for run in sixty]),
            priced(sixty[0], "cost_per_million_output_tokens_usd"),
        )


def facility_kw(run: Summary) -> float:
    """Mean power of cards, hosts, NICs, switches and cooling."""
    return 1e-3 * float(sum(run["facility_power_w"].values()))


def priced(run: Summary, name: str, scale: float = 1.0) -> str:
    """A sum of prices with its range."""
    return spread([scale * run[f"{name}{end}"] for end in ("", "_low", "_high")])


JETSTREAM, TWO_JETSTREAMS = "JetStream", "JetStream, two a server"
RIVALS = (JETSTREAM, TWO_JETSTREAMS, *NICS)
SEND_PLANS = ((2, 32), (8, 8), (16, 4))
TWO_RACKS = {"fabric": "auto", "racks": 2, "servers_per_rack": 4, "cards_per_server": 8}
NIC_FIGURES = ("server.nic", "rack.network")
POOLS = "disaggregated-70b.yaml"
MODES = ("whole", "layerwise")


def on_nic(nic: str) -> tuple[Changes, Sequence[Changes]]:
    """The hardware with a NIC, and its figures as they are and at both ends."""
    hardware = f"corsair+{nic}" if nic in NICS else "corsair"
    sets = {"server.nics": 2} if nic == TWO_JETSTREAMS else {}
    found = {"hardware": hardware, "hardware_set": sets}
    return found, ({}, *ends(hardware, "auto", NIC_FIGURES))


def nic_sends() -> Iterator[str]:
    """70B over two racks with each NIC."""
    plans = [f"TP {tensor} x PP {stages}" for tensor, stages in SEND_PLANS]
    yield table(
        "NIC",
        *(f"TPOT of one user, ms: {words}" for words in plans),
        f"tokens/s of 60: {plans[0]}",
        f"tokens/s of 60: {plans[-1]}",
        f"TTFT of 4,096 tokens, ms: {plans[0]}",
        f"kW: {plans[0]}",
        "thousand USD",
    )
    for nic in RIVALS:
        hardware, moved = on_nic(nic)
        runs = {
            (name, each): [
                served(SEVENTY, hardware, {"cluster": TWO_RACKS}, shape(*each), TRAFFIC[name], end)
                for end in moved
            ]
            for name in ("one", "sixty", "prompt")
            for each in SEND_PLANS
        }
        first, last = SEND_PLANS[0], SEND_PLANS[-1]
        yield row(
            nic,
            *(spread([run["mean_tpot_ms"] for run in runs["one", each]], 4) for each in SEND_PLANS),
            *(
                spread([run["output_throughput"] for run in runs["sixty", each]], 4)
                for each in (first, last)
            ),
            spread([run["mean_ttft_ms"] for run in runs["prompt", first]]),
            spread([facility_kw(run) for run in runs["sixty", first]]),
            priced(runs["sixty", first][0], "capital_usd", 1e-3),
        )


def nic_pools() -> Iterator[str]:
    """What the KV of a prompt takes from the prefill to the decode pool with each NIC."""
    prompts = (8192, 32_768)
    yield table(
        "NIC",
        *(f"KV of {prompt:,} tokens, ms: {mode}" for prompt in prompts for mode in MODES),
        f"TTFT of {prompts[0]:,}, ms: {MODES[0]}",
    )
    for nic in RIVALS:
        hardware, moved = on_nic(nic)
        runs = {
            (prompt, mode): [
                served(POOLS, hardware, {"transfer": {"mode": mode}}, spaced(prompt), end)
                for end in moved
            ]
            for prompt in prompts
            for mode in MODES
        }
        yield row(
            nic,
            *(spread([run["mean_kv_transfer_ms"] for run in each]) for each in runs.values()),
            spread([run["mean_ttft_ms"] for run in runs[prompts[0], MODES[0]]], 4),
        )


def spaced(prompt: int) -> Changes:
    """One request after another."""
    drawn = {
        "requests": 4,
        "preset": None,
        "arrivals": {"constant": {"rate_per_s": 0.2}},
        "prompt_tokens": {"fixed": prompt},
        "output_tokens": {"fixed": 256},
    }
    return {"workload": {"synthetic": drawn}}
