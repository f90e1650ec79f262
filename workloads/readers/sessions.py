"""Detects session traces, whose requests wait for others: they are not supported yet."""

import re
from pathlib import Path

from workloads.readers.files import open_trace
from workloads.requests import TraceError

SESSION_KEYS = (
    "sub_requests",
    "delay",
    "delay_ms",
    "delay_s",
    "parent",
    "parent_id",
    "parent_request_id",
    "tool_duration_ns",
)
"""Keys of requests that arrive after another one, not at a time."""

_KEY = re.compile(rb'"(' + "|".join(SESSION_KEYS).encode() + rb')"\s*:\s*(?!null|\s)')


def refuse_sessions(path: Path) -> None:
    """Raise TraceError, with the line, for JSON lines that hold a key of sessions."""
    with open_trace(path) as file:
        for number, line in enumerate(file, start=1):
            found = _KEY.search(line)
            if found:
                raise session_error(path, number, found[1].decode())


def session_error(path: Path, line: int, key: str) -> TraceError:
    """Return the line and key that identify a session trace."""
    return TraceError(
        f"{path}:{line}: found {key!r}: a trace of sessions, whose requests follow one another. "
        "Sessions are not read yet; allowed are requests that all have an arrival time"
    )
