"""Request columns needed to attribute energy to requests."""

import numpy as np

from cluster.perf_model.energy.attribution import RequestColumns
from cluster.serving.interface import Arrivals, Served


def attribution_columns(served: Served, arrivals: Arrivals) -> RequestColumns:
    """Slot, times and computed prompt tokens of each request."""
    found = served.cached_tokens
    if arrivals.carried_tokens.size:
        found = np.maximum(found, arrivals.carried_tokens)
    return RequestColumns(
        replica=served.replica,
        slot=served.slot,
        first_scheduled_ps=served.first_scheduled_ps,
        first_token_ps=served.first_token_ps,
        finish_ps=served.finish_ps,
        prefilled=arrivals.prompt_tokens - found,
    )
