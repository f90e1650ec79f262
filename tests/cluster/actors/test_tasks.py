"""Sweeps as tasks on a real Ray: the same rows, whatever happens to its processes."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import sweep
from results import open_sweep

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own processes and sockets
]

DEFINITION: dict[str, Any] = {
    "name": "on-ray",
    "base": {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "workload": {"synthetic": {"requests": 60, "preset": "azure-conv-2023"}},
    },
    "axes": {
        "formats.weights": ["mxint8", "mxint4"],
        "scheduler.max_num_seqs": [4, 8],
        "workload.rate_scale": [1.0, 2.0, 3.0, 4.0],
        "plan.pipeline_parallel_size": [2, 16],
    },
}


class Fault:
    """Strikes once, when so many points are there."""

    def __init__(self, after: int, fault: Callable[[], None]) -> None:
        self.left = after
        self.fault = fault
        self.notes: list[str] = []

    def planned(self, looked_at: int, total: int) -> None: ...
    def started(self, total: int, done: int) -> None: ...

    def advanced(self, row: Mapping[str, Any]) -> None:
        assert row["status"]
        self.left -= 1
        if not self.left:
            self.fault()

    def noted(self, text: str) -> None:
        self.notes.append(text)


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_sweep(folder).points.to_pylist()
    return [{k: v for k, v in row.items() if k not in ("seconds", "host")} for row in found]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("local")
    sweep(DEFINITION, out=folder)
    return rows(folder)


def kill_a_worker() -> None:
    """``kill -9`` of a process that runs a chunk just now."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "_checked" in process.name():
                os.kill(process.pid, signal.SIGKILL)
                return


def test_the_rows_are_those_of_one_process_also_when_a_worker_is_killed(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    fault = Fault(20, kill_a_worker)
    sweep(DEFINITION, out=tmp_path, engine="ray", observer=fault)

    # Whether a chunk died with it or had just been answered is chance: the rows must not tell.
    assert rows(tmp_path) == undisturbed
    assert fault.left <= 0
    assert {row["status"] for row in undisturbed} == {"completed", "infeasible"}


def test_the_rows_are_the_same_when_a_node_goes(
    tmp_path: Path, undisturbed: list[dict[str, Any]], ray_cluster: Any
) -> None:
    node = ray_cluster.add_node(num_cpus=2)
    fault = Fault(6, lambda: ray_cluster.remove_node(node, allow_graceful=False))
    sweep(DEFINITION, out=tmp_path, engine="ray", observer=fault)

    assert rows(tmp_path) == undisturbed


def test_a_killed_process_is_reported_and_a_slow_point_is_killed() -> None:
    import time

    from cluster.actors.tasks import TaskPool

    def work(what: str) -> tuple[str, None]:
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "fail":
            raise ZeroDivisionError("by hand")
        while what == "hang":
            time.sleep(0.01)
        return what.upper(), None

    found: dict[str, str | None] = {}
    with TaskPool[str](work) as pool:
        for what in ("live", "die", "hang"):
            pool.submit(what, what, end_after_s=1.0 if what == "hang" else None)
        while len(pool):
            found.update({answer.key: answer.value or answer.lost for answer in pool.answers(0.2)})
        pool.submit("fail", "fail")
        with pytest.raises(ZeroDivisionError, match="by hand"):
            list(pool.answers(30.0))

    assert found == {
        "live": "LIVE",
        "die": "its process died",
        "hang": "it exceeded its time limit and was killed",
    }
