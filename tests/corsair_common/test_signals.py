"""Commands that are stopped by a signal end cleanly, whatever they were doing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTING = """\
import os, sys
import signal

signal.signal({number}, {handler})

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), {number})
        return None

sys.meta_path.insert(0, Stop())
from corsair_sim.cli import main
sys.exit(main(["check"]))
"""
RUNNING = """\
import os, sys
import signal

signal.signal({number}, {handler})
import cluster.commands.serve
from cluster.serving import engine
from cluster.commands import terminal

def stop(*args, **options):
    os.kill(os.getpid(), {number})
    raise SystemExit("the signal was lost")

cluster.commands.serve.simulate = stop
import cluster.api.serving
cluster.api.serving.simulate = stop
from corsair_sim.cli import main
sys.exit(main(["serve", "--out", "runs", "--json"]))
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def run(script: str, number: signal.Signals, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that sends itself a signal, which whoever started the tests may have ignored."""
    handler = "signal.default_int_handler" if number == signal.SIGINT else "signal.SIG_DFL"
    code = script.format(number=int(number), handler=handler)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("script", [IMPORTING, RUNNING], ids=["importing", "running"])
def test_a_signal_ends_a_command_with_its_code_and_leaves_nothing(
    script: str, number: signal.Signals, tmp_path: Path
) -> None:
    done = run(script, number, tmp_path)

    assert done.returncode == CODES[number]
    assert done.stderr == "stopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    script = IMPORTING.replace("{handler}", "signal.SIG_IGN")
    script = script.replace('["check"]', '["models", "list", "-q"]')

    assert run(script, signal.SIGHUP, tmp_path).returncode == 0
