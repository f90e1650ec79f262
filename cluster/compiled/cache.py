"""Files of machine code: one for each kernel, kind of arguments and family of processors.

Their folder is named by a digest of every source that compiled code can come from, of the versions
of numba, LLVM, NumPy and Python's bytecode, and of the flags. Nothing depends on paths or times, so
a second checkout finds the code of the first, and an edited helper, or constant, none of it.
"""

import functools
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import MAGIC_NUMBER, find_spec
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from cluster.compiled.loader import cpu, triple
from cluster.compiled.signature import key_text
from corsair_common.private_folders import CACHE_VARIABLE, SharedFolderError, private
from corsair_common.private_folders import cache_roots as _roots

BOUNDS_VARIABLE = "CORSAIR_SIM_BOUNDSCHECK"
"""Environment variable: ``1`` compiles every array access with a check (slow, for tests)."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from|import)[ \t]+((?:cluster|corsair_common)[\w.]*)"
    r"(?:\s+import\s+(\([^)]*\)|[^\n]*))?",
    re.MULTILINE,
)


def place_of(function: Callable[..., Any], kinds: tuple[Any, ...]) -> str:
    """Name of the file for a function, kinds of arguments and this processor's family.

    A file's name says its whole content, so processes that write at once write the same.
    """
    cells = repr([cell.cell_contents for cell in function.__closure__ or ()])
    code = (function.__code__.co_code, _file_digest(function.__code__.co_filename), cells)
    key = repr((function.__module__, function.__qualname__, code, key_text(kinds), triple(), cpu()))
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{re.sub(r'[^A-Za-z0-9_.]', '', function.__qualname__)}-{digest}.bin"


def kept(name: str) -> bytes | None:
    """Machine code from disk; None if there is none, or it is damaged."""
    for folder in (packaged(), cache_folder()):
        if folder is None:
            continue
        with suppress(OSError):
            found = (folder / name).read_bytes()
            if hashlib.sha256(found[32:]).digest() == found[:32]:
                return found[32:]
    return None


def keep(name: str, content: bytes) -> None:
    """Keep what was compiled; without a word where nothing can be written any more."""
    folder = cache_folder()
    if folder is None:
        return
    with suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=folder)
        part = Path(temporary)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            part.replace(folder / name)
        finally:
            part.unlink(missing_ok=True)


@functools.cache
def packaged() -> Path:
    """Where the installed package has machine code of exactly these sources, if it brings any."""
    return Path(__file__).parent / "code" / source_digest()


@functools.cache
def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def bounds_checked() -> bool:
    """Whether the environment asks for a check of every array access."""
    return os.environ.get(BOUNDS_VARIABLE, "0") not in ("", "0")


_announcing: list[bool] = []
"""One for each open block of ``announced``: whether it has said so."""


@contextmanager
def announced() -> Iterator[None]:
    """Report on stderr, once, that the engine is compiled, if it is inside this block."""
    _announcing.append(False)
    try:
        yield
    finally:
        _announcing.pop()


def notice() -> None:
    """Something will be compiled now."""
    if _announcing and not any(_announcing):
        _announcing[-1] = True
        print("compiling the engine, once, about 20 seconds", file=sys.stderr)  # noqa: T201


@functools.cache
def cache_folder() -> Path | None:
    """Cache folder for machine code of exactly these sources; None if no folder can be used.

    Write access to the folder allows code execution as this user, so it is used only if no other
    user has it. Of the folders that are passed over for that, one line on stderr says which and
    why.
    """
    name, refused, found = packaged().name, [], None
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
    digest = hashlib.sha256(_numba_version() + MAGIC_NUMBER)
    versions = (llvmlite.__version__, np.__version__, str(sys.implementation.cache_tag))
    for part in (*versions, f"bounds={bounds_checked()}"):
        digest.update(b"\0" + part.encode())
    package = Path(__file__).resolve().parents[1]
    for name, text in sorted(_kernel_sources(package).items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()[:16]


def _numba_version() -> bytes:
    """The file that states it: numba itself is not imported for this."""
    found = find_spec("numba")
    return (
        Path(found.origin).with_name("_version.py").read_bytes() if found and found.origin else b""
    )


def _kernel_sources(package: Path) -> dict[str, str]:
    """Modules that use ``compiled`` and all of ours that they import: their constants are baked in.

    Keyed by dotted name; empty where the package is not made of files.
    """
    texts, before = {}, len(str(package.parent)) + 1
    for path in (*package.rglob("*.py"), *(package.parent / "corsair_common").rglob("*.py")):
        name = str(path)[before:].removesuffix(".py").replace(os.sep, ".")
        texts[name.removesuffix(".__init__")] = path.read_text("utf-8")
    decorator = f"{package.name}.compiled"
    wanted = [
        name
        for name, text in texts.items()
        if "compiled" in text and decorator in _imports(text)  # the first alone is quick
    ]
    found: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        if name in texts and name not in found:
            found[name] = texts[name]
            wanted.extend(_imports(texts[name]))
    return found


def _imports(text: str) -> list[str]:
    """Dotted names that ``text`` may import, of modules and of what is taken from them."""
    found = []
    for module, names in _IMPORT.findall(text):
        found.append(module)
        found.extend(f"{module}.{name}" for name in re.findall(r"\w+", names))
    return found
