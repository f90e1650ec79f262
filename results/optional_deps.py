"""Lazy imports of optional dependencies."""

from importlib import import_module
from typing import Any

from results.errors import ResultsError

DRAW = "altair vl-convert-python"
"""The plot packages, by their names for pip; the extra ``draw`` of this project has them too."""


def optional(package: str, install: str) -> Any:
    """The package, which ``pip install`` of ``install`` brings.

    Raises
    ------
    ResultsError
        It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        missing = error.name or package
        raise ResultsError(f"{missing} is not installed: pip install {install}") from error
