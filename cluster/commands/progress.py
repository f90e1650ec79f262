"""A progress bar on stderr, fed between the engine's windows."""

import sys
from typing import Any

from corsair_common.units import PS_PER_S


class Bar:
    """Shows what is done and simulated time; draws only on a terminal."""

    def __init__(self, *, shown: bool, what: str = "requests") -> None:
        self._what = what
        self._shown = shown and sys.stderr.isatty()
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *failure: object) -> None:
        self.finished()

    def started(self, total: int, /) -> None:
        if not self._shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._progress = Progress(
            TextColumn(self._what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[clock]}"),
            Remaining(),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=total, clock="")

    def advanced(self, now_ps: int, done: int, tokens: int | None = None) -> None:
        if self._progress is not None:
            clock = f"simulated {now_ps / PS_PER_S:,.3g} s"
            clock += "" if tokens is None else f", {tokens:,} tokens"
            self._progress.update(self._task, completed=done, clock=clock)

    def finished(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
