"""Ray started, joined, missed and interrupted, from the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import Run
from results import open_run

pytestmark = pytest.mark.ray

STARTED = "ray: 8 cards in 1 actors (8 per actor) on 1 node of a private Ray"


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., list[str]]:
    """The words of ``serve --engine ray``."""
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "model: llama-3.1-8b\n"
        "plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}\n"
        "workload: {synthetic: {requests: 100, preset: azure-conv-2023}}\n"
    )
    command = [sys.executable, "-m", "cluster", "serve", str(path), "--engine", "ray"]
    return lambda *words: [*command, "--out", str(tmp_path / "runs"), *words]


def failure(command: list[str], **environment: str) -> tuple[int, str]:
    """Exit code of a command that fails, and what it says."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_a_ray_that_is_not_there_is_one_clear_error(serve: Callable[..., list[str]]) -> None:
    code, said = failure(serve("--ray-address", "127.0.0.1:9"))

    assert code == 3
    assert said.startswith("corsair-sim: error: cannot join the Ray at 127.0.0.1:9: ")
    assert len(said.splitlines()) == 1


def test_a_ray_that_cannot_start_is_one_clear_error(
    serve: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, said = failure(serve(), RAY_TMPDIR=str(tmp_path / "file"))

    assert code == 3
    assert said.startswith("corsair-sim: error: cannot start Ray: ")
    assert len(said.splitlines()) == 1


def test_what_does_not_fit_is_refused_before_ray_starts(
    serve: Callable[..., list[str]],
) -> None:
    code, said = failure(serve("--set", "model=llama-3.1-405b", "--ray-address", "127.0.0.1:9"))

    assert code == 3
    assert "does not fit" in said


@pytest.mark.soak
def test_ctrl_c_stops_all_that_was_started(serve: Callable[..., list[str]], tmp_path: Path) -> None:
    long = ["--set", "workload.synthetic.requests=60000"]
    with subprocess.Popen(
        serve(*long, "--cards-per-actor", "8"), stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().strip() == STARTED
        family = psutil.Process(running.pid).children(recursive=True)
        heard = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
        code = running.wait(timeout=60)

    _, left = psutil.wait_procs(family, timeout=15)
    assert code == 130
    assert said.strip().endswith("stopped; nothing was written")
    assert left == []
    assert {address.removeprefix("::ffff:") for address in heard} == {"127.0.0.1"}
    assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.soak
def test_a_ray_that_runs_is_joined_and_only_our_own_words_are_heard(
    ray_cluster: Any,
    kill_an_actor: Callable[[], None],
    four_replicas: Mapping[str, Any],
    local_run: Callable[..., Run],
    digests: Callable[[Run], dict[str, str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "scenario.yaml").write_text(json.dumps(four_replicas))
    command = [sys.executable, "-m", "cluster", "serve", "scenario.yaml", "--json"]
    command += ["--engine", "ray", "--ray-address", ray_cluster.address, "--cards-per-actor", "8"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        started = running.stderr.readline()
        kill_an_actor()
        answer, said = running.communicate(timeout=60)

    tables = open_run(tmp_path / json.loads(answer)["run_dir"]).manifest["tables"]
    assert {name: table["sha256"] for name, table in tables.items()} == digests(local_run())
    assert started == "ray: 16 cards in 2 actors (8 per actor) on 1 node of the Ray cluster\n"
    ours = [line for line in said.splitlines() if not line.startswith(("note: ", "compiling "))]
    assert len(ours) == 1
    assert ours[0].endswith("(and 7 more) was lost; its work is repeated")
    assert ray_cluster.head_node.any_processes_alive()
