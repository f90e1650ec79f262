"""Folders that appear whole or not at all, whatever happens. Writing is for POSIX.

A folder is built under a hidden name that its process holds locked. The lock is released when the
process dies, also across containers that share a disk, where process numbers are ambiguous.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from corsair_common.files import locked, sync

_HIDDEN = re.compile(r"\.(?P<what>tmp|old)-(?P<name>.+)-\d+(\.\d+)?")


def hidden_folder(root: Path, name: str) -> tuple[Path, int]:
    """Make ``.tmp-<name>-<pid>`` under ``root`` and lock it; also the lock, to be closed at last.

    A second one of the same process gets a number behind a dot.
    """
    root.mkdir(parents=True, exist_ok=True)
    names = _free_names(root, "tmp", name)
    while True:
        path = next(names)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        try:
            lock = _lock_of(path)
        except BaseException:  # Ctrl-C
            shutil.rmtree(path, ignore_errors=True)
            raise
        if lock is not None:
            return path, lock


def publish(folder: Path, name: str) -> Path:
    """Rename a finished folder to ``name`` beside it and replace an old one.

    Two renames, since no portable call swaps folders. A crash between them leaves the old folder
    under a hidden name, where ``standing`` finds it and ``sweep`` restores it.
    """
    root, target = folder.parent, folder.with_name(name)
    aside: list[Path] = []
    while not _renamed(folder, target):
        place = next(path for path in _free_names(root, "old", name) if not path.exists())
        with suppress(FileNotFoundError):  # another writer of the same name has moved it
            if _renamed(target, place):
                aside.append(place)
    sync(root)
    for place in aside:
        shutil.rmtree(place, ignore_errors=True)
    return target


def standing(root: Path, name: str) -> Path | None:
    """The folder of that name, or the one set aside by a crash in ``publish``; None if neither."""
    if (root / name).is_dir():
        return root / name
    aside = [path for path, what, whose in _hidden(root) if what == "old" and whose == name]
    return aside[0] if aside else None


def sweep(root: Path) -> None:
    """Remove leftovers of crashed writers under ``root``; running writers are not affected."""
    for path, what, name in _hidden(root):
        if what == "tmp":
            _remove_if_abandoned(path)
        elif (root / name).exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.rename(root / name)


def _renamed(source: Path, target: Path) -> bool:
    """Whether the rename went through; False where a folder is in the way."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _hidden(root: Path) -> Iterator[tuple[Path, str, str]]:
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        match = _HIDDEN.fullmatch(path.name)
        if match is not None and path.is_dir():
            yield path, match["what"], match["name"]


def _free_names(root: Path, what: str, name: str) -> Iterator[Path]:
    yield root / f".{what}-{name}-{os.getpid()}"
    for number in count(1):
        yield root / f".{what}-{name}-{os.getpid()}.{number}"


def _lock_of(path: Path) -> int | None:
    """Our lock on a new folder; None if another process removed it as abandoned before."""
    with suppress(FileNotFoundError):
        lock = os.open(path, os.O_RDONLY)
        with suppress(FileNotFoundError):
            if locked(lock) is not False and os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)
    return None


def _remove_if_abandoned(path: Path) -> None:
    """Remove a folder whose writer has died, under its lock so that no writer starts in it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if locked(descriptor) is True:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
