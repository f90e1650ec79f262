"""Maps sums over time bins into the bins of a longer run."""

from dataclasses import fields

import numpy as np

from cluster.perf_model.timeline import Bins
from corsair_common.units import Integers


def stretched(bins: Bins, end_ps: int, max_bins: int) -> Bins:
    """The same sums in the bins of a longer run, which ends at ``end_ps``: as ``Account.reach``."""
    columns = {field.name: getattr(bins, field.name) for field in fields(bins)}
    bin_ps, start_ps = columns.pop("bin_ps"), columns.pop("start_ps")
    lasted_ps = max(0, end_ps - start_ps)
    while lasted_ps // bin_ps >= max_bins // 2 * 2:
        columns = {name: _halved(name, column) for name, column in columns.items()}
        bin_ps *= 2
    wanted = max(1, -(-lasted_ps // bin_ps))
    return Bins(
        bin_ps=bin_ps,
        start_ps=start_ps,
        **{name: _padded(name, column, wanted) for name, column in columns.items()},
    )


def _bin_axis(name: str) -> int:
    """Columns of replicas have no stages."""
    return 1 if name in ("kv_block_ns", "peak_blocks") else 2


def _halved(name: str, column: Integers) -> Integers:
    """Neighbouring bins joined; a missing last one is empty."""
    axis = _bin_axis(name)
    column = _padded(name, column, column.shape[axis] + column.shape[axis] % 2)
    pairs = column.reshape(*column.shape[:axis], -1, 2, *column.shape[axis + 1 :])
    joined: Integers = pairs.max(axis + 1) if name == "peak_blocks" else pairs.sum(axis + 1)
    return joined


def _padded(name: str, column: Integers, bins: int) -> Integers:
    """With empty bins behind, or without those beyond the end, which are empty."""
    axis = _bin_axis(name)
    missing = [(0, 0)] * column.ndim
    missing[axis] = (0, max(0, bins - column.shape[axis]))
    return np.pad(column, missing)
