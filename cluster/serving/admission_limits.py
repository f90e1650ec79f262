"""Requests that can never be admitted, and a lower bound of the run's length."""

import numpy as np

from cluster.serving.interface import Arrivals, Limits
from corsair_common.names import Status
from corsair_common.units import Integers


def refused(arrivals: Arrivals, limits: Limits) -> Integers:
    """[n] what becomes of each request by its size alone (``Status``), by the rule of DESIGN.md."""
    total = arrivals.prompt_tokens + arrivals.output_tokens
    fits = limits.capacity.admits(total - 1, limits.max_num_batched_tokens, limits.block_size)
    status = np.where(fits, Status.COMPLETED, Status.NO_ROOM)
    return np.where(total > limits.max_model_len, Status.TOO_LONG, status).astype(np.int64)


def least_end_ps(arrivals: Arrivals, limits: Limits) -> int:
    """A time before which the run cannot end: its last accepted request is still to come.

    0 in a closed loop, where nobody knows.
    """
    if limits.concurrency:
        return 0
    accepted = refused(arrivals, limits) == Status.COMPLETED
    return int(arrivals.arrival_ps[accepted].max(initial=0))
