"""The one error of this room that a user may see."""

from typing import ClassVar


class ResultsError(Exception):
    """A run, table or output path that cannot be read or written; the message names the file."""

    exit_code: ClassVar[int] = 2
