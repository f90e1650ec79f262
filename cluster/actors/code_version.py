"""Version fingerprint that all workers must share."""

import functools
import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("cluster", "corsair_common", "results", "topology", "workloads")
LIBRARIES = ("numba", "numpy", "pyarrow")


@functools.cache
def code_version() -> str:
    """Sixteen hex digits that change with our sources, Python and the libraries in use.

    It imports nothing, since an actor may not need a library, and is computed once, since the
    files of a running process may change.
    """
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(f"\0{library} {_installed(library)}".encode())
    for room in ROOMS:
        for folder in _folders(room):
            for path in sorted(folder.rglob("*.py")):
                text = path.read_bytes()
                digest.update(
                    f"\0{room}/{path.relative_to(folder).as_posix()} {len(text)}".encode()
                )
                digest.update(text)
    return digest.hexdigest()[:16]


def _installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _folders(room: str) -> list[Path]:
    spec = find_spec(room)
    return [] if spec is None else [Path(each) for each in spec.submodule_search_locations or ()]
