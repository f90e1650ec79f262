"""The progress of a sweep on stderr: done, rate, time left, failures, the best so far."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from cluster.commands import terminal
from cluster.commands.sweep_text import FAVOURITES
from results.compare import BETTER

PLAIN_S = 10.0
"""Seconds between lines if stderr is not a terminal."""
LOOK = 1000
"""Least number of points for a progress line while resolving."""


class SweepStopped(Exception):  # noqa: N818 - not an error: requested by the user
    """Ctrl-C: finished points are kept."""

    exit_code: ClassVar[int] = 130


class SweepProgress:
    """A status line that is overwritten; without a terminal, a line from time to time."""

    def __init__(self, *, shown: bool, notes: bool) -> None:
        self._shown = shown
        self._notes = notes
        self._terminal = sys.stderr.isatty()
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._before = 0
        self._ran = 0
        self._began_s = self._printed_s = time.monotonic()
        self._best: tuple[str, float, int] | None = None
        self._drawn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wipe()
        if kind is KeyboardInterrupt and self._total:
            kept = self._before + sum(self._counts.values())
            raise SweepStopped(
                f"stopped; {kept:,} of {self._total:,} points are stored: repeat the command"
                " or use `corsair-sim sweep resume` to continue"
            ) from error

    def planned(self, looked_at: int, total: int) -> None:
        if self._shown and self._terminal and looked_at % LOOK == 0:
            self._draw(f"resolving points: {looked_at:,} of {total:,}")

    def started(self, total: int, done: int) -> None:
        self._total, self._before = total, done
        self._began_s = time.monotonic()
        if done:
            self.noted(f"{done:,} of {total:,} points are stored already")

    def advanced(self, row: Mapping[str, Any]) -> None:
        self._counts[row["status"]] += 1
        self._ran += row.get("seconds") is not None
        self._judge(row)
        now_s = time.monotonic()
        if self._shown and now_s - self._printed_s > (0.2 if self._terminal else PLAIN_S):
            self._printed_s = now_s
            self._draw(self.line(now_s))

    def noted(self, text: str) -> None:
        if self._notes:
            self._wipe()
            terminal.note(text)

    def line(self, now_s: float) -> str:
        """The current status line."""
        done = self._before + sum(self._counts.values())
        rate = self._ran / max(now_s - self._began_s, 1e-9)
        left = f", {_clock((self._total - done) / rate)} left" if rate and self._ran else ""
        bad = self._counts["failed"]
        parts = [f"{done:,} of {self._total:,} points, {rate:.1f}/s{left}"]
        if self._counts["infeasible"]:
            parts.append(f"{self._counts['infeasible']:,} infeasible")
        if bad:
            parts.append(f"{bad:,} failed")
        if self._best is not None:
            name, value, point = self._best
            parts.append(f"best {name} {value:,.4g} (point {point})")
        return "; ".join(parts)

    def _judge(self, row: Mapping[str, Any]) -> None:
        """Record the best point by the first preferred metric that it has."""
        name = next((name for name in FAVOURITES if row.get(name) is not None), None)
        if name is None or row["status"] != "completed":
            return
        value = float(row[name])
        if self._best is None or (value - self._best[1]) * BETTER.get(name, 1) > 0:
            self._best = (name, value, int(row["point"]))

    def _draw(self, text: str) -> None:
        if not self._terminal:
            terminal.note(text)
            return
        sys.stderr.write(f"\r{text.ljust(self._drawn)}")
        sys.stderr.flush()
        self._drawn = len(text)

    def _wipe(self) -> None:
        if self._drawn:
            sys.stderr.write(f"\r{' ' * self._drawn}\r")
            sys.stderr.flush()
            self._drawn = 0


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
