"""The only door to numba: ``@compiled`` functions, and where their machine code is kept."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile ``function`` on its first call and keep the machine code on disk."""
    wrapped: Function = numba.njit(cache=False)(function)
    return wrapped
