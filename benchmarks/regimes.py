"""Speed goals of serving, each in its own regime: processor time of the engine and of a process.

Run ``python benchmarks/regimes.py TRACE.csv`` with AzureLLMInferenceTrace_conv.csv. Every case runs
through the command ``serve``, output included, in a process of its own, and once more for the
engine alone (the kernel without accounts). A first small run warms the compile cache and is not
counted. ``--share 0.1`` runs a tenth of the requests of each case; ``--only`` names cases.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import serving as saturated

RACK = Path(__file__).parents[1] / "examples/disaggregated-70b.yaml"
DAY_RATE_PER_S = 6.22


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """A case, and its goals in CPU seconds and bytes."""

    words: tuple[str, ...]
    """Of the command, but for the requests."""
    requests: int = 0
    """Of synthetic traffic; 0: those of the trace."""
    engine_s: float | None = None
    whole_s: float
    peak_bytes: float | None = None

    def command(self, trace: str, share: float) -> list[str]:
        """Arguments of ``serve``."""
        count = f"workload.synthetic.requests={max(1, round(share * self.requests))}"
        traffic = count if self.requests else f"workload.trace={trace}"
        return [*self.words, "--set", traffic]


def _lognormal(mean: int, p50: int, most: int) -> str:
    return f"{{lognormal: {{mean: {mean}, p50: {p50}, maximum: {most}}}}}"


_DAY = (
    f"workload.synthetic.arrivals={{poisson: {{rate_per_s: {DAY_RATE_PER_S}}}}}",
    f"workload.synthetic.prompt_tokens={_lognormal(1155, 928, 7000)}",
    f"workload.synthetic.output_tokens={_lognormal(300, 200, 4000)}",
    "transfer.mode=whole",
)

REGIMES = {
    "Azure hour": Regime(words=(), engine_s=0.045, whole_s=1.2, peak_bytes=250e6),
    # 86,400 s of Llama-3.1-70B on 16 cards for prefills and 48 for decodes; KV follows the prefill.
    "rack-day": Regime(
        words=(str(RACK), *(word for each in _DAY for word in ("--set", each))),
        requests=537_600,
        engine_s=3.0,
        whole_s=8.0,
    ),
    "1 M light": Regime(words=(), requests=1_000_000, whole_s=5.0),
    "10 M light": Regime(words=(), requests=10_000_000, whole_s=40.0, peak_bytes=2e9),
}
"""Without a file it is the bundled chat: an 8B on one server at a mean batch of 1.1."""


def cpu_s_of(command: list[str]) -> tuple[float, int, str]:
    """CPU seconds, peak bytes and output of a process."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as child:
        output = child.stdout.read() if child.stdout is not None else ""
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, output


def engine_s_of(words: list[str], times: int = 3) -> float:
    """CPU seconds of the kernel alone, the fastest of a few; of pools that of both."""
    from cluster import load
    from cluster.api.serving import assemble_any
    from cluster.disaggregated.placement import PooledMachine
    from cluster.disaggregated.run import run_pools
    from cluster.scenario.resolve import resolve
    from cluster.serving.arrivals import arrivals_of
    from cluster.serving.engine import serve
    from cluster.serving.run import execute

    path = words[0] if words[:1] and words[0] != "--set" else None
    resolved = resolve(load(path, sets=words[words.index("--set") :][1::2]))
    machine, took_s = assemble_any(resolved), []

    def timed(_resolved: Any, one: Any, *, arrivals: Any, **kept: Any) -> Any:
        took_s.append(
            saturated.fastest_s(
                lambda: serve(arrivals, one.prices, one.limits, on_cycles=lambda _log: None), times
            )
        )
        return execute(_resolved, one, arrivals=arrivals, **kept)

    if isinstance(machine, PooledMachine):
        run_pools(resolved, machine, (timed, timed))
    else:
        timed(resolved, machine, arrivals=arrivals_of(resolved))
    return sum(took_s)


def saturated_s(requests: int = 100_000) -> float:
    """CPU seconds of the kernel for a million requests at full batches."""
    from cluster.serving.engine import serve

    arrivals = saturated.make_arrivals(requests, rate_per_s=260.0)
    prices, limits = saturated.make_prices(replicas=1), saturated.make_limits()
    served_s = saturated.fastest_s(lambda: serve(arrivals, prices, limits), 4)
    return served_s * 1e6 / requests


def measured(
    regime: Regime, trace: str, share: float
) -> tuple[float | None, float, int, dict[str, Any]]:
    """CPU seconds of the engine, if it has a goal, and of the process, its memory and summary."""
    words, engine_s = regime.command(trace, share), None
    if regime.engine_s is not None:
        engine_s = json.loads(cpu_s_of([__file__, "--engine", *words])[2])
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "cluster", "serve", "--json", "--out", folder, *words]
        whole_s, peak_bytes, output = cpu_s_of(command)
    return engine_s, whole_s, peak_bytes, json.loads(output)


def row(name: str, figure: str, goal: float | None, found: float, unit: str) -> None:
    """Print a line of the table."""
    shown = "" if goal is None else f"{goal:,.3g} {unit}"
    print(f"| {name} | {figure} | {shown} | {found:,.3g} {unit} |", flush=True)


def main() -> int:
    """Print the table of goals and what was measured."""
    if sys.argv[1:2] == ["--engine"]:
        print(engine_s_of(sys.argv[2:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", help="AzureLLMInferenceTrace_conv.csv")
    parser.add_argument("--share", type=float, default=1.0, help="of the requests of each case")
    parser.add_argument("--only", nargs="*", default=[*REGIMES, "saturated"])
    chosen = parser.parse_args()
    began_s = time.perf_counter()
    print("| regime | figure | goal | measured |\n|---|---|---|---|")
    for name, regime in REGIMES.items():
        if name not in chosen.only:
            continue
        cpu_s_of(["-m", "cluster", "serve", "--quiet", "--out", tempfile.gettempdir(),
                  *(regime.command(chosen.trace, 1e-6) if regime.requests else ())])  # fmt: skip
        engine_s, whole_s, peak_bytes, summary = measured(regime, chosen.trace, chosen.share)
        label = f"{name}, {summary['completed']:,} requests"
        if engine_s is not None:
            row(label, "engine", regime.engine_s, engine_s, "s")
        row(label, "whole process", regime.whole_s, whole_s, "s")
        row(label, "memory", regime.peak_bytes and regime.peak_bytes / 1e6, peak_bytes / 1e6, "MB")
    if "saturated" in chosen.only:
        row("saturated", "engine, a million requests", 1.0, saturated_s(), "s")
    print(f"took {time.perf_counter() - began_s:.0f} s; CPU time, one core", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
