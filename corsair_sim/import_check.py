"""Check, before the first import, that Python would find our own top-level packages.

They have common names. A script called ``results.py`` in the current folder, or another
distribution's package ``cluster``, would be imported instead and fail far from the cause.
"""

import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

PACKAGES = ("cluster", "topology", "workloads", "results")
ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds our packages side by side."""
MARK = "# A package of corsair-sim"
"""First words of each package's ``__init__.py``: a package installed over ours lacks them."""
REINSTALL = "then reinstall corsair-sim (pip install --force-reinstall)"
INSTALLED = ("site-packages", "dist-packages")


class PackageConflictError(ImportError):
    """Python would import foreign packages in place of ours; names their paths and the remedy."""

    exit_code: ClassVar[int] = 2


@cache
def check_packages(root: Path = ROOT) -> None:
    """Look for our packages as ``import`` would, without importing them.

    Raises
    ------
    PackageConflictError
        A package of that name is foreign, was overwritten, or is missing. All of them are named.
    """
    conflicts = [text for name in PACKAGES for text in _conflict(name, root)]
    if conflicts:
        raise PackageConflictError("\n".join(conflicts))


def _conflict(name: str, root: Path) -> Iterator[str]:
    """What is wrong with the package of this name, and the remedy; nothing where all is well."""
    own = root / name / "__init__.py"
    found = _location(name)
    if found is None:
        yield (
            f"package {name!r} of corsair-sim is missing from {root}: reinstall corsair-sim"
            " (pip install --force-reinstall)"
        )
    elif found.resolve() == own.resolve():
        if own.is_file() and not own.read_text("utf-8", "replace").startswith(MARK):
            yield (
                f"package {name!r} of corsair-sim was overwritten by another one: {own}."
                f" {_uninstall(name)}, {REINSTALL}"
            )
    elif any(part in INSTALLED for part in found.parts):
        yield (
            f"corsair-sim needs its own package {name!r} ({own.parent}), but another one comes"
            f" first: {found}. Install corsair-sim into an environment of its own"
            f" (python3 -m venv), or: {_uninstall(name)}, {REINSTALL}"
        )
    else:
        yield (
            f"corsair-sim needs its own package {name!r} ({own.parent}), but another one comes"
            f" first: {found}. Rename it, or start Python from another folder"
            " (PYTHONPATH and sys.path count too)"
        )


def _location(name: str) -> Path | None:
    """The file (of a package without one: the folder) that ``import name`` would read."""
    try:
        spec = find_spec(name)
    except ValueError:  # imported already, and by hand: there is no spec
        origin = getattr(sys.modules[name], "__file__", None)
        return Path(origin or f"<module {name!r} made in memory>")
    return None if spec is None else _origin(spec)


def _origin(spec: ModuleSpec) -> Path:
    if spec.has_location and spec.origin:
        return Path(spec.origin)
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]) if folders else Path(str(spec.origin))


def _uninstall(name: str) -> str:
    """How to get rid of the other distribution that has a package of this name."""
    from importlib import metadata  # slow, and needed only where something is wrong

    names = sorted(set(metadata.packages_distributions().get(name, ())) - {"corsair-sim"})
    return f"pip uninstall {' '.join(names)}" if names else "uninstall what brought it"
