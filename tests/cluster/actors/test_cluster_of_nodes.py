"""docs/how-to/cluster.md, tried on nodes with network, processes and /tmp/ray of their own.

Needs root, ``ip``, ``unshare`` and ``nsenter``. Nodes are namespaces of processes that the test
started, and end with them.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.soak

REPOSITORY = Path(__file__).parents[3]
HEAD = "10.77.0.1:6379"
RAY_START = [str(Path(sys.executable).with_name("ray")), "start", "--num-cpus=1"]
INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
"""The first process of a node: it reaps whatever ends there."""
APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
SERVE = [sys.executable, "-m", "corsair_sim", "serve", "--json"]
SERVE += ["--set", "cluster.servers_per_rack=3", "--set", "router=round_robin"]
ON_RAY = ["--engine", "ray", "--ray-address", HEAD, "--cards-per-actor", "8"]
PATIENCE_S = 300.0
TOKEN = secrets.token_hex(32)
"""Of the cluster: nodes without it cannot join."""


class Node:
    """A machine of the cluster. ``code`` lies where the others have this repository."""

    def __init__(self, number: int, switch: int, folder: Path, code: Path = REPOSITORY) -> None:
        self._process = subprocess.Popen([*APART, sys.executable, "-c", INIT])
        try:
            self._join(number, switch, folder, code)
        except BaseException:
            self.end()
            raise

    def _join(self, number: int, switch: int, folder: Path, code: Path) -> None:
        wait_for(lambda: psutil.Process(self._process.pid).children())
        self._init = psutil.Process(self._process.pid).children()[0].pid
        wait_for(lambda: b"signal.pause" in Path(f"/proc/{self._init}/cmdline").read_bytes())
        own = folder / f"node{number}"
        own.mkdir()
        Path("/tmp/ray").mkdir(exist_ok=True)
        cable = f"rk{number}"
        on(switch, f"ip link add {cable} type veth peer name eth0 netns {self._init}")
        on(switch, f"ip link set {cable} master br0 up")
        for words in (
            f"ip addr add 10.77.0.{number}/24 dev eth0",
            "ip link set eth0 up",
            "ip link set lo up",
            f"mount --bind {own} /tmp/ray",
            "mount -t tmpfs tmpfs /dev/shm",
            f"mount --bind {code} {REPOSITORY}",
        ):
            self.run(words.split())
        where = ["--head", "--port=6379", "--include-dashboard=false", "--disable-usage-stats"]
        where = where if number == 1 else [f"--address={HEAD}"]
        self.run([*RAY_START, *where, f"--node-ip-address=10.77.0.{number}"])

    def start(self, words: list[str]) -> "subprocess.Popen[str]":
        """A command on this node; gRPC would ask a proxy for the other nodes."""
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        environment["PYTHONPATH"] = str(REPOSITORY)
        return subprocess.Popen(
            [*f"nsenter -t {self._init} --net --mount --pid".split(), *words],
            env=environment,
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, words: list[str], wanted: int = 0) -> tuple[str, str]:
        """What a command prints, to stdout and stderr."""
        with self.start(words) as process:
            out, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == wanted, (words, out, errors)
        return out, errors

    def end(self) -> None:
        """Every process of the node, at once."""
        self._process.kill()
        self._process.wait()


def on(switch: int, command: str) -> None:
    subprocess.run(f"nsenter -t {switch} --net {command}".split(), check=True)


def wait_for(ready: Callable[[], object]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def tables(out: str) -> dict[str, bytes]:
    """The tables of the run that ``serve --json`` printed; it is removed."""
    folder = Path(json.loads(out)["run_dir"])
    found = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    shutil.rmtree(folder)
    return found


@pytest.fixture(scope="module")
def switch() -> Iterator[int]:
    """A process whose network is a switch."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as process:
        here = Path("/proc/self/ns/net").readlink()
        wait_for(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != here)
        on(process.pid, "ip link add br0 type bridge")
        on(process.pid, "ip link set br0 up")
        yield process.pid
        process.kill()


@pytest.fixture(scope="module")
def nodes(switch: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """A head and two workers."""
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        made: list[Node] = []
        for number in (1, 2, 3):
            made.append(Node(number, switch, folder))
            stack.callback(made[-1].end)
        yield made


def test_a_run_on_three_nodes_writes_the_bytes_of_a_run_in_one_process(
    nodes: list[Node], tmp_path: Path
) -> None:
    local, _ = nodes[0].run([*SERVE, "--out", str(tmp_path)])
    wanted = tables(local)
    out, errors = nodes[0].run([*SERVE, "--out", str(tmp_path), *ON_RAY])

    assert "24 cards in 3 actors (8 per actor) on 3 nodes of the Ray cluster" in errors
    assert tables(out) == wanted


def test_a_node_with_another_version_is_refused_by_name(
    nodes: list[Node], switch: int, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for package in ("cluster", "corsair_common", "corsair_sim", "results", "topology", "workloads"):
        shutil.copytree(REPOSITORY / package, other / package)
    with (other / "cluster" / "__init__.py").open("a") as file:
        file.write("# another version\n")
    late = Node(4, switch, tmp_path, other)
    more = ["--set", "cluster.servers_per_rack=8", "--out", str(tmp_path)]
    try:
        out, _ = nodes[0].run([*SERVE, *more, *ON_RAY], wanted=3)
        late.run([RAY_START[0], "stop"])  # sees the processes of its node alone
    finally:
        late.end()

    assert "another version of corsair-sim runs on node 10.77.0.4" in json.loads(out)["error"]


def test_a_run_that_loses_a_node_ends_with_the_same_bytes(
    nodes: list[Node], tmp_path: Path
) -> None:
    long = [*SERVE, "--set", "workload.synthetic.requests=300000", "--out", str(tmp_path)]
    wanted = tables(nodes[0].run(long)[0])
    with nodes[0].start([*long, *ON_RAY]) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "on 3 nodes" in line:
                break
        time.sleep(0.5)
        nodes[2].end()
        out, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, (out, errors)
    assert "was lost; its work is repeated" in errors
    assert tables(out) == wanted
