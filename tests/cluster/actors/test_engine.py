"""The same bits on a real Ray, whatever happens to its processes."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
import pytest

from cluster import Run, load, simulate

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own processes and sockets
]

Digests: TypeAlias = Callable[[Run], dict[str, str]]
Fault: TypeAlias = Callable[[Any], None]
LEAST = {"router": "least_outstanding"}
MTP = {"method": "mtp", "num_speculative_tokens": 2, "acceptance": {"rate": 0.6}}
STEPS = {"router": "random", "store": {"steps": True, "bins": 16}}


@pytest.fixture
def on_ray(tmp_path: Path, four_replicas: Mapping[str, Any]) -> Callable[..., Run]:
    """Run the scenario on the tests' Ray, with these keys of it changed."""

    def run(cards_per_actor: int, notices: list[str] | None = None, **overrides: Any) -> Run:
        return simulate(
            load(four_replicas, **overrides),
            out=tmp_path,
            engine="ray",
            cards_per_actor=cards_per_actor,
            notice=print if notices is None else notices.append,
        )

    return run


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault, int], list[int]]:
    """Inject a fault into the actor group at each of the first ``times`` windows; counts
    them."""

    def prepare(fault: Fault, times: int) -> list[int]:
        from cluster.actors import executor
        from cluster.actors.executor import PartLog

        take, fallen = PartLog.take, [0]

        def take_and_strike(log: PartLog) -> Any:
            taken = take(log)
            if fallen[0] < times:
                fallen[0] += 1
                fault(log._actor_group)
            return taken

        monkeypatch.setattr(executor, "BATCH_ROWS", 200)
        monkeypatch.setattr(PartLog, "take", take_and_strike)
        return fallen

    return prepare


@pytest.mark.parametrize(
    ("cards_per_actor", "overrides"),
    [(16, {}), (8, STEPS | {"speculative": MTP}), pytest.param(2, {}, marks=pytest.mark.soak)],
    ids=["one-actor", "two-actors-steps-and-drafts", "eight-actors"],
)
def test_actors_give_the_bits_of_one_process(
    cards_per_actor: int,
    overrides: dict[str, Any],
    on_ray: Callable[..., Run],
    local_run: Callable[..., Run],
    digests: Digests,
) -> None:
    local, notices = local_run(**overrides), list[str]()
    run = on_ray(cards_per_actor, notices, **overrides)

    assert run.requests["cached_tokens"].sum() > 0  # type: ignore[union-attr]
    assert digests(run) == digests(local)
    assert run.summary == local.summary
    assert f"16 cards in {16 // cards_per_actor} actors ({cards_per_actor} per" in notices[0]


@pytest.mark.parametrize(
    "overrides", [LEAST, pytest.param({}, marks=pytest.mark.soak)], ids=["one-part", "parts"]
)
def test_an_actor_killed_mid_run_changes_nothing(
    overrides: dict[str, Any],
    on_ray: Callable[..., Run],
    local_run: Callable[..., Run],
    inject: Callable[[Fault, int], list[int]],
    kill_an_actor: Callable[[], None],
    digests: Digests,
) -> None:
    notices: list[str] = []
    fallen = inject(lambda _: kill_an_actor(), 1)
    run = on_ray(8, notices, **overrides)

    assert fallen == [1]
    assert sum("was lost; its work is repeated" in notice for notice in notices) == 1
    assert digests(run) == digests(local_run(**overrides))


