"""The load of candidates: what a scenario offers, or a part of capacity."""

from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved
from cluster.studies.plan import batch_scores
from cluster.studies.plan.context import Demand

FULL = 0.95
"""The largest load of a score, as a fraction of capacity: closer to it, means do not describe
queues."""


def rate_of(resolved: Resolved) -> float | None:
    """Requests a second of the scenario; None in a closed loop or if all arrive at once."""
    arrival_ps = resolved.requests.arrival_ps
    span_ps = int(arrival_ps[-1] - arrival_ps[0])
    if resolved.concurrency or not span_ps:
        return None
    return float((len(arrival_ps) - 1) / (span_ps * 1e-12))


def demand_of(resolved: Resolved, load_at: float | str) -> Demand:
    """Load of each candidate.

    Raises
    ------
    ScenarioError
        A load outside (0, FULL], or ``offered`` without a known rate.
    """
    rate = rate_of(resolved)
    if load_at in ("auto", "offered"):
        if resolved.concurrency:
            return batch_scores.USERS, float(resolved.concurrency)
        if load_at == "auto":
            return batch_scores.LOAD, 0.7
        if rate is None:
            raise ScenarioError("load offered: the scenario's requests all come at once")
        return batch_scores.OFFERED, rate * 1e-12
    if not (isinstance(load_at, int | float) and 0 < load_at <= FULL):
        raise ScenarioError(
            f"load is a part of capacity above 0 and up to {FULL}, or offered; got {load_at!r}"
        )
    return batch_scores.LOAD, float(load_at)
