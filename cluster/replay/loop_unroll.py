"""Unrolls programs that repeat where calls of different repeats match each other."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.replay.interface import Operations
from cluster.replay.matching import MatchedCalls, pair
from corsair_common.units import Integers

_COLUMNS = ("rank", "stream", "kind", "transfer", "group", "peer", "tag", "passive")


def even(operations: Operations) -> Operations:
    """Return the operations unchanged, or expanded if calls match across repeats.

    Calls are counted through the whole program. If a rank makes a call more often in a repeat than
    its partner, calls match across repeats, and repeats differ.

    Raises
    ------
    ReplayError
        Calls that cannot be matched.
    """
    if operations.repeats == 1 or alike(pair(operations)):
        return operations
    return written_out(operations)


def alike(matched_calls: MatchedCalls) -> bool:
    """Whether the k-th call of every repeat matches calls of the same repeat.

    This holds if all matched calls of a key have the same number of members: then every rank that
    makes the call makes it equally often.
    """
    if not len(matched_calls):
        return True
    sizes = np.diff(matched_calls.member_offsets)
    order = np.argsort(matched_calls.key, kind="stable")
    same = np.diff(matched_calls.key[order]) == 0
    return not (same & (np.diff(sizes[order]) != 0)).any()


def written_out(operations: Operations) -> Operations:
    """Return the same operations without repeats."""
    if operations.repeats == 1:
        return operations
    offsets, deps = _dependencies(operations)
    columns: dict[str, Any] = {
        name: repeated(getattr(operations, name), operations.repeats) for name in _COLUMNS
    }
    return replace(
        operations,
        **columns,
        duration_ps=durations(operations).ravel(),
        dep_offsets=offsets,
        deps=deps,
        repeats=1,
        varies=np.zeros(0, np.int64),
        varying_ps=np.zeros((1, 0), np.int64),
    )


def durations(operations: Operations) -> Integers:
    """[repeats, n]"""
    whole = np.tile(operations.duration_ps, (operations.repeats, 1))
    varied = np.flatnonzero(operations.varies >= 0)
    whole[:, varied] = operations.varying_ps[:, operations.varies[varied]]
    return whole


def repeated(column: npt.NDArray[Any], times: int) -> npt.NDArray[Any]:
    """``np.tile`` of one dimension, several times faster."""
    return np.broadcast_to(column, (times, len(column))).reshape(-1)


def _dependencies(operations: Operations) -> tuple[Integers, Integers]:
    """Offsets and operations of all repeats; those before the first repeat are left out."""
    rows, repeats = operations.rows, operations.repeats
    counts = np.diff(operations.dep_offsets)
    owner = np.repeat(np.arange(rows), counts)
    there = operations.deps >= 0
    each = np.tile(counts, repeats)
    each[:rows] = np.bincount(owner[there], minlength=rows)
    moved = operations.deps + np.arange(1, repeats)[:, None] * rows
    deps = np.concatenate([operations.deps[there], moved.ravel()])
    return np.concatenate([[0], np.cumsum(each)]).astype(np.int64), deps
