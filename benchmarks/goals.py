"""Goals of speed and size: measures them and writes the table of ``benchmarks/README.md``.

``python -m benchmarks.goals --write`` measures every row; with ``--only NAME ...`` others keep
what they had. Without ``--write`` the rows are only printed. A row is a ``Goal`` of ``GOALS``; to
add one, add it there with a function without arguments that returns the number in the row's unit,
or None where its input is missing. Whole commands run in processes of their own, start included;
engines in a fresh process after a small run that loads the compiled code. Seconds are of the CPU,
user and system together, all cores, since the machine may be shared: the first row tells how fast
it was at the time.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.growth import Process, measure, process, scenario_of, timed, whole

README = Path(__file__).with_name("README.md")
TRACE = "traces/AzureLLMInferenceTrace_conv.csv"
RACK = Path(__file__).parents[1] / "examples/disaggregated-70b.yaml"
RACK_DAY = (
    "workload.synthetic.requests=537600",
    "workload.synthetic.arrivals={poisson: {rate_per_s: 6.22}}",
    "workload.synthetic.prompt_tokens={lognormal: {mean: 1155, p50: 928, maximum: 7000}}",
    "workload.synthetic.output_tokens={lognormal: {mean: 300, p50: 200, maximum: 4000}}",
    "transfer.mode=whole",
)
"""KV follows the prefill; prompts are about as long as Azure's."""
HEAD = ("name", "what, and in which regime", "goal", "anchor", "measured", "met")
BEGIN, END = "<!-- goals -->", "<!-- end of goals -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One row of the table."""

    name: str
    regime: str
    goal: float | None
    """In ``unit``; None for a row that only tells."""
    unit: str
    anchor: str
    """What it is compared with: before this work (833dfda), or another program."""
    measure: Callable[[], float | None] | None = None
    """None: not measured yet."""
    least: bool = False
    """Whether the goal is the least that is wanted; else the most."""


def data() -> Path:
    """The folder of measured data, ``$CORSAIR_DATA`` or the one beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("CORSAIR_DATA", beside))


def yardstick() -> float:
    """Adding ten million numbers in Python."""
    return timed(lambda: sum(number for number in range(10_000_000)))[0]


def _azure() -> list[str] | None:
    trace = data() / TRACE
    return ["--set", f"workload.trace={trace}"] if trace.is_file() else None


def _engine_s(*sets: str, path: str | None = None, times: int = 3) -> tuple[float, int]:
    """Fastest CPU seconds of the engine alone, of pools with their transfers, and requests."""
    from cluster import load
    from cluster.api.serving import assemble_any
    from cluster.disaggregated.loop import serve_pools
    from cluster.disaggregated.placement import PooledMachine
    from cluster.disaggregated.run import run_pools
    from cluster.scenario.resolve import resolve
    from cluster.serving.arrivals import arrivals_of
    from cluster.serving.engine import serve

    resolved, fastest_s = resolve(load(path, sets=sets)), []
    machine = assemble_any(resolved)

    def fastest(alone: Callable[[], Any]) -> None:
        fastest_s.append(min([timed(alone)[0] for _ in range(1 + times)][1:]))

    def served(*given: Any, **kept: Any) -> Any:
        fastest(partial(serve_pools, *given, **{**kept, "on_window": lambda *_log: None}))
        return serve_pools(*given, **kept)

    if isinstance(machine, PooledMachine):
        run_pools(resolved, machine, loop=served)
    else:
        alone = arrivals_of(resolved), machine.prices, machine.limits
        fastest(partial(serve, *alone, on_cycles=lambda _log: None))
    return fastest_s[0], len(resolved.requests)


def azure_engine_ms() -> float | None:
    """Of Azure's hour of conversations on the bundled scenario."""
    words = _azure()
    return None if words is None else 1e3 * _engine_s(words[1])[0]


def saturated_requests_per_s() -> float:
    """Of the engine, with the bundled scenario at forty times its rate."""
    sets = ("workload.rate_scale=40", "workload.synthetic.requests=100000")
    used_s, requests = _engine_s(*sets)
    return requests / used_s / 1e6


