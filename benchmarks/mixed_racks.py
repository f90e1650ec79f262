"""Tables of docs/studies/mixed-racks.md: GPUs that prefill for Corsair, against either alone.

``python benchmarks/studies.py mixed-8b mixed-break-even mixed-load mixed-70b`` prints them,
``python benchmarks/mixed_racks.py`` writes them into the page (half a minute).
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from corsair_sim import load, simulate

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE, PAGE = ROOT / "examples" / "mixed-8b.yaml", ROOT / "docs" / "studies" / "mixed-racks.md"
Changes = dict[str, Any]

FP8 = {"weights": "fp8_e4m3", "activations": "fp8_e4m3", "kv": "fp8_e4m3"}
AUTO = dict.fromkeys(FP8, "auto")
PROMPTS = (1024, 4096, 16_384, 65_536)
OUTPUT = 256
"""Tokens of an answer in a light load, where their number hardly changes TPOT."""
HAND_OVER_S = {"low": (1e-3, 0.0), "default": (25e-3, 0.0), "high": (0.65, 0.65)}
"""Of the prefill and the decode pool: what the catalogue gives."""


def plan(tensor: int, stages: int) -> Changes:
    """Cards of a group, and stages."""
    return {"tensor_parallel_size": tensor, "pipeline_parallel_size": stages}


def h200_alone(tensor: int) -> Changes:
    """Both servers of GPUs, undivided."""
    return {
        "pools": None,
        "transfer": None,
        "hardware": "h200",
        "formats": FP8,
        "plan": plan(tensor, 1),
        "scheduler": {"max_num_batched_tokens": 8192, "max_num_seqs": 256},
    }


def corsair_alone(tensor: int, stages: int, tokens: int = 128) -> Changes:
    """Both servers of Corsair cards, undivided, with weights in SRAM and small chunks."""
    return {
        "pools": None,
        "transfer": None,
        "plan": plan(tensor, stages),
        "scheduler": {"max_num_batched_tokens": tokens, "max_num_seqs": 128},
    }


def capacity_and_performance(prefill_plan: Changes, decode: Changes) -> Changes:
    """Pools of Corsair: one prefills with weights in LPDDR, the other decodes from SRAM."""
    prefill = {
        "hardware": "corsair",
        "formats": AUTO,
        "memory": {"mode": "capacity"},
        "scheduler": {"max_num_batched_tokens": 2048},
        "plan": prefill_plan,
        "cards": prefill_plan["tensor_parallel_size"] * prefill_plan["pipeline_parallel_size"],
    }
    return {"pools": {"prefill": prefill, "decode": decode}}


LAYERWISE: Changes = {"transfer": {"mode": "layerwise"}}
MACHINES: Mapping[str, Changes] = {
    "H200 + Corsair": {},
    "H200 + Corsair, layerwise": LAYERWISE,
    "H200 alone, TP 8": h200_alone(8),
    "Corsair alone, TP 2 x PP 4": corsair_alone(2, 4),
    "Corsair alone, TP 2 x PP 8": corsair_alone(2, 8),
    "Corsair, capacity + performance": capacity_and_performance(plan(2, 4), {}),
}
"""Two servers each."""
DECODE_70B = {"cards": 48, "plan": plan(4, 12), "scheduler": {"max_num_seqs": 60}}
RACKS_70B: Mapping[str, Changes] = {
    "H200 + Corsair, 8 + 48": {
        "cluster": {"servers_per_rack": 7},
        "pools": {"decode": DECODE_70B},
    },
    "H200 alone, 32, TP 8": {**h200_alone(8), "cluster": {"servers_per_rack": 4}},
    "Corsair alone, 64, TP 2 x PP 32": {
        **corsair_alone(2, 32),
        "cluster": {"servers_per_rack": 8},
    },
    "Corsair, capacity + performance, 16 + 48": {
        **capacity_and_performance(plan(4, 4), DECODE_70B),
        "cluster": {"servers_per_rack": 8},
    },
}
"""One rack each."""


def traffic(prompt: int, output: int, arrivals: Changes, requests: int) -> Changes:
    """Equal requests."""
    synthetic = {
        "requests": requests,
        "arrivals": {"poisson": None, **arrivals},
        "prompt_tokens": {"fixed": prompt},
        "output_tokens": {"fixed": output},
    }
    return {"workload": {"synthetic": synthetic}}


def light(prompt: int) -> Changes:
    """One request at a time."""
    return traffic(prompt, OUTPUT, {"constant": {"rate_per_s": 0.1}}, 4)


def served(*changes: Changes) -> Mapping[str, Any]:
    """The summary of the example with these changes, the later over the earlier."""
    whole: Changes = {}
    for each in changes:
        whole = merged(whole, each)
    summary: Mapping[str, Any] = simulate(load(EXAMPLE, **whole)).summary
    return summary


def merged(base: Changes, extra: Mapping[str, Any]) -> Changes:
    """``base`` with the keys of ``extra``, level by level."""
    found = dict(base)
    for name, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if both else value
    return found


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, or a blank."""
    if value is None or math.isnan(value):
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def head(*names: str) -> Iterator[str]:
    """The names of a table's columns."""
    yield line(*names)
    yield f"|{'---|' * len(names)}"


def facility_w(summary: Mapping[str, Any]) -> float:
    """Cards, hosts, NICs, switches and cooling."""
    return float(sum(summary["facility_power_w"].values()))


