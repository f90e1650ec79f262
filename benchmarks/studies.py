"""The tables of docs/studies/disaggregation.md, prefix-caching.md and mixed-racks.md, made anew.

Run ``python benchmarks/studies.py [TABLE ...]`` (``azure-8b``, ``azure-70b``, ``host-70b``,
``mooncake-8b``, ``mooncake-70b``, ``mixed-8b``, ``mixed-break-even``, ``mixed-load``,
``mixed-70b``; all of them by default) with the traces beside the project, which those of mixed
racks do without. It prints Markdown, rows and then what each of them sets; a few minutes each.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import mixed_racks
from corsair_sim import load, simulate

ROOT = Path(__file__).resolve().parents[1]
TRACES = ROOT.parent / "shared" / "data" / "traces"
AZURE = str(TRACES / "AzureLLMInferenceTrace_conv.csv")
MOONCAKE = str(TRACES / "mooncake_conversation_trace.jsonl")
UNDIVIDED: Mapping[str, Any] = {"pools": None, "transfer": None}

HEAD = (
    "| | TTFT mean / p99, ms | TPOT mean / p99, ms | p99 ITL, ms | requests/s | goodput "
    "| KV transfer mean / p99, ms | share of TTFT | J/token |"
)


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of several parts, key by key."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(name), Mapping)
            whole[name] = merged(whole[name], value) if both else value
    return whole


def chunk(tokens: int) -> dict[str, Any]:
    """A budget of ``max_num_batched_tokens``."""
    return {"scheduler": {"max_num_batched_tokens": tokens}}


def at(trace: str, rate_scale: float) -> dict[str, Any]:
    """The trace at a multiple of its rate."""
    return {"workload": {"synthetic": None, "trace": trace, "rate_scale": rate_scale}}


def plan(tensor: int, stages: int) -> dict[str, Any]:
    """Cards of a group, and stages."""
    return {"plan": {"tensor_parallel_size": tensor, "pipeline_parallel_size": stages}}


def max_num_seqs(requests: int) -> dict[str, Any]:
    """Most requests that run at a time (60 by default)."""
    return {"scheduler": {"max_num_seqs": requests}}


def narrow_pools(tokens: int) -> dict[str, Any]:
    """A prefill pool of TP 2 x PP 8, with in SRAM what finds room there."""
    memory = {"memory": {"mode": "auto"}}
    return {"pools": {"prefill": merged(plan(2, 8), memory, chunk(tokens))}}


def rows_at(
    trace: str, rate: float, setups: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every set-up at a multiple of a trace's rate."""
    for name, changes in setups.items():
        yield f"x{rate}, {name}", merged(at(trace, rate), changes)


def azure_8b() -> Iterator[tuple[str, dict[str, Any]]]:
    """Two servers, 16 cards."""
    setups = {
        **{f"undivided, chunk {n}": merged(UNDIVIDED, chunk(n)) for n in (512, 128, 32)},
        "undivided, chunk 32, TP 1 x PP 8": merged(UNDIVIDED, plan(1, 8), chunk(32)),
        "pools, whole": {"transfer": {"mode": "whole"}},
        "pools, layerwise": {},
        "pools, chunk 1,024, prefill TP 1 x PP 8": {
            "pools": {"prefill": merged(plan(1, 8), chunk(1024))}
        },
    }
    for rate in (1, 4, 16, 20, 40, 60):
        yield from rows_at(AZURE, rate, setups)
    loose = {"slo": {"tpot_s": 0.0022}}
    for name in ("undivided, chunk 128", "pools, chunk 1,024, prefill TP 1 x PP 8"):
        yield f"x40, {name}; TPOT 2.2 ms", merged(at(AZURE, 40), setups[name], loose)


def azure_70b() -> Iterator[tuple[str, dict[str, Any]]]:
    """A rack, 64 cards; pools of 16 and 48."""
    narrow = merged(UNDIVIDED, plan(2, 32), max_num_seqs(256))
    setups = {
        "undivided, chunk 512": merged(UNDIVIDED, chunk(512)),
        "undivided, chunk 512, max_num_seqs 256": merged(UNDIVIDED, max_num_seqs(256), chunk(512)),
        "undivided, chunk 128": merged(UNDIVIDED, chunk(128)),
        "undivided, chunk 128, max_num_seqs 256": merged(UNDIVIDED, max_num_seqs(256), chunk(128)),
        "undivided, chunk 128, TP 8 x PP 8": merged(UNDIVIDED, plan(8, 8), chunk(128)),
        "undivided, chunk 128, TP 2 x PP 32, max_num_seqs 256": merged(narrow, chunk(128)),
        "undivided, chunk 32, TP 2 x PP 32, max_num_seqs 256": merged(narrow, chunk(32)),
        "pools, chunk 512": {"pools": {"prefill": chunk(512)}},
        "pools, chunk 2,048": {"pools": {"prefill": chunk(2048)}},
        "pools, chunk 1,024, prefill TP 2 x PP 8": narrow_pools(1024),
        "pools, chunk 2,048, prefill TP 2 x PP 8": narrow_pools(2048),
    }
    for rate in (1, 4, 16):
        yield from rows_at(AZURE, rate, setups)


