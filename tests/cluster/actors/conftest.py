"""One Ray for all tests that need one, and scenarios whose replicas may be run apart."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import psutil
import pytest

from cluster import ReplayRun, Run, load, simulate
from results import open_run

SMALL: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2},
    "formats": {"weights": "mxint4"},
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 1},
    "scheduler": {"max_num_seqs": 8},
    "router": "round_robin",
    "workload": {"synthetic": {"requests": 160, "preset": "mooncake-conversation"}},
}


@pytest.fixture(scope="session")
def four_replicas() -> Mapping[str, Any]:
    """Four replicas on sixteen cards of two servers; prompts share prefixes."""
    return SMALL


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray of one node on this machine, to which tests may add others."""
    from cluster.actors.session import private_environment

    with private_environment():
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            connect=True,
            head_node_args={
                "num_cpus": 2,
                "include_dashboard": False,
                "_system_config": {
                    "health_check_period_ms": 500,
                    "health_check_initial_delay_ms": 0,
                },
            },
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Nodes:
    """Nodes that were added to the tests' Ray, of which some may be lost."""

    def __init__(self, cluster: Any, count: int) -> None:
        self._cluster = cluster
        self.left = [cluster.add_node(num_cpus=1) for _ in range(count)]

    def lose(self, actor_group: Any) -> None:
        """Kill the processes of one on which an actor of the actor group was started."""
        node = next(node for node in self.left if node.node_id in actor_group.nodes)
        self.left.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)


@pytest.fixture
def two_more_nodes(ray_cluster: Any) -> Iterator[Nodes]:
    """Two nodes beside the first, for one test."""
    nodes = Nodes(ray_cluster, 2)
    yield nodes
    for node in nodes.left:
        ray_cluster.remove_node(node)


@pytest.fixture(scope="session")
def kill_an_actor() -> Callable[[], None]:
    """``kill -9`` of the first actor's process under this one, if there is one just now."""

    def kill() -> None:
        actors = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                actors += [process.pid] if "CardActor" in process.name() else []
        for pid in sorted(actors)[:1]:
            os.kill(pid, signal.SIGKILL)

    return kill


@pytest.fixture(scope="session")
def digests() -> Callable[[Run | ReplayRun], dict[str, str]]:
    """SHA-256 of every table of a run that lies on disk."""

    def of(run: Run | ReplayRun) -> dict[str, str]:
        assert run.run_dir is not None
        tables = open_run(run.run_dir).manifest["tables"]
        return {name: table["sha256"] for name, table in tables.items()}

    return of


@pytest.fixture(scope="session")
def local_run(
    tmp_path_factory: pytest.TempPathFactory, four_replicas: Mapping[str, Any]
) -> Callable[..., Run]:
    """Run the scenario in this process, with these keys of it changed; each only once."""
    root, runs = tmp_path_factory.mktemp("local"), dict[str, Run]()

    def run(**overrides: Any) -> Run:
        name = str(sorted(overrides.items()))
        if name not in runs:
            runs[name] = simulate(load(four_replicas, **overrides), out=root)
        return runs[name]

    return run
