"""Observers of a sweep."""

from collections.abc import Mapping
from typing import Any, Protocol


class SweepObserver(Protocol):
    """Observes a sweep; results do not depend on it."""

    def planned(self, looked_at: int, total: int) -> None:
        """``count`` points have been resolved."""

    def started(self, total: int, done: int) -> None:
        """The sweep has ``total`` points, of which some are stored already."""

    def advanced(self, row: Mapping[str, Any]) -> None:
        """A further point is done: its row of the dataset, with ``status``."""

    def noted(self, text: str) -> None:
        """A note for the user."""


class NullObserver:
    """Ignores all events."""

    def planned(self, looked_at: int, total: int) -> None:
        del looked_at, total

    def started(self, total: int, done: int) -> None:
        del total, done

    def advanced(self, row: Mapping[str, Any]) -> None:
        del row

    def noted(self, text: str) -> None:
        del text


NO_OBSERVER = NullObserver()
