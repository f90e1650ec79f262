"""A command's process ends with its code, after what was to be done at its end."""

import subprocess
import sys

import pytest

BEFORE = "import atexit, sys, threading, time\nfrom corsair_common.leave import leave\n"


def ended(script: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + script], capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("code", [0, 3])
def test_what_was_printed_and_registered_comes_before_the_end(code: int) -> None:
    script = f"atexit.register(print, 'last')\nsys.stdout.write('first ')\nleave({code})"

    assert ended(script) == (code, "first last\n")


def test_another_thread_is_waited_for() -> None:
    script = "threading.Thread(target=lambda: (time.sleep(0.1), print('done'))).start()\nleave(2)"

    assert ended(script) == (2, "done\n")


def test_a_closed_output_is_no_trouble() -> None:
    assert ended("sys.stdout.close()\nleave(1)") == (1, "")
