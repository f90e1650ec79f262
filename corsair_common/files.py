"""Files that appear whole or not at all."""

import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar

OLD_S = 60.0
"""Age of a temporary file at which it is removed if its lock is free, in seconds."""
UNLOCKED_OLD_S = 86_400.0
"""The same on a file system without locks."""


class WriteError(OSError):
    """A file that cannot be written where the user wants it."""

    exit_code: ClassVar[int] = 2


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that replaces ``path`` at the end, or leaves no trace if the block fails.

    Until then it has an unpredictable name beside ``path`` and is locked; what killed processes
    left of such files of this name is removed.

    Raises
    ------
    OSError
        No such folder, no permission, disk full. The old file, if any, is untouched.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a device or pipe; name a file", str(path))
    _remove_leftovers(path)
    part = path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            locked(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # what is to be reported is why the write failed
            part.unlink(missing_ok=True)
    sync(path.parent)


def locked(descriptor: int) -> bool | None:
    """Whether we hold the lock of a file or folder now; None if the file system has no locks.

    Others see it, also in another container, until it is closed or the process dies.
    """
    try:
        import fcntl  # POSIX's alone, and reading runs shall work elsewhere too

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` that no process holds and that are not new."""
    with suppress(OSError):
        for part in path.parent.glob(f".tmp-{glob.escape(path.name)}-*"):
            descriptor = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                held = locked(descriptor)
                age_s = time.time() - os.fstat(descriptor).st_mtime
                if age_s > (OLD_S if held else UNLOCKED_OLD_S) and held is not False:
                    part.unlink()
            finally:
                os.close(descriptor)


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
