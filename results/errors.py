"""The error that this package shows to users."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar

from corsair_common import files


class ResultsError(Exception):
    """A run, table or output path that cannot be read or written; the message names the file."""

    exit_code: ClassVar[int] = 2


@contextmanager
def explained(path: Path, deed: str) -> Iterator[None]:
    """Turn a failure of the file system into one clear line."""
    try:
        yield
    except OSError as error:
        raise ResultsError(f"{path}: cannot {deed}: {files.reason(error)}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file as ``files.replacing`` does; an OSError becomes a ResultsError."""
    with explained(path, "write"), files.replacing(path) as file:
        yield file
