"""Folders that only this user can change: what is loaded from them may be executed."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CACHE_VARIABLE = "CORSAIR_SIM_CACHE"
"""Environment variable: the folder of machine code and of parsed files."""


def private_temporary() -> Path | None:
    """A temporary folder that no other user can write: machine code is loaded from it."""
    try:
        if not hasattr(os, "getuid"):
            return Path(tempfile.mkdtemp(prefix="corsair-sim-"))
        folder = Path(tempfile.gettempdir()) / f"corsair-sim-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    mine = status.st_uid == os.getuid() and status.st_mode & 0o077 == 0
    return folder if mine and not folder.is_symlink() else None


class SharedFolderError(Exception):
    """A folder that another user could change; names it, and the reason."""


def private(root: Path, name: str) -> Path:
    """``root / name``, created if missing, provided that no other user can change its contents.

    ``root`` is a real path, without symbolic links. It and what is below must belong to this user,
    and no other user may write it. Folders above may be root's, too, and may be written by others
    where these cannot rename what is not theirs (the sticky bit). Whoever could change the root of
    the file system could change Python itself, so that is not looked at.

    Raises
    ------
    SharedFolderError
        Somebody else could.
    OSError
        It cannot be made, or not be written.
    """
    folder = root / name
    for place in (*reversed(folder.parents), folder):
        if place.parent == place:
            continue
        with suppress(FileExistsError):
            if not os.path.lexists(place):
                place.mkdir(mode=0o700)
        _refuse_shared(place, own=place in (root, folder))
    if hasattr(os, "getuid") and stat.S_IMODE(folder.lstat().st_mode) & 0o077:
        folder.chmod(0o700)  # what numba makes inside may be as open as the umask has it
    tempfile.TemporaryFile(dir=folder).close()
    return folder


def _refuse_shared(place: Path, *, own: bool) -> None:
    """Raise if another user could write ``place``, or rename its contents.

    ``own`` folders must be this user's alone. Where folders have no owner, nothing is refused.
    """
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode):  # nor a link: it was created since paths were resolved
        raise NotADirectoryError(f"{place} is no folder")
    if not hasattr(os, "getuid"):
        return
    user = os.getuid()
    if status.st_uid != user and (own or status.st_uid != 0):
        raise SharedFolderError(f"{place} belongs to user {status.st_uid}, not to {user}")
    sticky = status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (own or not sticky):
        mend = "; chmod go-w makes it safe" if status.st_uid == user else ""
        mode = stat.S_IMODE(status.st_mode)
        raise SharedFolderError(f"others can write {place} (mode {mode:o}{mend})")


def cache_roots() -> Iterator[Path]:
    """Candidate folders of what is kept between runs, best first."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        yield Path(chosen).expanduser()
    user = _user_cache()
    if user is not None:
        yield user / "corsair-sim"
    temporary = private_temporary()
    if temporary is not None:
        yield temporary


def _user_cache() -> Path | None:
    """The platform's folder for caches of this user."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        value = os.environ.get(variable)
        if value and Path(value).is_absolute():
            return Path(value)
    try:
        home = Path.home()
    except RuntimeError:  # no home is known for this user
        return None
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
