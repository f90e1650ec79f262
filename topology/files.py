"""Atomic file writes."""

import os
from pathlib import Path
from typing import ClassVar


class WriteError(OSError):
    """The file cannot be written at this path."""

    exit_code: ClassVar[int] = 2


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, then rename it to ``path``.

    Raises
    ------
    WriteError
        No such folder, no permission, disk full. The old file, if any, is untouched.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        if beside.is_file():
            beside.unlink()
        raise WriteError(f"{target}: cannot be written ({error.strerror})") from None