def host_70b() -> Iterator[tuple[str, dict[str, Any]]]:
    """The same where a host takes its time before every batch."""
    narrow = merged(UNDIVIDED, plan(2, 32), max_num_seqs(256))
    setups = {
        "undivided, chunk 128": merged(UNDIVIDED, chunk(128)),
        "undivided, chunk 32, TP 2 x PP 32, max_num_seqs 256": merged(narrow, chunk(32)),
        "undivided, chunk 128, TP 2 x PP 32, max_num_seqs 256": merged(narrow, chunk(128)),
        "pools, chunk 1,024, prefill TP 2 x PP 8": narrow_pools(1024),
    }
    for rate, overhead_s in ((4, 20e-6), (4, 100e-6), (16, 100e-6)):
        host = {"hardware_set": {"host.overhead_s": overhead_s}}
        for name, changes in setups.items():
            yield (
                f"x{rate}, host {1e6 * overhead_s:.0f} us, {name}",
                merged(at(AZURE, rate), host, changes),
            )


def mooncake_8b() -> Iterator[tuple[str, dict[str, Any]]]:
    """Two servers, 16 cards, prompts of 12,000 tokens."""
    slo = {"slo": {"ttft_s": 2.0, "tpot_s": 0.002}}
    setups = {
        **{f"undivided, chunk {n}": merged(slo, UNDIVIDED, chunk(n)) for n in (512, 128, 64, 32)},
        "pools, whole": merged(slo, {"transfer": {"mode": "whole"}}),
        "pools, layerwise": slo,
    }
    for rate in (1, 3):
        yield from rows_at(MOONCAKE, rate, setups)


def mooncake_70b() -> Iterator[tuple[str, dict[str, Any]]]:
    """One rack with and without a prefix cache."""
    for rate in (1, 2, 0.25):
        for weights in ("mxint8", "mxint4"):
            for cached in (True, False):
                changes = {
                    "formats": {"weights": weights},
                    "scheduler": {"enable_prefix_caching": cached},
                }
                label = f"x{rate}, {weights}, cache {'on' if cached else 'off'}"
                yield label, merged(at(MOONCAKE, rate), changes)


TABLES = {
    "azure-8b": ("disaggregated-8b.yaml", azure_8b),
    "azure-70b": ("disaggregated-70b.yaml", azure_70b),
    "host-70b": ("disaggregated-70b.yaml", host_70b),
    "mooncake-8b": ("disaggregated-8b.yaml", mooncake_8b),
    "mooncake-70b": ("llama-70b-rack.yaml", mooncake_70b),
}


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, or a blank."""
    if value is None or math.isnan(value):
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def words(changes: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """What ``--set`` takes for these overrides, without the workload."""
    for name, value in changes.items():
        if name == "workload":
            continue
        if isinstance(value, Mapping):
            yield from words(value, f"{above}{name}.")
        else:
            yield f"--set {above}{name}={'null' if value is None else value}"


def row(label: str, summary: Mapping[str, Any]) -> str:
    """One line of a table of pools."""
    moved = summary.get("mean_kv_transfer_ms")
    share = None if moved is None else moved / summary["mean_ttft_ms"]
    cells = [
        label,
        f"{number(summary['mean_ttft_ms'])} / {number(summary['p99_ttft_ms'])}",
        f"{number(summary['mean_tpot_ms'])} / {number(summary['p99_tpot_ms'])}",
        number(summary["p99_itl_ms"]),
        number(summary["request_throughput"], 4),
        number(summary["goodput"], 4),
        "" if moved is None else f"{number(moved)} / {number(summary['p99_kv_transfer_ms'])}",
        "" if share is None else f"{share:.1%}",
        number(summary["joules_per_output_token"]),
    ]
    return f"| {' | '.join(cells)} |"


def cache_row(label: str, summary: Mapping[str, Any]) -> str:
    """One line of the table of prefix caching."""
    hit = summary.get("prefix_hit_rate")
    cells = [
        label,
        "" if not hit else f"{hit:.1%}",
        *(number(summary[f"{name}_ttft_ms"] / 1e3) for name in ("mean", "median", "p99")),
        number(summary["mean_tpot_ms"]),
        number(summary["request_throughput"]),
        f"{summary['preemptions']}",
        f"{summary['completed']}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [*TABLES, *mixed_racks.TABLES]
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(known))
    names = parser.parse_args().tables or known
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown table {unknown[0]!r}; one of {', '.join(known)}")
    for name in names:
        if name in mixed_racks.TABLES:
            print(f"\n## {name}\n", flush=True)
            for text in mixed_racks.TABLES[name]():
                print(text, flush=True)
            continue
        file, rows = TABLES[name]
        print(f"\n## {name}\n{HEAD if name != 'mooncake-70b' else ''}", flush=True)
        write = cache_row if name == "mooncake-70b" else row
        said = {}
        for label, changes in rows():
            run = simulate(load(ROOT / "examples" / file, **changes))
            print(write(label, run.summary), flush=True)
            said[label.partition(", ")[2]] = " ".join(words(changes))
        print("\n| ... | |\n|---|---|")
        for label, text in said.items():
            print(f"| {label} | {f'`{text}`' if text else ''} |", flush=True)


if __name__ == "__main__":
    main()
