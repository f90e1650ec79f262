"""The progress bar of every command and study, with the time left.

On a terminal it is drawn with rich, in a notebook with tqdm; elsewhere a few plain lines say how
far it is, each after twice the time of the one before.
"""

import sys
import time
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from corsair_common.units import PS_PER_S

PLAIN_S = 10.0
"""Seconds until the first plain line."""


class Drawn(Protocol):
    """A place where a bar is drawn."""

    def update(self, done: int, total: int | None, note: str) -> None:
        """Show this; ``total`` is None where it is not known."""

    def write(self, text: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """End the bar."""


class Progress:
    """A bar that observes a run, a replay, a sweep, a plan or a search, and does not affect it.

    Pass it as ``observer`` of ``simulate``, ``replay``, ``sweep`` and ``sensitivity``, and as
    ``progress`` of ``plan``.
    """

    def __init__(self, what: str = "requests", *, shown: bool = True, notes: bool = True) -> None:
        self.what = what
        self._shown = shown
        self._notes = notes
        self._bar: Drawn | None = None
        self.done = 0
        self.total: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finished()

    def __call__(self, done: int, of: int) -> None:
        """So many are done: the callback of ``plan``."""
        self.reached(done, of)

    def planned(self, looked_at: int, total: int) -> None:
        """A sweep has resolved so many points; too quick for a bar."""

    def started(self, total: int, done: int = 0) -> None:
        """A run, replay or sweep has begun, perhaps after another."""
        self.finished()
        self.reached(done, total)

    def advanced(
        self, event: int | Mapping[str, Any], done: int = 0, tokens: int | None = None
    ) -> None:
        """A run is at this time with so many done, or a sweep has a further row."""
        if isinstance(event, Mapping):
            self.reached(self.done + 1, self.total, self.note_of(event))
            return
        clock = f"simulated {event / PS_PER_S:,.3g} s"
        clock += "" if tokens is None else f", {tokens:,} tokens"
        self.reached(done, self.total, clock)

    def noted(self, text: str) -> None:
        """A note for the user, printed above the bar."""
        if self._notes and self._bar is not None:
            self._bar.write(text)
        elif self._notes:
            _line(text)

    def finished(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def reached(self, done: int, total: int | None, note: str = "") -> None:
        """So many of ``total`` (None: not known) are done."""
        self.done, self.total = done, total
        if not self._shown:
            return
        if self._bar is None:
            self._bar = _bar(self.what)
        self._bar.update(done, total, note)

    def note_of(self, row: Mapping[str, Any]) -> str:
        """What to say beside the bar after a row of a sweep."""
        del row
        return ""


def _bar(what: str) -> Drawn:
    if _in_notebook():
        return _NotebookBar(what)
    return _TerminalBar(what) if sys.stderr.isatty() else _PlainLines(what)


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    made = getattr(shell, "get_ipython", lambda: None)()
    return type(made).__name__ == "ZMQInteractiveShell"


class _TerminalBar:
    """On stderr, and gone at the end."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bars.add_task("", total=None, note="")
        self._bars.start()

    def update(self, done: int, total: int | None, note: str) -> None:
        self._bars.update(self._task, completed=done, total=total, note=note)

    def write(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()


class _NotebookBar:
    def __init__(self, what: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without widgets it is drawn as text
            from tqdm.auto import tqdm

            self._bar: Any = tqdm(desc=what, leave=False)

    def update(self, done: int, total: int | None, note: str) -> None:
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def write(self, text: str) -> None:
        self._bar.write(text)

    def close(self) -> None:
        self._bar.close()


class _PlainLines:
    """Without a terminal: a line after 10 s, and after each doubling of the time."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began_s = time.monotonic()
        self._next_s = PLAIN_S
        self._first: tuple[float, int] | None = None
        """When anything was done first, and how much: what comes before (compiling) says nothing
        about the rest."""

    def update(self, done: int, total: int | None, note: str) -> None:
        took_s = time.monotonic() - self._began_s
        if done and self._first is None:
            self._first = took_s, done
        if took_s < self._next_s:
            return
        self._next_s = 2 * took_s
        text = f"{done:,} {self._what}" if total is None else f"{done:,} of {total:,} {self._what}"
        if total and self._first is not None and done > self._first[1]:
            since_s, before = self._first
            text += f", about {clock((took_s - since_s) / (done - before) * (total - done))} left"
        _line(f"{text}; {note}" if note else text)

    def write(self, text: str) -> None:
        _line(text)

    def close(self) -> None:
        return


def clock(seconds: float) -> str:
    """A duration in words: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _line(text: str) -> None:
    sys.stderr.write(text.rstrip("\n") + "\n")
