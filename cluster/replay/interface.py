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
    """What an operation is."""

    WORK = 0
    """Takes its duration, on its own stream."""
    SEND = 1
    RECV = 2
    COLLECTIVE = 3


class ReplayError(ValueError):
    """Operations that make no sense; says which."""

    exit_code: ClassVar[int] = 2


class DeadlockError(ValueError):
    """Operations that wait for each other for ever; says who waits for what."""

    exit_code: ClassVar[int] = 2


class RunTooLongError(RuntimeError):
    """The run would pass the end of int64 picoseconds."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operations:
    """The program of all ranks: n rows, int64 columns of one length, run ``repeats`` times over.

    Row i of repeat r is operation ``r * n + i``. Rows may stand in any order; those of one (rank,
    stream) run in the order in which they stand, and before those of the next repeat.
    """

    rank: Integers
    """0 or more."""
    stream: Integers
    """0 compute, 1 network, 2 memory; any further ones (of their own sends, say) as the program
    likes."""
    kind: Integers
    """Values of Kind."""
    duration_ps: Integers
    """0 or more. Of communication: its preparation, before it is there."""
    transfer: Integers
    """First leg of what its matched call does, in ``Transfers``; -1 for work, and for members that
    leave it to the others of their matched call."""
    group: Integers
    """Of a collective, into the groups below; -1 elsewhere."""
    peer: Integers
    """The rank at the other end of a send or receive; -1 elsewhere."""
    tag: Integers
    """Any number; 0 will do where calls are matched by their order alone."""
    passive: Integers
    """1 where the transfer does not wait for this member; else 0."""
    dep_offsets: Integers
    """[n + 1] into ``deps``."""
    deps: Integers
    """Rows that must end before this one starts; below 0 they lie in the repeat before, and in the
    first repeat they do not exist."""
    group_offsets: Integers
    """[groups + 1] into ``group_ranks``."""
    group_ranks: Integers
    """Rising within a group."""
    repeats: int = 1
    """1 or more; with more, the calls of a repeat meet those of the same repeat only
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
        """How many operations there are."""
        return len(self.rank) * self.repeats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """When everything happened."""

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
    """[repeats x matched calls] when its last driver was there."""
    finish_ps: Integers
    """[repeats x matched calls] when its last leg left."""
    makespan_ps: int
    """The last of ``end_ps``."""
    bin_ps: int
    load_bytes: Integers
    """[bin, resource] bytes moved in each bin."""


class Observer(Protocol):
    """Watches a run from outside, between windows; a run is the same with it or without."""

    def started(self, total_operations: int) -> None: ...

    def advanced(self, now_ps: int, done: int) -> None: ...

    def finished(self) -> None: ...
