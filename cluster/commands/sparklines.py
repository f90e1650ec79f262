"""Sparklines for terminals that can show them."""

import sys
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 32
"""Characters of a sparkline."""


def shown() -> bool:
    """Whether stdout is a terminal that can show the characters; a pipe gets plain text."""
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return sys.stdout.isatty()


def sparkline(values: Sequence[float]) -> str:
    """One character for each value, from zero to the largest.

    Examples
    --------
    >>> sparkline([0, 1, 2, 4])
    '▁▃▅█'
    """
    most = max(values, default=0)
    if not most > 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(7, int(8 * value / most))] for value in values)


def spread(values: Sequence[float], *, bins: int = WIDTH) -> str:
    """A histogram in one line, between the least and the largest value.

    Examples
    --------
    >>> spread([1.0, 1.0, 1.0, 3.0], bins=3)
    '1 █▁▃ 3'
    """
    known = [value for value in values if value == value]  # NaN is not a value
    if not known:
        return ""
    low, high = min(known), max(known)
    counts = [0] * bins
    width = (high - low) / bins
    for value in known:
        counts[min(bins - 1, int((value - low) / width)) if width > 0 else 0] += 1
    return f"{low:.4g} {sparkline(counts)} {high:.4g}"
