"""The error that this package shows to users."""

from typing import ClassVar


class ResultsError(Exception):
    """A run, table or output path that cannot be read or written; the message names the file."""

    exit_code: ClassVar[int] = 2
