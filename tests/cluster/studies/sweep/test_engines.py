"""Handling of lost chunks, without Ray: a pool that loses chosen chunks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import load
from cluster.scenario.resolve import resolve
from cluster.studies.sweep.engines import RayEngine, run_chunk
from cluster.studies.sweep.points import NO_REQUESTS, Point
from cluster.studies.sweep.run_point import Result, Terms, Workshop
from cluster.studies.sweep.schedule import Chunk

RESOLVED = resolve(
    load(
        {
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "workload": {"synthetic": {"requests": 3, "preset": "azure-conv-2023"}},
        }
    )
)
TERMS = Terms(metrics=("completed",), timeout_s=None, runs=None)


class Held:
    """What a reference refers to."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Flaky:
    """Stands for a pool of two workers; chunks that hold a point of ``deadly`` are lost."""

    workers = 2
    session = None

    def __init__(self, deadly: Callable[[int], bool]) -> None:
        self._deadly = deadly
        self._flying: list[tuple[Chunk, tuple[Any, ...]]] = []
        self.lost: list[list[int]] = []

    def __len__(self) -> int:
        return len(self._flying)

    def put(self, value: object) -> Held:
        return Held(value)

    def submit(self, chunk: Chunk, *args: Any, end_after_s: float | None = None) -> None:
        assert end_after_s is None
        self._flying.append((chunk, tuple(a.value if isinstance(a, Held) else a for a in args)))

    def answers(self, timeout_s: float) -> Iterator[Any]:
        from cluster.actors.tasks import Answer

        assert timeout_s > 0
        chunk, args = self._flying.pop(0)
        numbers = [point.number for point in chunk.points]
        if any(self._deadly(number) for number in numbers):
            self.lost.append(numbers)
            yield Answer(key=chunk, lost="its process died")
            return
        value, shared = run_chunk(*args)
        yield Answer(key=chunk, value=value, shared=Held(shared))


@pytest.fixture
def outcome() -> Callable[..., tuple[dict[int, Result], Flaky]]:
    def run(count: int, deadly: Callable[[int], bool]) -> tuple[dict[int, Result], Flaky]:
        pool: Any = Flaky(deadly)
        engine = RayEngine(pool, lambda _: RESOLVED, TERMS, retries=2, notice=lambda _: None)
        points = [
            Point(number=n, run_id=str(n), machine_id=RESOLVED.machine_id) for n in range(count)
        ]
        return {point.number: result for point, result in engine.run(points)}, pool

    return run


def test_a_poisoned_point_is_tried_alone_then_recorded_and_the_rest_goes_on(
    outcome: Callable[..., tuple[dict[int, Result], Flaky]],
) -> None:
    found, pool = outcome(40, lambda number: number == 7)

    assert found[7].status == "failed"
    assert found[7].reason == "its process died (tried 3 times)"
    assert {found[number].status for number in range(40) if number != 7} == {"completed"}
    assert pool.lost[-3:] == [[7], [7], [7]]


def test_each_point_is_answered_once(
    outcome: Callable[..., tuple[dict[int, Result], Flaky]],
) -> None:
    found, _ = outcome(5, lambda _: False)

    assert {
        number: result.metrics["completed"] for number, result in found.items()
    } == dict.fromkeys(range(5), 3)


def test_requests_travel_beside_contents_also_of_pools() -> None:
    pool = {"cards": 4, "plan": {"tensor_parallel_size": 4}}
    pools = {"prefill": pool, "decode": pool}
    divided = resolve(
        load(
            {
                "model": "llama-3.1-8b",
                "pools": pools,
                "formats": {"weights": "mxint4"},
                "workload": {"synthetic": {"requests": 3, "preset": "azure-conv-2023"}},
            }
        )
    )
    light = divided.carrying(NO_REQUESTS)
    jobs = [(light.machine_id, light, 0)]
    (results, _, _), _ = run_chunk(jobs, (TERMS, frozenset()), 1, divided.requests)

    assert light.pools is not None
    assert [len(part.requests) for part in (light, *light.pools)] == [1, 1, 1]
    assert results[0].metrics == Workshop().run(divided, TERMS).metrics == {"completed": 3}
