"""SIGTERM and SIGHUP end a command as Ctrl-C does: whatever is half-written disappears."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 128 + int(signal.SIGINT)
_received: list[int] = []


@contextmanager
def stops_as_interrupts() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP do what Ctrl-C does, unless they are ignored (nohup).

    Nothing changes outside the main thread, which alone may set handlers.
    """
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with suppress(ValueError):
                before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_code() -> int:
    """Exit code of a stopped command: 130, or 143 and 129 if a signal asked for it."""
    return 128 + _received[-1] if _received else INTERRUPTED


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    raise KeyboardInterrupt  # Ctrl-C is ignored: a command in the background
