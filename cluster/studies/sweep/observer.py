"""Observers of a sweep."""

from collections.abc import Mapping
from typing import Any, Protocol


class SweepObserver(Protocol):
    """Watches a sweep from outside; the points are the same with it or without."""

    def planned(self, looked_at: int, total: int) -> None:
        """So many points have been looked at."""

    def started(self, total: int, done: int) -> None:
        """The sweep has so many points, of which some are done already."""

    def advanced(self, row: Mapping[str, Any]) -> None:
        """A further point is done: its row of the dataset, with ``status``."""

    def noted(self, text: str) -> None:
        """Something happened that a person may want to know."""


class NullObserver:
    """Watches nothing."""

    def planned(self, looked_at: int, total: int) -> None:
        del looked_at, total

    def started(self, total: int, done: int) -> None:
        del total, done

    def advanced(self, row: Mapping[str, Any]) -> None:
        del row

    def noted(self, text: str) -> None:
        del text


NO_OBSERVER = NullObserver()
