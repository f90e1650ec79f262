"""The error of an invalid model description."""

from typing import ClassVar


class ModelError(ValueError):
    """A model description that cannot be read, or is not supported."""

    exit_code: ClassVar[int] = 2
