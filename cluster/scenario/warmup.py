"""A warm-up that leaves something to measure."""

from cluster.scenario.load import ScenarioError
from results.columns import PS_PER_S, Integers
from results.window import begin_ps


def check_warmup(arrival_ps: Integers, warmup_s: float) -> None:
    """Refuse a warm-up after which no request comes; a closed loop knows only when it is over.

    Raises
    ------
    ScenarioError
        Says how long the traffic is, and by how much the warm-up goes beyond it.
    """
    beyond_ps = begin_ps(arrival_ps, warmup_s) - int(arrival_ps.max(initial=0))
    if beyond_ps > 0 and len(arrival_ps):
        span_s = int(arrival_ps.max() - arrival_ps.min()) / PS_PER_S
        raise ScenarioError(
            f"warmup_s is {warmup_s:g}; must be at most {span_s:.9g}, the time from the first "
            f"arrival to the last: it ends {beyond_ps / PS_PER_S:.9g} s after the last request "
            "has come, and nothing is left to measure"
        )
