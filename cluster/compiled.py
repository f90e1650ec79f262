"""The only import of numba: ``@compiled`` functions, and the cache of their machine code.

numba's disk cache looks only at the file of the function itself, so an edited helper, or an edited
constant, would go on giving old results. The cache folder is therefore named by a digest of every
source that compiled code can come from, of the numba and NumPy versions and of the flags.
"""

import functools
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])

CACHE_VARIABLE = "CORSAIR_SIM_CACHE"
"""Environment variable: the folder of the machine code."""
BOUNDS_VARIABLE = "CORSAIR_SIM_BOUNDSCHECK"
"""Environment variable: ``1`` compiles every array access with a check (slow, for tests)."""

_IMPORT = re.compile(
    r"^\s*(?:from|import)\s+((?:cluster|corsair_common)[\w.]*)(?:\s+import\s+(\([^)]*\)|[^\n]*))?",
    re.MULTILINE,
)


def compiled(function: Function) -> Function:
    """Compile ``function`` on its first call and keep the machine code on disk.

    It may allocate nothing: arrays come in as arguments.
    """
    folder = cache_folder()
    if folder is None:
        return _jit(function, cache=False)
    settings: Any = numba.config
    others = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)  # read when the function is decorated, not later
    try:
        return _jit(function, cache=True)
    finally:
        settings.CACHE_DIR = others


def inlined(function: Function) -> Function:
    """Compile ``function`` into the compiled ones that call it; Python itself cannot call it."""
    return _jit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def called(function: Function) -> Function:
    """Compile ``function`` as one that compiled code calls and that is not copied into its callers.

    For large functions with several callers: inlined, they would be compiled many times over.
    """
    return _jit(function, forceinline=False, no_cfunc_wrapper=True)


def _jit(function: Function, *, forceinline: bool = True, **options: bool) -> Function:
    """Call numba with the options of all our code.

    Reference counts of arrays are off, since kernels own no memory, and calls are inlined, since
    their arguments are many words long: measured, a serving step takes 350 ns with both, 1,200 ns
    without inlining, 1,400 ns with counting.
    """
    decorate: Any = numba.njit
    wrapped: Function = decorate(
        _nrt=False, forceinline=forceinline, boundscheck=bounds_checked(), **options
    )(function)
    return wrapped


def bounds_checked() -> bool:
    """Whether the environment asks for a check of every array access."""
    return os.environ.get(BOUNDS_VARIABLE, "0") not in ("", "0")


@contextmanager
def announced() -> Iterator[None]:
    """Report on stderr, once, that the engine is compiled, if it is inside this block."""
    with event.install_listener("numba:compile", _Notice()):
        yield


class _Notice(event.Listener):
    """Prints one line when the first compilation starts."""

    def __init__(self) -> None:
        self.silent = False

    def on_start(self, _event: Any) -> None:
        if not self.silent:
            self.silent = True
            print("compiling the engine, once, about half a minute", file=sys.stderr)  # noqa: T201

    def on_end(self, _event: Any) -> None:
        """Nothing to say."""


@functools.cache
def cache_folder() -> Path | None:
    """Cache folder for machine code of exactly these sources; None if no folder can be used.

    Write access to the folder allows code execution as this user, so it is used only if no other
    user has it. Of the folders that are passed over for that, one line on stderr says which and
    why.
    """
    name, refused, found = source_digest(), [], None
    for root in _roots():
        try:
            found = _private(Path(os.path.realpath(root)), name)
        except _SharedFolderError as error:
            refused.append(str(error))
        except OSError:
            continue
        if found is not None:
            break
    if refused:
        used = f"; {found.parent} is used" if found is not None else ""
        print(f"not used for compiled code: {'; '.join(refused)}{used}", file=sys.stderr)  # noqa: T201
    if found is None:
        print(  # noqa: T201
            f"no folder for compiled code can be used (set {CACHE_VARIABLE} to one of your own): "
            "the engine is compiled anew in every process",
            file=sys.stderr,
        )
    return found


def source_digest() -> str:
    """Sixteen letters that change with any source that compiled code is made from."""
    digest = hashlib.sha256()
    for part in (numba.__version__, np.__version__, sys.version, f"bounds={bounds_checked()}"):
        digest.update(part.encode() + b"\0")
    package = Path(__file__).resolve().parent
    for name, text in sorted(_kernel_sources(package).items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()[:16]


def _kernel_sources(package: Path) -> dict[str, str]:
    """Modules that use ``compiled`` and all of ours that they import: their constants are baked in.

    Keyed by dotted name; empty where the package is not made of files.
    """
    texts = {}
    for path in (*package.rglob("*.py"), *(package.parent / "corsair_common").rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        texts[".".join(part for part in parts if part != "__init__")] = path.read_text("utf-8")
    imports = {name: _imports(text) for name, text in texts.items()}
    wanted = [name for name, used in imports.items() if f"{package.name}.compiled" in used]
    found: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        if name in texts and name not in found:
            found[name] = texts[name]
            wanted.extend(imports[name])
    return found


def _imports(text: str) -> list[str]:
    """Dotted names that ``text`` may import, of modules and of what is taken from them."""
    found = []
    for module, names in _IMPORT.findall(text):
        found.append(module)
        found.extend(f"{module}.{name}" for name in re.findall(r"\w+", names))
    return found


def _roots() -> Iterator[Path]:
    """Candidate folders, best first."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        yield Path(chosen).expanduser()
    user = _user_cache()
    if user is not None:
        yield user / "corsair-sim"
    private = _private_temporary()
    if private is not None:
        yield private


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


def _private_temporary() -> Path | None:
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


class _SharedFolderError(Exception):
    """A folder that another user could change; names it, and the reason."""


def _private(root: Path, name: str) -> Path:
    """``root / name``, created if missing, provided that no other user can change its contents.

    ``root`` is a real path, without symbolic links. It and what is below must belong to this user,
    and no other user may write it. Folders above may be root's, too, and may be written by others
    where these cannot rename what is not theirs (the sticky bit). Whoever could change the root of
    the file system could change Python itself, so that is not looked at.

    Raises
    ------
    _SharedFolderError
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
        raise _SharedFolderError(f"{place} belongs to user {status.st_uid}, not to {user}")
    sticky = status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (own or not sticky):
        mend = "; chmod go-w makes it safe" if status.st_uid == user else ""
        mode = stat.S_IMODE(status.st_mode)
        raise _SharedFolderError(f"others can write {place} (mode {mode:o}{mend})")
