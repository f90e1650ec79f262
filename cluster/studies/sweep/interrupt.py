"""Ctrl-C handling that survives compiled code."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Records that Ctrl-C was pressed, in case its exception is swallowed."""

    def __init__(self) -> None:
        self.interrupted = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was pressed."""
        if self.interrupted:
            raise KeyboardInterrupt

    def pressed(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.interrupted = True
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Record Ctrl-C inside this block; only in the main thread."""
    interrupt = Interrupt()
    usual = threading.current_thread() is threading.main_thread()
    if not usual or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt.pressed)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
