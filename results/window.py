"""The common window of all figures of a run: rates, energy, power, shares, time bins, cost.

It begins with the first arrival plus the warm-up, and ends with the last finish. A refused request
finishes on arrival. Idle time before the first arrival is not counted: a trace that begins at noon
gives the figures of one that begins at zero. Columns of times keep the trace's own clock.
"""

from dataclasses import dataclass

from corsair_common.units import PS_PER_S, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From ``begin_ps`` until ``end_ps``."""

    begin_ps: int
    end_ps: int

    @property
    def length_s(self) -> float:
        return (self.end_ps - self.begin_ps) / PS_PER_S


def begin_ps(arrival_ps: Integers, warmup_s: float) -> int:
    """Start of the window of requests with these arrivals; 0 without requests."""
    return int(arrival_ps.min()) + round(warmup_s * PS_PER_S) if len(arrival_ps) else 0


def last_ps(arrival_ps: Integers, finish_ps: Integers) -> int:
    """Finish of the last of these requests; a refused one finishes on arrival."""
    return max(int(arrival_ps.max(initial=0)), int(finish_ps.max(initial=0)))


def window_of(arrival_ps: Integers, finish_ps: Integers, warmup_s: float) -> Window:
    """The window of a run; empty if nothing happens after its warm-up."""
    begin = begin_ps(arrival_ps, warmup_s)
    return Window(begin_ps=begin, end_ps=max(begin, last_ps(arrival_ps, finish_ps)))
