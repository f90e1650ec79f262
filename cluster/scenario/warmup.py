"""Checks that the warm-up leaves requests to measure."""

from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved
from corsair_common.units import PS_PER_S, Integers
from results.window import begin_ps


def check_warmup(resolved: Resolved, arrival_ps: Integers | None = None) -> None:
    """Refuse a warm-up after which no request arrives.

    ``arrival_ps`` are the arrivals of a run that is over; without them, as the scenario has them,
    which says nothing of a closed loop.

    Raises
    ------
    ScenarioError
        Names the duration of the traffic, and by how much the warm-up exceeds it.
    """
    if arrival_ps is None:
        if resolved.concurrency:
            return
        arrival_ps = resolved.requests.arrival_ps
    if not len(arrival_ps):
        return
    warmup_s, first_ps, last_ps = (
        resolved.scenario.warmup_s,
        int(arrival_ps.min()),
        int(arrival_ps.max()),
    )
    beyond_ps = begin_ps(arrival_ps, warmup_s) - last_ps
    if beyond_ps > 0:
        raise ScenarioError(
            f"warmup_s is {warmup_s:g}; must be at most {(last_ps - first_ps) / PS_PER_S:.9g}, the "
            f"time from the first arrival to the last: it ends {beyond_ps / PS_PER_S:.9g} s after "
            "the last arrival, and no request is left to measure"
        )
