"""One version of the code in all processes of a run."""

import subprocess
import sys

import pytest

from cluster.actors.code_version import code_version
from cluster.actors.tasks import TaskError, _checked


def test_the_version_of_the_code_is_the_same_wherever_it_is_read() -> None:
    code = "from cluster.actors.code_version import code_version; print(code_version())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == code_version()
    assert len(code_version()) == 16


def test_a_task_of_other_code_is_not_run() -> None:
    ran: list[int] = []

    def work(number: int) -> tuple[int, None]:
        ran.append(number)
        return number, None

    with pytest.raises(TaskError, match="another version of corsair-sim runs on a node"):
        _checked(work, "of other code", 1)

    assert _checked(work, code_version(), 2) == (2, None)
    assert ran == [2]