def rack_day_engine_s() -> float:
    """Of both pools and the transfers between them."""
    return _engine_s(*RACK_DAY, path=str(RACK))[0]


@cache
def rack_day() -> Process:
    """The whole command, after a small one that loads the compiled code."""
    words = [
        "serve",
        str(RACK),
        "--quiet",
        *(word for each in RACK_DAY for word in ("--set", each)),
    ]
    process([*words, "--set", "workload.synthetic.requests=200"])
    return process(words)


@cache
def azure_hour() -> Process | None:
    """The whole command."""
    words = _azure()
    return None if words is None else best(["serve", "--quiet", *words])


@cache
def synthetic(requests: int) -> Process:
    """The bundled scenario at its own light rate."""
    return process(["serve", "--quiet", "--set", f"workload.synthetic.requests={requests}"])


large = cache(whole)


@cache
def replayed() -> tuple[float, float]:
    """Millions of operations a second: of the call, and with its tables written."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_replayed).result()


def _replayed() -> tuple[float, float]:
    from benchmarks.replay import RACK, decode
    from benchmarks.replay import measure as measured

    found = measured(decode("llama-3.1-70b", RACK, (1, 8, 1), 100), save=True)
    saved_s = found.call_s + (found.save_s or 0.0)
    return found.operations / found.call_s / 1e6, found.operations / saved_s / 1e6


@cache
def growth() -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds by part of 4,096 and 16,384 cards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth).result()


def _growth() -> tuple[dict[str, float], dict[str, float]]:
    measure(scenario_of(1, 50, "least_outstanding"))
    small, big = (
        measure(scenario_of(cards // 8, 8, "least_outstanding"), save=False)
        for cards in (4096, 16_384)
    )
    return small, big


def grown(*parts: str) -> float:
    """How many times as long these parts take for four times the cards."""
    small, big = growth()
    return sum(big[part] for part in parts) / sum(small[part] for part in parts)


def apart(work: Callable[[], float | None]) -> float | None:
    """The number from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def best(words: Sequence[str], times: int = 3) -> Process:
    """The process with the fewest CPU seconds, after one that loads the compiled code."""
    found = [process(words) for _ in range(1 + times)]
    return min(found[1:], key=lambda each: each.cpu_s)


def cold_s() -> float:
    """Seconds of the CPU of a first run of the bundled scenario, nothing compiled."""
    with tempfile.TemporaryDirectory() as empty:
        return process(["serve", "--quiet"], {"CORSAIR_SIM_CACHE": empty}).cpu_s


