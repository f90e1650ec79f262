"""Parts that actors are running now."""

import ray

from cluster.actors.actor_group import Lost, Ref, fetch
from cluster.actors.worker import Progress
from cluster.serving.interface import Observer


class InFlight:
    """Calls under way, each of which advances a part by one window; watched as one run."""

    def __init__(self, observer: Observer | None, requests: int) -> None:
        self._observer = observer
        self._calls: dict[Ref, tuple[int, Ref]] = {}
        self._last: dict[int, Progress] = {}
        if observer is not None:
            observer.started(requests)

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, number: int, answers: tuple[Ref, Ref]) -> None:
        """Await the progress of a part and the window of its log."""
        progress, window = answers
        self._calls[progress] = number, window

    def land(self) -> tuple[int, Progress | None, Ref]:
        """Wait for any part; its number, how far it is (None: lost), and the window."""
        ready, _ = ray.wait(list(self._calls), num_returns=1)
        number, window = self._calls.pop(ready[0])
        try:
            progress: Progress = fetch(ready[0])
        except Lost:
            return number, None, window
        self._last[number] = progress
        if self._observer is not None:
            far = self._last.values()
            self._observer.advanced(
                max(part.now_ps for part in far),
                sum(part.done for part in far),
                sum(part.tokens for part in far),
            )
        return number, progress, window

    def end(self) -> None:
        if self._observer is not None:
            self._observer.finished()
