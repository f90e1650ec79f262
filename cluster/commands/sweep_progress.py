"""The progress of a sweep on stderr: done, time left, failures, the best so far; and Ctrl-C."""

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar

from cluster.api.progress import Progress
from cluster.commands.sweep_text import FAVOURITES
from results.compare import BETTER


class SweepStopped(Exception):  # noqa: N818 - not an error: requested by the user
    """Ctrl-C: finished points are kept."""

    exit_code: ClassVar[int] = 130


class SweepProgress(Progress):
    """Observes a sweep."""

    def __init__(self, *, shown: bool, notes: bool) -> None:
        super().__init__("points", shown=shown, notes=notes)
        self._counts: Counter[str] = Counter()
        self._best: tuple[str, float, int] | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finished()
        if kind is KeyboardInterrupt and self.total:
            raise SweepStopped(
                f"stopped; {self.done:,} of {self.total:,} points are stored: repeat the command"
                " or use `corsair-sim sweep resume` to continue"
            ) from error

    def started(self, total: int, done: int = 0) -> None:
        """The sweep has ``total`` points, of which ``done`` are stored."""
        if done:
            self.noted(f"{done:,} of {total:,} points are stored already")
        super().started(total, done)

    def note_of(self, row: Mapping[str, Any]) -> str:
        """Failures so far, and the best point by the first preferred metric that it has."""
        self._counts[row["status"]] += 1
        self._judge(row)
        parts = [
            f"{self._counts[status]:,} {status}"
            for status in ("infeasible", "failed")
            if self._counts[status]
        ]
        if self._best is not None:
            name, value, point = self._best
            parts.append(f"best {name} {value:,.4g} (point {point})")
        return "; ".join(parts)

    def _judge(self, row: Mapping[str, Any]) -> None:
        name = next((name for name in FAVOURITES if row.get(name) is not None), None)
        if name is None or row["status"] != "completed":
            return
        value = float(row[name])
        if self._best is None or (value - self._best[1]) * BETTER.get(name, 1) > 0:
            self._best = (name, value, int(row["point"]))
