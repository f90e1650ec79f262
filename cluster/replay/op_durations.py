"""Durations of a program's rows without contention: on priced cards, or on plain endpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cluster.perf_model.devices.dimc import BOUNDS
from cluster.replay.interface import ReplayError
from corsair_common.units import Integers
from workloads.program import Program
from workloads.program.schema import COMMUNICATION, KINDS

RECORDED = -1
"""The bound of an operation whose duration the trace gave."""
WIRED = tuple(KINDS.index(kind) for kind in COMMUNICATION)


ARITHMETIC, MEMORY, LAUNCH = ("mac", "tensor"), ("stream", "memory"), ("dispatch", "launch")
"""Names that devices have for the same thing: products, near memory, and starting operations."""


class Work(Protocol):
    """Prices of a template's n rows (``cluster.perf_model.prices.program.ProgramPrice`` is one)."""

    @property
    def duration_ps(self) -> Integers: ...

    @property
    def dispatch_ps(self) -> Integers:
        """[n] dispatch part of it; of communication, the rank's work before it."""

    @property
    def bound(self) -> npt.NDArray[np.int8]:
        """[n] position in ``bounds``, or RECORDED."""

    @property
    def bounds(self) -> tuple[str, ...]:
        """What can set the time of the device."""

    @property
    def varying_ps(self) -> Integers:
        """[repeats, varies]"""


class Rates(Protocol):
    """Rates of a plain endpoint."""

    def work_ps(self, flop: Integers, moved_bytes: Integers, /) -> Integers: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BareWork:
    """Prices without a model: recorded durations, else sizes through an endpoint's rates."""

    duration_ps: Integers
    dispatch_ps: Integers
    bound: npt.NDArray[np.int8]
    varying_ps: Integers
    bounds: tuple[str, ...]


def bound_among(bounds: Sequence[str], names: Sequence[str]) -> int:
    """Position of the bound that has one of these names."""
    return next(bounds.index(name) for name in names if name in bounds)


def bare_work(
    program: Program,
    rates: Rates | None,
    dispatch_ps: int = 0,
    bounds: tuple[str, ...] = BOUNDS,
) -> BareWork:
    """Price every row by its recorded duration or its sizes; calls pay ``dispatch_ps``.

    ``bounds`` are those of the device that the endpoint stands for.

    Raises
    ------
    ReplayError
        Work that has sizes but neither a duration nor an endpoint that could price it.
    """
    own = program.operations
    moved = own.read_bytes + own.write_bytes
    recorded, wired = own.duration_ps >= 0, np.isin(own.kind, WIRED)
    open_rows = ~recorded & ~wired & ((own.flop > 0) | (moved > 0))
    if rates is None and open_rows.any():
        row = int(np.argmax(open_rows))
        raise ReplayError(
            f"operation {row} (rank {own.rank[row]}, {program.word('name', own.name[row])!r}) has "
            f"{own.flop[row]} flop and {moved[row]} bytes but no duration; endpoint: {{flop_per_s, "
            "bytes_per_s}} prices such work"
        )
    nothing = np.zeros(len(own), np.int64)
    by_flop = by_bytes = nothing
    if rates is not None:
        by_flop, by_bytes = rates.work_ps(own.flop, nothing), rates.work_ps(nothing, moved)
    worked = np.where(open_rows, np.maximum(by_flop, by_bytes), 0)
    computed, read = bound_among(bounds, ARITHMETIC), bound_among(bounds, MEMORY)
    bound = np.where(by_flop >= by_bytes, computed, read)
    bound = np.where(wired, bounds.index("network"), bound)
    duration_ps = np.where(recorded, own.duration_ps, worked)
    return BareWork(
        duration_ps=duration_ps,
        dispatch_ps=np.where(own.kind == KINDS.index("collective"), dispatch_ps, 0),
        bound=np.where(recorded, RECORDED, bound).astype(np.int8),
        varying_ps=_varying(program, duration_ps),
        bounds=bounds,
    )


def durations_of(program: Program, work: Work) -> Integers:
    """[operations] duration of every operation, repeats written out."""
    duration_ps = np.tile(work.duration_ps, (program.repeats, 1))
    varies = program.operations.varies
    duration_ps[:, varies >= 0] = work.varying_ps[:, varies[varies >= 0]]
    return duration_ps.ravel()


def _varying(program: Program, duration_ps: Integers) -> Integers:
    """The rows that vary take what they take in the template: no model says how they would."""
    varies: Any = program.operations.varies
    values = np.zeros(program.varying.shape[:2], np.int64)
    values[:, varies[varies >= 0]] = duration_ps[varies >= 0]
    return values
