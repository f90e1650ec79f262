"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar


class WriteError(OSError):
    """A file that cannot be written where the user wants it."""

    exit_code: ClassVar[int] = 2


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that replaces ``path`` at the end, or leaves no trace if the block fails.

    Raises
    ------
    OSError
        No such folder, no permission, disk full. The old file, if any, is untouched.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    part = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # what is to be reported is why the write failed
            part.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: OSError) -> str:
    """Why the system refused, in its own words, without the path."""
    return error.strerror or str(error)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, whole or not at all, over whatever stood there.

    Raises
    ------
    WriteError
        As for ``replacing``.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({reason(error)})") from None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, as ``write_bytes`` does."""
    write_bytes(path, text.encode())
