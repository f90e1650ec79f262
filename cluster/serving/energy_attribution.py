"""Request columns needed to attribute energy to requests."""

import numpy as np

from cluster.perf_model.energy.attribution import Members
from cluster.serving.interface import Arrivals, Served


def members_of(served: Served, arrivals: Arrivals) -> Members:
    """Who was in which slot when, and how much of its prompt each request had to compute."""
    found = served.cached_tokens
    if arrivals.carried_tokens.size:
        found = np.maximum(found, arrivals.carried_tokens)
    return Members(
        replica=served.replica,
        slot=served.slot,
        first_scheduled_ps=served.first_scheduled_ps,
        first_token_ps=served.first_token_ps,
        finish_ps=served.finish_ps,
        prefilled=arrivals.prompt_tokens - found,
    )
