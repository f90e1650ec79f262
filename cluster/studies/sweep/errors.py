"""The error of a wrong sweep definition."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class SweepError(ValueError):
    """An invalid sweep file, or a sweep without a valid point."""

    exit_code: ClassVar[int] = 2


def nearest(name: object, known: Iterable[str]) -> str:
    """``'nmae'; did you mean 'name'?`` or all allowed names."""
    allowed = list(known)
    near = get_close_matches(str(name), allowed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(allowed)}"
    return f"{name!r}; {hint}"
