"""The error of a wrong sweep definition."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class SweepError(ValueError):
    """A sweep file that no sweep can mean, or a sweep of which no point is right."""

    exit_code: ClassVar[int] = 2


def nearest(name: object, known: Iterable[str]) -> str:
    """``'nmae'; did you mean 'name'?`` or all that is allowed."""
    allowed = list(known)
    near = get_close_matches(str(name), allowed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(allowed)}"
    return f"{name!r}; {hint}"
