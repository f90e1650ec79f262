"""Schedules points in chunks of about half a second; each cluster is assembled once."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.studies.sweep.points import Point

CHUNK_S = 0.5
"""Target duration of a chunk: long compared with the milliseconds of sending it."""
MOST_PER_CHUNK = 256
NEWEST = 0.3
"""Weight of the newest chunk in the running mean of a point's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Points that are run one after the other in one task."""

    points: tuple[Point, ...]
    wanted: frozenset[str] = frozenset()
    """Clusters that other points need; the worker that assembles one shares it."""
    alone: bool = False
    """A single point, since it may have killed the process of its chunk."""


class Schedule:
    """Issues chunks, points of one cluster together.

    While a cluster is being assembled, points of other clusters go first, so that no two workers
    assemble the same one unless no other points are left.
    """

    def __init__(self, points: Iterable[Point], workers: int) -> None:
        self._workers = max(1, workers)
        self._groups: dict[str, deque[Point]] = {}
        self._count = 0
        for point in points:
            self._groups.setdefault(_group(point), deque()).append(point)
            self._count += 1
        self._suspects: deque[Point] = deque()
        self._building: set[str] = set()
        self._built: set[str] = set()
        self._mean_s: float | None = None

    def __len__(self) -> int:
        """Number of points not yet issued."""
        return self._count

    def next(self) -> Chunk | None:
        """The next points to run; None when all are issued."""
        if self._suspects:
            self._count -= 1
            return Chunk(points=(self._suspects.popleft(),), alone=True)
        size = self._size()
        chosen: list[Point] = []
        groups: list[str] = []
        while len(chosen) < size and self._groups:
            group = self._ready() or ("" if chosen else next(iter(self._groups)))
            if not group:
                break
            chosen += self._taken(group, size - len(chosen))
            groups.append(group)
        if not chosen:
            return None
        fresh = set(groups) - self._built
        self._building |= fresh
        wanted = frozenset(group for group in fresh if group in self._groups)
        return Chunk(points=tuple(chosen), wanted=wanted)

    def done(self, chunk: Chunk, seconds: float) -> None:
        """Record a finished chunk and its duration."""
        each_s = seconds / len(chunk.points)
        old_s = each_s if self._mean_s is None else self._mean_s
        self._mean_s = old_s + NEWEST * (each_s - old_s)
        groups = {_group(point) for point in chunk.points}
        self._building -= groups
        self._built |= groups & self._groups.keys()

    def again(self, points: Sequence[Point]) -> None:
        """Retry these points, each in its own chunk."""
        self._building -= {_group(point) for point in points}
        self._suspects.extend(points)
        self._count += len(points)

    def _size(self) -> int:
        """Points of the next chunk; fewer towards the end, so that all workers end together."""
        if self._mean_s is None:
            return 1
        fair = -(-self._count // (2 * self._workers))
        of_length = round(CHUNK_S / max(self._mean_s, 1e-6))
        return max(1, min(of_length, MOST_PER_CHUNK, fair))

    def _ready(self) -> str:
        """The first group whose cluster is not being assembled; empty if there is none."""
        return next((group for group in self._groups if group not in self._building), "")

    def _taken(self, group: str, most: int) -> list[Point]:
        waiting = self._groups[group]
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        self._count -= len(taken)
        if not waiting:
            del self._groups[group]
            self._built.discard(group)
        return taken


def _group(point: Point) -> str:
    """Points of the same machine; operation traces share none."""
    return point.machine_id or f"point {point.number}"
