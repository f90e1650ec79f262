"""Engines of a sweep: this process, or Ray tasks. Both give the same results."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import Scenario
from cluster.serving.run import Machine
from cluster.studies.sweep.points import NO_REQUESTS, Point
from cluster.studies.sweep.run_point import Result, Terms, Workshop
from cluster.studies.sweep.schedule import Chunk, Schedule
from corsair_common.lru import LruCache
from workloads.requests import Requests

if TYPE_CHECKING:
    from cluster.actors.tasks import Answer, Ref, TaskPool

Contents: TypeAlias = Callable[[Point], Resolved | Scenario]
"""Returns the resolved content of a point."""
Outcomes: TypeAlias = Iterator[tuple[Point, Result]]

WAIT_S = 0.2
GRACE_S = 30.0
"""Beyond the points' own time-outs, before the process of a chunk is killed: a worker may have to
start and to compile."""
SHARED_MACHINES = 64
SHARED_TRAFFIC = 16


def run_here(points: Sequence[Point], contents: Contents, terms: Terms, retries: int) -> Outcomes:
    """Runs one point after the other, points of the same cluster together.

    A point that kills its process ends the sweep; stored points remain, and ``--engine ray``
    survives it.
    """
    workshop, schedule = Workshop(), Schedule(points, 1)
    while (chunk := schedule.next()) is not None:
        for point in chunk.points:
            result = workshop.run(contents(point), terms)
            for _ in range(retries):
                if not result.poisoned:
                    break
                result = workshop.run(contents(point), terms)
            yield point, result
        schedule.done(chunk, len(chunk.points))


class RayEngine:
    """Runs points as Ray tasks, in chunks of about half a second; lost ones are retried singly."""

    def __init__(
        self,
        pool: "TaskPool[Chunk]",
        contents: Contents,
        terms: Terms,
        *,
        retries: int,
        notice: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._contents = contents
        self._terms = terms
        self._retries = retries
        self._notice = notice
        self._machines = LruCache[Any](SHARED_MACHINES)
        self._traffic = LruCache[tuple[Requests, Any]](SHARED_TRAFFIC)
        self._tries: Counter[int] = Counter()

    def run(self, points: Sequence[Point]) -> Outcomes:
        """Every point with its result, in order of completion."""
        schedule = Schedule(points, self._pool.workers)
        while len(schedule) or len(self._pool):
            while len(self._pool) < self._room() and (chunk := schedule.next()) is not None:
                self._submit(chunk)
            for answer in self._pool.answers(WAIT_S):
                yield from self._taken(schedule, answer)

    def _room(self) -> int:
        """Concurrent tasks: one more than workers, unless their time is measured."""
        return self._pool.workers + (0 if self._terms.timeout_s else 1)

    def _submit(self, chunk: Chunk) -> None:
        shared: dict[Any, int] = {}
        jobs = [(point.machine_id, *self._packed(point, shared)) for point in chunk.points]
        known = {point.machine_id: self._machines.find(point.machine_id) for point in chunk.points}
        machines = list(dict.fromkeys(ref for ref in known.values() if ref is not None))
        limit_s = self._terms.timeout_s
        end_s = None if limit_s is None else limit_s * len(chunk.points) + GRACE_S
        self._pool.submit(
            chunk,
            jobs,
            (self._terms, chunk.wanted),
            len(shared),
            *shared,
            *machines,
            end_after_s=end_s,
        )

    def _packed(self, point: Point, shared: "dict[Ref, int]") -> tuple[Resolved | Scenario, int]:
        """A point's content without its requests, which are in the object store once."""
        content = self._contents(point)
        if isinstance(content, Scenario):
            return content, -1
        requests = content.requests
        _, ref = self._traffic.get(id(requests), lambda: (requests, self._pool.put(requests)))
        return content.carrying(NO_REQUESTS), shared.setdefault(ref, len(shared))

    def _taken(self, schedule: Schedule, answer: "Answer[Chunk]") -> Outcomes:
        chunk = answer.key
        if answer.lost is not None:
            yield from self._lost(schedule, chunk, answer.lost)
            return
        results, assembled, seconds = answer.value
        for machine_id in assembled:
            self._machines.keep(machine_id, answer.shared)
        schedule.done(chunk, seconds)
        for point, result in zip(chunk.points, results, strict=True):
            if result.poisoned and self._again(point):
                schedule.again([point])
            else:
                yield point, result

    def _lost(self, schedule: Schedule, chunk: Chunk, why: str) -> Outcomes:
        """Retry the points of a chunk, one by one, except a point that has no retries left."""
        self._machines.clear()  # one of them may be lost with its node
        (first, *others) = chunk.points
        if others:
            self._notice(f"ray: {len(chunk.points)} points are retried: {why}")
            schedule.again(chunk.points)
        elif self._again(first):
            self._notice(f"ray: point {first.number} is retried: {why}")
            schedule.again([first])
        else:
            times = f"{1 + self._retries} times" if self._retries else "once"
            yield first, Result(status="failed", reason=f"{why} (tried {times})", poisoned=True)

    def _again(self, point: Point) -> bool:
        """Whether a point has retries left."""
        self._tries[point.number] += 1
        return self._tries[point.number] <= self._retries


def run_chunk(
    jobs: Sequence[tuple[str, Resolved | Scenario, int]],
    terms: tuple[Terms, frozenset[str]],
    traces: int,
    *shared: Any,
) -> tuple[tuple[list[Result], list[str], float], dict[str, Machine]]:
    """Run points in a worker; ``shared`` are their requests, then clusters.

    Returns the results, which of the wanted clusters were assembled, the duration, and, separately,
    those clusters.
    """
    workshop, (common, wanted) = _workshop(), terms
    requests, handed = shared[:traces], shared[traces:]
    for machines in handed:
        for machine_id, machine in machines.items():
            if workshop.machine(machine_id) is None:
                workshop.take(machine_id, machine)
    results = []
    for _, content, trace in jobs:
        whole = content if isinstance(content, Scenario) else content.carrying(requests[trace])
        results.append(workshop.run(whole, common))
    made = {name: workshop.machine(name) for name in sorted(wanted)}
    found = {name: machine for name, machine in made.items() if machine is not None}
    seconds = math.fsum(result.seconds or 0.0 for result in results)
    return (results, list(found), seconds), found


@cache
def _workshop() -> Workshop:
    """The cache of this worker's process; assembled clusters are reused between chunks."""
    return Workshop()
