"""The only import of numba: ``@compiled`` functions, and the cache of their machine code.

numba's disk cache looks only at the file of the function itself, so an edited helper, or an edited
constant, would go on giving old results; and it names files by the path of the source, so a second
checkout would start cold. The cache folder is therefore named by a digest of every source that
compiled code can come from, of the numba and NumPy versions and of the flags, and a file in it by
its function, its signature and the processor. Nothing depends on paths or times.
"""

import functools
import hashlib
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import caching, event, serialize
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher

from corsair_common.private_folders import SharedFolderError, private, private_temporary

Function = TypeVar("Function", bound=Callable[..., Any])

CACHE_VARIABLE = "CORSAIR_SIM_CACHE"
"""Environment variable: the folder of the machine code."""
BOUNDS_VARIABLE = "CORSAIR_SIM_BOUNDSCHECK"
"""Environment variable: ``1`` compiles every array access with a check (slow, for tests)."""

_dumps: Any = serialize.dumps
_rebuild: Any = CompileResult._rebuild

_IMPORT = re.compile(
    r"^\s*(?:from|import)\s+((?:cluster|corsair_common)[\w.]*)(?:\s+import\s+(\([^)]*\)|[^\n]*))?",
    re.MULTILINE,
)


def compiled(function: Function) -> Function:
    """Compile ``function`` on its first call and keep the machine code on disk.

    It may allocate nothing: arrays come in as arguments.
    """
    folder, wrapped = cache_folder(), _jit(function)
    if folder is not None and isinstance(wrapped, Dispatcher):  # else: compiling is disabled
        dispatcher: Any = wrapped
        dispatcher._cache = _MachineCode(function, folder)  # as numba's ``enable_caching`` does
    return wrapped


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


class _MachineCode(caching._Cache):
    """Machine code of one function: a file for each signature and processor.

    A file's name says its whole content, so processes that write at once write the same; numba's
    own cache numbers its files through an index, which two processes may give one number twice.
    """

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        code = (function.__code__.co_code, _file_digest(function.__code__.co_filename))
        self._function = repr((function.__module__, function.__qualname__, code)).encode()
        self._function += _dumps(cells)
        self._name, self._folder = function.__qualname__, folder

    @property
    def cache_path(self) -> str:
        """Folder of the files."""
        return str(self._folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code for the signature; None if there is none, or it is damaged."""
        target_context.refresh()
        with suppress(OSError):
            kept = self._path(sig, target_context.codegen()).read_bytes()
            if hashlib.sha256(kept[32:]).digest() == kept[:32]:
                return _rebuild(target_context, *pickle.loads(kept[32:]))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled; without a word where nothing can be written any more."""
        if data.library.has_dynamic_globals or any(not lift.can_cache for lift in data.lifted):
            return
        content, path = _dumps(data._reduce()), self._path(sig, data.codegen)
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=".tmp-", dir=self._folder)
            part = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = repr((str(sig), codegen.magic_tuple())).encode()
        digest = hashlib.sha256(self._function + b"\0" + key).hexdigest()[:32]
        return self._folder / f"{re.sub(r'[^A-Za-z0-9_.]', '', self._name)}-{digest}.bin"

    def enable(self) -> None:
        """It is on wherever it is."""

    disable = flush = enable


@functools.cache
def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


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
            found = private(Path(os.path.realpath(root)), name)
        except SharedFolderError as error:
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
    private = private_temporary()
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
