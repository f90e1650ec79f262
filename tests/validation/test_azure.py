"""An hour of a real chat service, whole: nothing lost, Little's law, overload, memory."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, simulate
from cluster.perf_model.tables import Records
from cluster.scenario.resolve import Resolved, resolve
from cluster.serving.outcome import Outcome
from cluster.serving.run import assemble, execute
from corsair_common.units import Integers

TRACES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "traces"
AZURE = TRACES / "AzureLLMInferenceTrace_conv.csv"
MOONCAKE = TRACES / "mooncake_conversation_trace.jsonl"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not AZURE.is_file(), reason="the published traces are not here"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The trace on the bundled scenario, and every step of it."""

    resolved: Resolved
    outcome: Outcome
    steps: dict[str, Integers]


@pytest.fixture(scope="module")
def hour() -> Hour:
    resolved = resolve(load(workload={"trace": str(AZURE)}))
    kept: dict[str, list[Integers]] = {
        name: [] for name in ("end_ps", "tokens", "emitted", "finished")
    }

    def keep(window: Records) -> None:
        for name, parts in kept.items():
            parts.append(window[name].copy())

    outcome = execute(resolved, assemble(resolved), on_steps=keep)
    steps = {name: np.concatenate(parts) for name, parts in kept.items()}
    return Hour(resolved=resolved, outcome=outcome, steps=steps)


def test_every_request_completes_with_the_tokens_of_the_file(hour: Hour) -> None:
    with AZURE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    requested, served = hour.resolved.requests, hour.outcome.served

    assert len(rows) == len(requested) == 19_366
    assert requested.prompt_tokens.tolist() == [int(row["ContextTokens"]) for row in rows]
    assert requested.output_tokens.tolist() == [int(row["GeneratedTokens"]) for row in rows]
    assert not served.status.any()
    assert (served.finish_ps > served.arrival_ps).all()


def test_the_steps_schedule_and_emit_every_token_once(hour: Hour) -> None:
    requested, steps = hour.resolved.requests, hour.steps

    assert not hour.outcome.served.preemptions.any()
    assert steps["emitted"].sum() == requested.output_tokens.sum()
    assert steps["tokens"].sum() == (requested.prompt_tokens + requested.output_tokens - 1).sum()
    assert steps["finished"].sum() == 19_366


def test_littles_law_holds_to_the_picosecond(hour: Hour) -> None:
    served, steps = hour.outcome.served, hour.steps
    inside, times = requests_inside(served.arrival_ps, steps)

    assert inside[-1] == 0
    assert int(inside[:-1] @ np.diff(times)) == int((served.finish_ps - served.arrival_ps).sum())


def requests_inside(arrival_ps: Integers, steps: dict[str, Integers]) -> tuple[Integers, Integers]:
    """How many are in the system from each moment on: in at arrival, out at the end of a step."""
    times = np.concatenate([arrival_ps, steps["end_ps"]])
    changes = np.concatenate([np.ones_like(arrival_ps), -steps["finished"]])
    order = np.argsort(times, kind="stable")
    return np.cumsum(changes[order]), times[order]


def test_at_forty_times_the_rate_it_ends_and_the_queue_shows(hour: Hour) -> None:
    run = simulate(load(workload={"trace": str(AZURE), "rate_scale": 40.0}))
    served, calm = run.outcome.served, hour.outcome.served
    waits_ps = served.first_scheduled_ps - served.arrival_ps
    quarters_ps = [int(part.mean()) for part in np.array_split(waits_ps, 4)]

    assert run.summary["completed"] == 19_366
    assert quarters_ps == sorted(quarters_ps)
    assert (
        quarters_ps[-1]
        > 80 * 10**12
        > 1000 * int((calm.first_scheduled_ps - calm.arrival_ps).mean())
    )
    assert run.summary["mean_batch_size"] > 20
    assert run.summary["duration"] > 2 * float(served.arrival_ps[-1]) * 1e-12


MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "cluster", *sys.argv[1:]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
"""
"""For a small process to run: a child's peak begins with that of whom it was forked from."""


def test_the_command_stays_within_its_memory_and_time(tmp_path: Path) -> None:
    command = ["serve", "--json", "--out", str(tmp_path), "--set", f"workload.trace={AZURE}"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    summary, used = done.stdout.splitlines()
    peak_kb, cpu_s = used.split()
    sys.stdout.write(f"{float(cpu_s):.1f} s of processor time, {int(peak_kb) * 1.024e-3:.0f} MB")

    assert json.loads(summary)["completed"] == 19_366
    assert int(peak_kb) * 1024 < 600e6
    assert float(cpu_s) < 30


def chats(**changes: Any) -> Run:
    """The start of the Mooncake conversations, at a tenth of their rate, on a rack of 70B."""
    return simulate(
        load(
            model="llama-3.1-70b",
            cluster={"servers_per_rack": 8},
            plan={"pipeline_parallel_size": 16},
            workload={"trace": str(MOONCAKE), "limit": 1000, "rate_scale": 0.1},
            **changes,
        )
    )


def test_conversations_find_their_prefixes_and_answer_sooner() -> None:
    found = chats()
    forgotten = chats(scheduler={"enable_prefix_caching": False})

    assert found.summary["completed"] == forgotten.summary["completed"] == 1000
    assert found.summary["prefix_hit_rate"] > 0.03
    assert found.summary["mean_ttft_ms"] < forgotten.summary["mean_ttft_ms"]
    assert found.summary["prefix_hit_rate"] == pytest.approx(
        np.asarray(found.requests["cached_tokens"]).sum() / found.summary["total_input_tokens"]
    )
