"""The tables of docs/studies/disaggregation.md and prefix-caching.md, made anew from runs.

Run ``python benchmarks/studies.py [TABLE ...]`` (``azure-8b``, ``azure-70b``, ``mooncake-8b``,
``mooncake-70b``; all of them by default) where the traces lie beside the project. It prints
Markdown; a few minutes each.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    """The trace at so many times its rate."""
    return {"workload": {"synthetic": None, "trace": trace, "rate_scale": rate_scale}}


def azure_8b() -> Iterator[tuple[str, dict[str, Any]]]:
    """Two servers, 16 cards."""
    for rate in (1, 4, 5, 16, 20, 40, 60):
        for tokens in (512, 128):
            shared = merged(at(AZURE, rate), UNDIVIDED, chunk(tokens))
            yield f"x{rate}, undivided, chunk {tokens}", shared
        yield f"x{rate}, pools, whole", merged(at(AZURE, rate), {"transfer": {"mode": "whole"}})
        yield f"x{rate}, pools, layerwise", at(AZURE, rate)
    loose = {"slo": {"tpot_s": 0.0022}}
    shared = merged(at(AZURE, 40), UNDIVIDED, chunk(128), loose)
    yield "x40, undivided, chunk 128; TPOT 2.2 ms will do", shared
    yield "x40, pools, layerwise; likewise", merged(at(AZURE, 40), loose)


def azure_70b() -> Iterator[tuple[str, dict[str, Any]]]:
    """A rack, 64 cards; pools of 16 and 48."""
    wide = {"plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 8}}
    for rate in (1, 4, 16):
        for tokens in (512, 128):
            shared = merged(at(AZURE, rate), UNDIVIDED, chunk(tokens))
            yield f"x{rate}, undivided, chunk {tokens}", shared
        shared = merged(at(AZURE, rate), UNDIVIDED, chunk(128), wide)
        yield f"x{rate}, undivided, chunk 128, TP 8 x PP 8", shared
        for tokens in (512, 2048):
            prefill = {"pools": {"prefill": chunk(tokens)}}
            yield f"x{rate}, pools, chunk {tokens}", merged(at(AZURE, rate), prefill)


def mooncake_8b() -> Iterator[tuple[str, dict[str, Any]]]:
    """Two servers, 16 cards, prompts of 12,000 tokens."""
    slo = {"slo": {"ttft_s": 2.0, "tpot_s": 0.002}}
    for rate in (1, 3):
        for tokens in (512, 128):
            shared = merged(at(MOONCAKE, rate), slo, UNDIVIDED, chunk(tokens))
            yield f"x{rate}, undivided, chunk {tokens}", shared
        yield f"x{rate}, pools, layerwise", merged(at(MOONCAKE, rate), slo)
    whole = {"transfer": {"mode": "whole"}}
    yield "x1, pools, whole", merged(at(MOONCAKE, 1), slo, whole)


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
    "mooncake-8b": ("disaggregated-8b.yaml", mooncake_8b),
    "mooncake-70b": ("llama-70b-rack.yaml", mooncake_70b),
}


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, or a blank."""
    if value is None or math.isnan(value):
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


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
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    names = parser.parse_args().tables or list(TABLES)
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        parser.error(f"unknown table {unknown[0]!r}; one of {', '.join(TABLES)}")
    for name in names:
        file, rows = TABLES[name]
        print(f"\n## {name}\n{HEAD if name != 'mooncake-70b' else ''}", flush=True)
        write = cache_row if name == "mooncake-70b" else row
        for label, changes in rows():
            run = simulate(load(ROOT / "examples" / file, **changes))
            print(write(label, run.summary), flush=True)


if __name__ == "__main__":
    main()
