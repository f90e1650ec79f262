"""Bytes of every link by time bin."""

from collections.abc import Sequence

import numpy as np

from cluster.perf_model.tables import Integers
from cluster.replay.interface import FIRST_BIN_PS
from cluster.replay.reference.transfer_legs import Flow


def bin_width_ps(end_ps: int, most_bins: int) -> int:
    """The first width, doubled until ``most_bins`` bins reach the end.

    Examples
    --------
    >>> bin_width_ps(1000 * 10**6, 1000), bin_width_ps(1000 * 10**6 + 1, 1000)
    (1000000, 2000000)
    """
    width_ps = FIRST_BIN_PS
    while end_ps > most_bins * width_ps:
        width_ps *= 2
    return width_ps


def link_loads(flows: Sequence[Flow], resources: int, end_ps: int, bin_ps: int) -> Integers:
    """[bin, resource] bytes; a bin holds what moves after its begin, up to and with its end."""
    bins = max(1, -(-end_ps // bin_ps))
    load_bytes = np.zeros((bins, resources), np.int64)
    for flow in flows:
        first_bin = flow.stretches[0].since_ps // bin_ps
        for resource in flow.leg.shares:
            before = 0
            for bin_ in range(first_bin, bins):
                moved = flow.moved(resource, (bin_ + 1) * bin_ps)
                load_bytes[bin_, resource] += moved - before
                before = moved
                if moved == flow.leg.moves[resource]:
                    break
    return load_bytes
