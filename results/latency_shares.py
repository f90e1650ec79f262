"""Shares of latencies by cause in a run's summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from corsair_common.units import Integers
from results.causes import causes_of
from results.devices import Device
from results.engine_columns import Latency
from results.schema import LATENCY_SHARES
from results.summary_parts import Summary, ratio


def latency_shares(
    latency: Latency | None, requests: Mapping[str, Integers], begin_ps: int, device: Device
) -> Summary:
    """Shares of the mean latency and TTFT by cause, and of the slowest hundredth's TTFT."""
    causes = [cause.name for cause in causes_of(device)]
    nothing = dict.fromkeys(causes)
    if latency is None:
        return {family: dict(nothing) for family in LATENCY_SHARES}
    rows = latency.done & (requests["arrival_ps"] >= begin_ps)
    ttft_ps = requests["first_token_ps"] - requests["arrival_ps"]
    slowest = rows.copy()
    if rows.any():
        slowest &= ttft_ps >= np.percentile(ttft_ps[rows], 99.0)
    chosen = ((latency.whole, rows), (latency.first, rows), (latency.first, slowest))
    return {
        family: nothing | _shares_of(latency.causes, parts, which)
        for family, (parts, which) in zip(LATENCY_SHARES, chosen, strict=True)
    }


def _shares_of(causes: Sequence[str], parts: Integers, rows: Any) -> dict[str, float | None]:
    sums = parts.sum(axis=0, where=rows[:, None], dtype=np.float64)
    total = float(sums.sum())
    return {cause: ratio(float(each), total) for cause, each in zip(causes, sums, strict=True)}
