"""A scenario small enough for any test, its runs, and commands that are under way."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import Run, load, simulate

SMALL: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 200,
            "arrivals": {"poisson": {"rate_per_s": 20.0}},
            "prompt_tokens": {"uniform": {"low": 20, "high": 1500}},
            "output_tokens": {"uniform": {"low": 2, "high": 60}},
        }
    },
}


@pytest.fixture(scope="session")
def small_scenario() -> Mapping[str, Any]:
    """Llama-3.1-8B on one server with 200 requests."""
    return SMALL


@pytest.fixture(scope="session")
def run_small() -> Callable[..., Run]:
    """Run the small scenario with these keys of it changed."""
    return lambda **overrides: simulate(load(SMALL, **overrides))


@pytest.fixture(scope="session")
def begin() -> Callable[[Sequence[str], Path], "subprocess.Popen[str]"]:
    """Start a command that writes a run under a folder, and wait until its hidden one stands there.

    Then everything is priced, and the engine runs or is about to.
    """

    def started(words: Sequence[str], root: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster", *words, "--out", str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for _ in range(6000):
            if list(root.glob(".tmp-*")):
                return process
            time.sleep(0.01)
        process.kill()
        raise AssertionError(f"no run was begun: {process.communicate()[1]}")

    return started


@pytest.fixture(scope="session")
def interrupt() -> Callable[["subprocess.Popen[str]"], tuple[str, str, float]]:
    """Send Ctrl-C; what the command prints, and the processor time that it takes until its end."""

    def sent(process: "subprocess.Popen[str]") -> tuple[str, str, float]:
        before_s = _children_s()  # without this one, which is counted when it has ended
        used = psutil.Process(process.pid).cpu_times()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        return out, err, _children_s() - before_s - used.user - used.system

    return sent


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
