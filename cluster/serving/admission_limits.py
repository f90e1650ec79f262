"""Requests that can never be admitted, and a lower bound of the run's length."""

import numpy as np

from cluster.serving.interface import Arrivals, Limits
from corsair_common.names import Status
from corsair_common.units import Integers


def refused(arrivals: Arrivals, limits: Limits) -> Integers:
    """[n] status of each request by its size alone (``Status``), as specified in DESIGN.md."""
    total = arrivals.prompt_tokens + arrivals.output_tokens
    most = np.minimum(total - 1 + limits.drafts + limits.lookahead, limits.max_model_len)
    chunk = limits.max_num_batched_tokens + limits.lookahead
    fits = limits.capacity.admits(most, chunk, limits.block_size)
    status = np.where(fits, Status.COMPLETED, Status.NO_ROOM)
    return np.where(total > limits.max_model_len, Status.TOO_LONG, status).astype(np.int64)


def least_end_ps(arrivals: Arrivals, limits: Limits) -> int:
    """Lower bound of the run's end: the arrival of its last accepted request.

    0 in a closed loop, where it is unknown.
    """
    if limits.concurrency:
        return 0
    accepted = refused(arrivals, limits) == Status.COMPLETED
    return int(arrivals.arrival_ps[accepted].max(initial=0))