GOALS = (
    Goal(
        name="yardstick",
        regime="Python adds ten million numbers: how fast the machine was",
        goal=None, unit="s", anchor="",
        measure=yardstick,
    ),
    Goal(
        name="azure-engine",
        regime="engine alone, Azure's hour of conversations, mean batch 1.1",
        goal=45, unit="ms", anchor="330 ms", measure=partial(apart, azure_engine_ms),
    ),
    Goal(
        name="azure-whole", regime="the same, whole command", goal=1.2, unit="s",
        anchor="2.36 s", measure=lambda: hour.cpu_s if (hour := azure_hour()) else None,
    ),
    Goal(
        name="azure-memory", regime="the same, peak memory", goal=250, unit="MB",
        anchor="not measured",
        measure=lambda: hour.peak_bytes / 1e6 if (hour := azure_hour()) else None,
    ),
    Goal(
        name="million", regime="whole command, a million requests, light load", goal=5, unit="s",
        anchor="31 s", measure=lambda: synthetic(1_000_000).cpu_s,
    ),
    Goal(
        name="ten-million", regime="ten million, light load", goal=40, unit="s",
        anchor="39 s", measure=lambda: synthetic(10_000_000).cpu_s,
    ),
    Goal(
        name="ten-million-memory", regime="the same, peak memory", goal=2, unit="GB",
        anchor="3.5 GiB", measure=lambda: synthetic(10_000_000).peak_bytes / 1e9,
    ),
    Goal(
        name="saturated", regime="engine alone, full batches: 40 times the bundled rate",
        goal=1, unit="M requests/s", anchor="330 ns a step", least=True,
        measure=partial(apart, saturated_requests_per_s),
    ),
    Goal(
        name="rack-day-engine",
        regime="a rack for a day: 70B, pools of 16 and 48 cards, 537,600 requests, engine",
        goal=3, unit="s", anchor="AISimulate: 188 s or more",
        measure=partial(apart, rack_day_engine_s),
    ),
    Goal(
        name="rack-day-whole", regime="the same, whole command on one core", goal=8, unit="s",
        anchor="AISimulate: 188 s or more", measure=lambda: rack_day().cpu_s,
    ),
    Goal(
        name="cards-1024", regime="whole command, 1,024 cards, 8 requests a replica", goal=2.5,
        unit="s", anchor="7.6 s (0.46 GB)", measure=lambda: large(1024).cpu_s,
    ),
    Goal(
        name="cards-8192", regime="whole command, 8,192 cards, 8 requests a replica", goal=10,
        unit="s", anchor="50.8 s (1.6 GB)", measure=lambda: large(8192).cpu_s,
    ),
    Goal(
        name="cards-16384",
        regime="16,384 cards built, routed, placed, served and saved: peak memory",
        goal=8, unit="GB", anchor="not measured", measure=lambda: large(16_384).peak_bytes / 1e9,
    ),
    Goal(
        name="routes-growth", regime="build and routes, 16,384 cards over 4,096", goal=5,
        unit="times", anchor="8 times", measure=lambda: grown("build", "routes"),
    ),
    Goal(
        name="place-growth", regime="placement, 16,384 cards over 4,096", goal=5, unit="times",
        anchor="10 times", measure=lambda: grown("place"),
    ),
    Goal(
        name="serve-growth", regime="engine and accounts, 16,384 cards over 4,096", goal=5,
        unit="times", anchor="not measured", measure=lambda: grown("serve"),
    ),
    Goal(
        name="cold", regime="first command after installation, no compiled code kept", goal=5,
        unit="s", anchor="18.6 s, 15.5 s of it compiling", measure=cold_s,
    ),
    Goal(
        name="check-start", regime="`check` of the bundled scenario", goal=0.5, unit="s",
        anchor="0.8 s of imports", measure=lambda: best(["check"]).cpu_s,
    ),
    Goal(
        name="serve-start", regime="`serve` of the bundled scenario", goal=1.2, unit="s",
        anchor="0.8 s of imports", measure=lambda: best(["serve", "--quiet"]).cpu_s,
    ),
    Goal(
        name="replay", regime="replay of 9.6 M operations, 64 cards, no contention, no tables",
        goal=10, unit="M operations/s", anchor="5.6 M", least=True, measure=lambda: replayed()[0],
    ),
    Goal(
        name="replay-whole", regime="the same, tables written", goal=3, unit="M operations/s",
        anchor="1.45 M", least=True, measure=lambda: replayed()[1],
    ),
)  # fmt: skip


def row(goal: Goal, kept: dict[str, tuple[str, str]], wanted: bool) -> tuple[str, ...]:
    """The cells of a goal, measured now or as they were."""
    sign = "" if goal.goal is None else f"{'>=' if goal.least else '<='} {goal.goal:g} {goal.unit}"
    found = goal.measure() if wanted and goal.measure is not None else None
    measured, met = kept.get(goal.name, ("not measured", ""))
    if found is not None:
        measured = f"{found:.3g} {goal.unit}"
        reached = goal.goal is not None and (found >= goal.goal) is goal.least
        met = "" if goal.goal is None else "yes" if reached or found == goal.goal else "no"
    return goal.name, goal.regime, sign, goal.anchor, measured, met


def kept_rows() -> dict[str, tuple[str, str]]:
    """By name, what the table says now."""
    lines = README.read_text("utf-8").splitlines() if README.is_file() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {each[0]: (each[4], each[5]) for each in cells if len(each) == len(HEAD)}


def main() -> None:
    """Measure, print, and write the table if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[goal.name for goal in GOALS])
    requested = parser.parse_args()
    kept, lines = kept_rows(), [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for goal in GOALS:
        cells = row(goal, kept, requested.only is None or goal.name in requested.only)
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], time.strftime("%H:%M:%S"), flush=True)
    if requested.write:
        text = README.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        table = "\n".join(lines)
        README.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
