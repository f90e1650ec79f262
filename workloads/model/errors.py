"""What a user is told when a model's description is wrong."""

from typing import ClassVar


class ModelError(ValueError):
    """A model description that cannot be read, or is not understood."""

    exit_code: ClassVar[int] = 2
