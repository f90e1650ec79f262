"""Inputs and outputs of both replay engines."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Protocol

import numpy as np

from corsair_common.units import PS_PER_DAY, Integers

FIRST_BIN_PS = 1_000_000
"""1 us; the bins of the link load double from there."""
MOST_BINS = 1000
"""Unless told otherwise; always even."""
LAST_PS = 106 * PS_PER_DAY
"""No operation may end after this: int64 picoseconds are nearly used up."""


class Kind(IntEnum):
    """Kind of an operation."""

    WORK = 0
    """Takes its duration, on its own stream."""
    SEND = 1
    RECV = 2
    COLLECTIVE = 3


class ReplayError(ValueError):
    """Invalid operations; names them."""

    exit_code: ClassVar[int] = 2


class DeadlockError(ValueError):
    """A deadlock; lists the waiting operations and their cycle."""

    exit_code: ClassVar[int] = 2


class RunTooLongError(RuntimeError):
    """The run would pass the end of int64 picoseconds."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operations:
    """The program of all ranks: n rows, int64 columns of one length, run ``repeats`` times over.

    Row i of repeat r is operation ``r * n + i``. Rows may be in any order; those of one (rank,
    stream) run in row order, and before those of the next repeat.
    """

    rank: Integers
    """0 or more."""
    stream: Integers
    """0 compute, 1 network, 2 memory; further ones (for sends, for example) are free."""
    kind: Integers
    """Values of Kind."""
    duration_ps: Integers
    """0 or more. Of communication: its preparation, before its arrival."""
    transfer: Integers
    """First leg of its matched call's transfer, in ``Transfers``; -1 for work, and for members
    whose matched call has the transfer at another member."""
    group: Integers
    """Of a collective, into the groups below; -1 elsewhere."""
    peer: Integers
    """The rank at the other end of a send or receive; -1 elsewhere."""
    tag: Integers
    """Any number; 0 if calls are matched by their order alone."""
    passive: Integers
    """1 where the transfer does not wait for this member; else 0."""
    dep_offsets: Integers
    """[n + 1] into ``deps``."""
    deps: Integers
    """Rows that must end before this one starts; below 0 they are in the previous repeat, and in
    the first repeat they do not exist."""
    group_offsets: Integers
    """[groups + 1] into ``group_ranks``."""
    group_ranks: Integers
    """Rising within a group."""
    repeats: int = 1
    """1 or more; with more, the calls of a repeat match those of the same repeat only
    (``repeats.even``)."""
    varies: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] column of ``varying_ps`` that a row takes its duration from, -1 for none; or empty."""
    varying_ps: Integers = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    """[repeats, column]"""

    @property
    def rows(self) -> int:
        return len(self.rank)

    @property
    def total(self) -> int:
        """Number of operations."""
        return len(self.rank) * self.repeats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """The times of a replay."""

    start_ps: Integers
    """[repeats x n] per operation."""
    end_ps: Integers
    """[repeats x n]"""
    matched_call: Integers
    """[n] which matched call each row belonged to in the first repeat, -1 for work; in each further
    repeat it is ``matched calls`` more."""
    matched_calls: int
    """Of one repeat."""
    begin_ps: Integers
    """[repeats x matched calls] arrival of its last driver."""
    finish_ps: Integers
    """[repeats x matched calls] end of its last leg."""
    makespan_ps: int
    """The last of ``end_ps``."""
    bin_ps: int
    load_bytes: Integers
    """[bin, resource] bytes moved in each bin."""


class Observer(Protocol):
    """Observer of a run, called between windows; results do not depend on it."""

    def started(self, total_operations: int) -> None: ...

    def advanced(self, now_ps: int, done: int) -> None: ...

    def finished(self) -> None: ...
