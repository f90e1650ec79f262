"""A run ends with its Ray, a private Ray with its run, and half a cluster is refused."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.actors import liveness
from cluster.actors.liveness import RayLostError, UnreachableError, check_nodes, watched

DRIVER = """\
import os, pathlib, subprocess, sys, time
from cluster.actors.liveness import reaped

with reaped():
    log = pathlib.Path(sys.argv[1].replace("PID", str(os.getpid())))
    log.parent.mkdir()
    ray = subprocess.Popen(["sleep", "600"], stdout=log.open("w"), start_new_session=True)
    print(ray.pid, flush=True)
    if sys.argv[2] == "wait":
        time.sleep(600)
"""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def node(host: str, port: int, *, alive: bool = True) -> dict[str, Any]:
    """A node as ``ray.nodes`` lists it."""
    return {"NodeID": "a", "Alive": alive, "NodeManagerAddress": host, "NodeManagerPort": port}


def fake_ray(gcs: socket.socket, nodes: list[dict[str, Any]]) -> Any:
    """What is asked of Ray's module."""
    address = f"127.0.0.1:{gcs.getsockname()[1]}"
    context = SimpleNamespace(gcs_address=address, get_node_id=lambda: "a")
    return SimpleNamespace(
        get_runtime_context=lambda: context, nodes=lambda: nodes, shutdown=lambda: None
    )


def test_a_gcs_that_dies_ends_what_waits_for_it(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "EVERY_S", 0.01)
    port = listening.getsockname()[1]

    def wait() -> None:
        with watched(fake_ray(listening, [node("127.0.0.1", port)])):
            listening.close()
            while True:
                time.sleep(0.01)

    with pytest.raises(RayLostError, match="Ray's GCS has died"):
        wait()


def test_a_ray_that_lives_ends_nothing(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "EVERY_S", 0.001)

    ended = False
    with watched(fake_ray(listening, [node("127.0.0.1", listening.getsockname()[1])])):
        time.sleep(0.1)  # a hundred looks
        ended = True

    assert ended


def test_a_head_on_loopback_with_a_worker_elsewhere_is_named(listening: socket.socket) -> None:
    port = listening.getsockname()[1]

    with pytest.raises(UnreachableError, match=r"loopback address 127\.0\.0\.1, which 10\.0\.0\.2"):
        check_nodes([node("127.0.0.1", port), node("10.0.0.2", port)])


def test_nodes_that_do_not_answer_are_named_and_dead_ones_are_not(
    listening: socket.socket,
) -> None:
    port = listening.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    check_nodes([node("127.0.0.1", port), node("127.0.0.1", closed, alive=False)])

    with pytest.raises(UnreachableError, match=rf"1 of 2 nodes do not answer: 127.0.0.1:{closed}"):
        check_nodes([node("127.0.0.1", port), node("127.0.0.1", closed)])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc to look into")
@pytest.mark.parametrize("ends", ["wait", "in order"])
def test_what_a_killed_driver_leaves_of_its_ray_is_ended(ends: str, tmp_path: Path) -> None:
    session = tmp_path / f"session_{time.strftime('%Y-%m-%d_%H-%M-%S', time.localtime(2e9))}_1_PID"
    command = [sys.executable, "-c", DRIVER, str(session / "raylet.out"), ends]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        left = int(driver.stdout.readline())
        if ends == "wait":
            driver.kill()

    end_s = time.monotonic() + 10 * (ends == "wait")
    while runs(left) and time.monotonic() < end_s:
        time.sleep(0.05)
    survives = runs(left)
    if survives:
        os.kill(left, 9)
    assert survives == (ends == "in order")


def runs(process: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
