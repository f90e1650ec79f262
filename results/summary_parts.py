"""What the modules of a run's summary share."""

from typing import TypeAlias

Summary: TypeAlias = dict[str, object]


def ratio(part: float | None, whole: float | None) -> float | None:
    """One over the other; None if either is not known, or there is none."""
    return part / whole if part is not None and whole else None