@pytest.mark.soak
@pytest.mark.parametrize("overrides", [LEAST, STEPS, {}], ids=["one-part", "steps", "parts"])
def test_actors_killed_at_random_change_nothing(
    overrides: dict[str, Any],
    on_ray: Callable[..., Run],
    local_run: Callable[..., Run],
    inject: Callable[[Fault, int], list[int]],
    digests: Digests,
) -> None:
    rng, notices = np.random.default_rng(0), list[str]()
    left = dict.fromkeys(range(4), 2)

    def kill_one(group: Any) -> None:
        actor = int(rng.integers(4))
        if rng.random() < 0.3 and left[actor]:
            left[actor] -= 1
            with suppress(psutil.NoSuchProcess):
                psutil.Process(group.fetch(*group.call(actor, os.getpid))).kill()

    inject(kill_one, 1000)
    run = on_ray(4, notices, **overrides)

    assert sum(left.values()) < 8
    assert sum("was lost" in notice for notice in notices) > 0
    assert digests(run) == digests(local_run(**overrides))


@pytest.mark.soak
def test_a_card_that_is_lost_again_and_again_is_named(
    on_ray: Callable[..., Run],
    inject: Callable[[Fault, int], list[int]],
    kill_an_actor: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("cluster.actors.actor_group.REBUILDS", 1)
    inject(lambda _: kill_an_actor(), 1000)

    with pytest.raises(RuntimeError, match=r"card \S* \(and 15 more\) was lost 2") as caught:
        on_ray(16, **LEAST)
    assert caught.value.exit_code == 1  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_an_actor_that_cannot_be_made_is_no_loss_but_an_error() -> None:
    from cluster.actors.actor_group import ActorGroup, ActorGroupError
    from cluster.actors.placement import pack
    from cluster.actors.worker import WorkerState

    nothing: Any = {0: None}  # instead of a card: its actor fails in the making
    actor_group = ActorGroup(pack({0: 0}, 1, cpus=1), WorkerState, nothing, print, at_once=1)
    with pytest.raises(
        ActorGroupError, match="cannot be created on its node: AttributeError: "
    ) as caught:
        actor_group.create_actors()
    actor_group.release()

    assert caught.value.exit_code == 3


def test_lost_results_without_a_lost_actor_end_the_run(
    on_ray: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.actors import executor

    rounds: list[int] = []

    def close(_executor: object, actors: set[int]) -> set[int]:
        rounds.append(len(actors))
        return set()

    monkeypatch.setattr(executor.Executor, "_close", close)
    with pytest.raises(RuntimeError, match="Ray loses objects repeatedly") as caught:
        on_ray(16)

    assert rounds == [1] * (1 + executor.MAX_INCOMPLETE_ROUNDS)
    assert caught.value.exit_code == 3  # type: ignore[attr-defined]


@pytest.mark.soak
def test_a_node_removed_mid_run_changes_nothing(
    two_more_nodes: Any,
    on_ray: Callable[..., Run],
    local_run: Callable[..., Run],
    inject: Callable[[Fault, int], list[int]],
    digests: Digests,
) -> None:
    notices: list[str] = []
    inject(two_more_nodes.lose, 1)
    run = on_ray(8, notices, **LEAST)

    assert "on 2 nodes" in notices[0]
    assert len(two_more_nodes.left) == 1
    assert sum("was lost" in notice for notice in notices) == 1
    assert digests(run) == digests(local_run(**LEAST))


@pytest.mark.soak
def test_a_lost_actor_that_finds_no_node_is_an_error(
    ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.actors import actor_group as module
    from cluster.actors.placement import pack

    monkeypatch.setattr(module, "BUNDLE", {"island": 1})
    island = ray_cluster.add_node(num_cpus=1, resources={"island": 1})
    group = module.ActorGroup(pack({0: 0}, 1, cpus=1), tuple, {0: None}, print, at_once=1)
    assert group.create_actors() == 1
    process = psutil.Process(group.fetch(*group.call(0, os.getpid)))
    monkeypatch.setattr(module, "PLACING_S", 2.0)
    ray_cluster.remove_node(island, allow_graceful=False)
    psutil.wait_procs([process], timeout=30)
    with pytest.raises(module.ActorGroupError, match="has found no node within 2 s"):
        group.fetch(*group.call(0, abs, -1))
    group.release()