def machines_table(
    machines: Mapping[str, Changes], prompts: tuple[int, ...], *common: Changes
) -> Iterator[str]:
    """One request at a time on every machine."""
    yield from head(
        "prompt, machine", "TTFT, ms", "of it KV, ms", "TPOT, ms", "tokens/s/user",
        f"{OUTPUT} tokens done, ms", "W", "USD/h",
    )  # fmt: skip
    for prompt in prompts:
        for name, changes in machines.items():
            found = served(light(prompt), *common, changes)
            yield line(
                f"{prompt:,}, {name}",
                number(found["mean_ttft_ms"]),
                number(found["mean_kv_transfer_ms"]),
                number(found["mean_tpot_ms"]),
                number(found["output_tokens_per_s_per_user"]),
                number(found["mean_e2el_ms"]),
                number(facility_w(found), 4),
                number(found["cost_per_hour_usd"]),
            )


def table_8b() -> Iterator[str]:
    """Two servers."""
    yield from machines_table(MACHINES, PROMPTS)


def table_70b() -> Iterator[str]:
    """One rack; prompts of 65,536 tokens find no room on every machine."""
    common = {"model": "llama-3.1-70b", "scheduler": {"max_num_seqs": 60}}
    yield from machines_table(RACKS_70B, (1024, 8192, 32_768), common)


def least_tokens(mixed: Mapping[str, Any], alone: Mapping[str, Any]) -> int | None:
    """The shortest answer that the mixed rack ends sooner; None: no length does.

    >>> slow = {"mean_ttft_ms": 10.0, "mean_tpot_ms": 3.0}
    >>> least_tokens({"mean_ttft_ms": 60.0, "mean_tpot_ms": 0.5}, slow)
    22
    >>> least_tokens({"mean_ttft_ms": 60.0, "mean_tpot_ms": 3.5}, slow) is None
    True
    """
    later_ms = float(mixed["mean_ttft_ms"] - alone["mean_ttft_ms"])
    saved_ms = float(alone["mean_tpot_ms"] - mixed["mean_tpot_ms"])
    if later_ms < 0 and saved_ms >= 0:
        return 1
    if saved_ms <= 0:
        return None
    return 2 + math.floor(later_ms / saved_ms)


def table_break_even() -> Iterator[str]:
    """Least lengths of answers for which the mixed rack is sooner, one request at a time."""
    rivals = {"H200 alone": h200_alone(8), "Corsair alone": corsair_alone(2, 4)}
    yield from head(
        "prompt", "NIC, GB/s", "hand-over", "KV arrives after, ms", "each of 128 tokens must save",
        *(f"sooner than {name} from" for name in rivals),
    )  # fmt: skip
    for prompt in PROMPTS:
        alone = [served(light(prompt), changes) for changes in rivals.values()]
        for nic in (25e9, 50e9):
            for word, both_s in HAND_OVER_S.items():
                sets = (
                    {"server.nic_bandwidth_bytes_per_s": nic, "host.hand_over_s": each_s}
                    for each_s in both_s
                )
                pools = {
                    pool: {"hardware_set": each}
                    for pool, each in zip(("prefill", "decode"), sets, strict=True)
                }
                found = served(light(prompt), {"pools": pools})
                delay_ms = found["mean_kv_transfer_ms"]
                least = [least_tokens(found, each) for each in alone]
                yield line(
                    f"{prompt:,}",
                    f"{nic / 1e9:g}",
                    f"{word}, {1e3 * sum(both_s):,g} ms",
                    number(delay_ms),
                    f"{number(delay_ms / 128)} ms",
                    *("never" if each is None else f"{each:,} tokens" for each in least),
                )


def table_load() -> Iterator[str]:
    """Answers of 512 tokens at rising rates; SLO: TTFT 1 s, TPOT 10 ms."""
    yield from head(
        "prompt, requests/s, machine", "TTFT mean / p99, ms", "TPOT mean / p99, ms",
        "within SLO", "tokens/s", "J/token", "USD per million tokens (low to high)",
    )  # fmt: skip
    kept = {name: each for name, each in MACHINES.items() if name.startswith("Corsair")}
    machines = {
        "H200 + Corsair, prefill TP 1": {"pools": {"prefill": {"plan": plan(1, 1)}}},
        "H200 alone, TP 1": h200_alone(1),
        **kept,
    }
    cost = "cost_per_million_output_tokens_usd"
    for prompt, rates in ((4096, (5, 20, 40)), (16_384, (2, 5, 10))):
        for rate in rates:
            requests = traffic(prompt, 512, {"poisson": {"rate_per_s": rate}}, 400)
            for name, changes in machines.items():
                found = served(requests, changes)
                yield line(
                    f"{prompt:,}, {rate}/s, {name}",
                    f"{number(found['mean_ttft_ms'])} / {number(found['p99_ttft_ms'])}",
                    f"{number(found['mean_tpot_ms'])} / {number(found['p99_tpot_ms'])}",
                    f"{100 * found['slo_attainment']:.0f} %",
                    number(found["output_throughput"]),
                    number(found["facility_joules_per_output_token"]),
                    f"{number(found[cost])} ({number(found[f'{cost}_low'])} to "
                    f"{number(found[f'{cost}_high'])})",
                )


TABLES = {
    "mixed-8b": table_8b,
    "mixed-break-even": table_break_even,
    "mixed-load": table_load,
    "mixed-70b": table_70b,
}


def main() -> None:
    """Write every table into its place on the page."""
    page = PAGE.read_text("utf-8")
    for name, rows in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text = "\n".join(["", *rows(), "", ""])
        if place.search(page) is None:
            raise SystemExit(f"{PAGE}: no place for the table {name}")
        page = place.sub(rf"\g<1>{text}\g<2>", page)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
