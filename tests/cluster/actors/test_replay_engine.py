"""Replays on a real Ray have the same bits, whatever happens to its processes."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cluster import ReplayRun, replay_trace
from workloads.chakra.from_program import from_program
from workloads.chakra.write import write_chakra
from workloads.program import program_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own processes and sockets
]

Digests: TypeAlias = Callable[[ReplayRun], dict[str, str]]
Fault: TypeAlias = Callable[[Any], None]
CARDS = 64


@pytest.fixture(scope="session")
def decode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Steps of Llama-3.1-70B with TP 4 x PP 16, but of one layer a stage."""
    config = {
        "model_type": "llama",
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 16,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }
    path = tmp_path_factory.mktemp("model") / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    return {
        "model": str(path),
        "cluster": {"servers_per_rack": 8},
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 16},
        "workload": {"program": {"phase": "decode", "batch": 64, "context": 60, "steps": 3}},
    }


@pytest.fixture(scope="session")
def local(decode: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ReplayRun:
    return replay_trace(decode, out=tmp_path_factory.mktemp("local"))


class Blows:
    """Watches a run and strikes when its engine starts."""

    def __init__(self, fault: Callable[[], None]) -> None:
        self._blow = fault

    def started(self, _total: int, /) -> None:
        self._blow()

    def advanced(self, _now_ps: int, _done: int, /) -> None:
        """Let it go on."""

    def finished(self) -> None:
        """Let it end."""


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault, set[int]], None]:
    """Inject a fault into the actor group when a card of these numbers is requested."""

    def prepare(fault: Fault, requested: set[int]) -> None:
        from cluster.actors.actor_group import ActorGroup
        from cluster.replay.op_tables import encoded_ops

        call, number = ActorGroup.call, count()

        def call_with_fault(group: ActorGroup, actor: int, function: Any, *args: Any) -> Any:
            answer = call(group, actor, function, *args)
            if function is encoded_ops and next(number) in requested:
                fault(group)
            return answer

        monkeypatch.setattr(ActorGroup, "call", call_with_fault)

    return prepare


@pytest.mark.parametrize("actors", [1, 2, 8])
def test_actors_replay_with_the_bits_of_one_process(
    actors: int, decode: dict[str, Any], local: ReplayRun, digests: Digests, tmp_path: Path
) -> None:
    notices: list[str] = []
    run = replay_trace(
        decode,
        out=tmp_path,
        engine="ray",
        cards_per_actor=CARDS // actors,
        notice=notices.append,
    )

    assert digests(run) == digests(local)
    assert run.summary == local.summary
    assert f"64 cards in {actors} actors ({CARDS // actors} per actor)" in notices[0]


def test_an_actor_killed_while_the_engine_runs_and_while_columns_are_made_changes_nothing(
    decode: dict[str, Any],
    local: ReplayRun,
    inject: Callable[[Fault, set[int]], None],
    kill_an_actor: Callable[[], None],
    digests: Digests,
    tmp_path: Path,
) -> None:
    notices: list[str] = []
    inject(lambda _: kill_an_actor(), {5})
    run = replay_trace(
        decode,
        observer=Blows(kill_an_actor),
        out=tmp_path,
        engine="ray",
        cards_per_actor=CARDS,
        notice=notices.append,
    )

    assert sum("was lost; its work is repeated" in notice for notice in notices) == 2
    assert digests(run) == digests(local)


def test_ranks_of_a_chakra_trace_on_a_plain_network_represent_cards(
    digests: Digests, tmp_path: Path
) -> None:
    ring = tmp_path / "ring.yml"
    ring.write_text("topology: [Ring]\nnpus_count: [8]\nbandwidth: [50]\nlatency: [500]\n", "utf-8")
    columns = {
        "rank": [*range(8), *range(8)],
        "kind": ["vector"] * 8 + ["collective"] * 8,
        "duration_ps": [1000 * rank for rank in range(8)] + [-1] * 8,
        "collective": [""] * 8 + ["all_reduce"] * 8,
        "group": [-1] * 8 + [0] * 8,
        "payload_bytes": [0] * 8 + [1 << 20] * 8,
    }
    program = program_of(columns, [range(8)])
    write_chakra(from_program(program), tmp_path / "chakra")
    scenario = {
        "network": str(ring),
        "workload": {"chakra": str(tmp_path / "chakra")},
        "fabric": {"collectives": "messages"},
        "collectives": {"all_reduce": "ring"},
    }
    here = replay_trace(scenario, out=tmp_path / "here")
    there = replay_trace(scenario, out=tmp_path / "there", engine="ray", cards_per_actor=8)

    assert there.summary["operations"] == 16
    assert digests(there) == digests(here)


@pytest.mark.soak
def test_a_card_of_a_replay_that_is_lost_again_and_again_is_named(
    decode: dict[str, Any],
    inject: Callable[[Fault, set[int]], None],
    kill_an_actor: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("cluster.actors.actor_group.REBUILDS", 1)
    inject(lambda _: kill_an_actor(), {5, 20})

    with pytest.raises(RuntimeError, match=r"card \S* \(and 63 more\) was lost 2") as caught:
        replay_trace(decode, out=tmp_path, engine="ray", cards_per_actor=CARDS)
    assert caught.value.exit_code == 1  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_a_node_removed_while_columns_are_made_changes_nothing(
    two_more_nodes: Any,
    decode: dict[str, Any],
    local: ReplayRun,
    inject: Callable[[Fault, set[int]], None],
    digests: Digests,
    tmp_path: Path,
) -> None:
    notices: list[str] = []
    inject(two_more_nodes.lose, {9})
    run = replay_trace(
        decode, out=tmp_path, engine="ray", cards_per_actor=16, notice=notices.append
    )

    assert "on 3 nodes" in notices[0]
    assert len(two_more_nodes.left) == 1
    assert sum("was lost" in notice for notice in notices) >= 1
    assert digests(run) == digests(local)
