"""A measured point, and what it is run as."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from workloads.requests import Requests


class ScoreError(ValueError):
    """Measurements that cannot be scored."""

    exit_code: ClassVar[int] = 2


class SetKey(NamedTuple):
    """What the points of one set have in common."""

    device: str
    engine: str
    model: str
    precision: str
    mode: str
    """agg, disagg, or log: the requests of one log, a row for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured point, and what to run for it."""

    key: SetKey
    row: Mapping[str, Any]
    """Its columns as the file has them."""
    measured: Mapping[str, float | None]
    """Milliseconds by metric: ``ttft_ms``, ``tpot_ms``; of a log also p99 and end to end."""
    scenario: Mapping[str, Any] = field(default_factory=dict)
    """As ``load`` takes it; empty where the point is refused."""
    requests: Requests | None = None
    """Of a log, in place of generated ones."""
    refused: str = ""
    """Why it is not run."""
    scores_ttft: bool = True
    fitted: bool = False
    """Figures of the hardware were fitted on it: run and listed, but no evidence."""
    scored: npt.NDArray[np.bool_] | None = None
    """[request] Of a log: which requests the measured means and percentiles are over; None: all."""
