"""A program with its prices becomes what the engine replays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.machine.tables import Integers
from cluster.replay.calls import COLLECTIVE, RECV, SEND, Calls, meets
from cluster.replay.problem import Kind, Operations
from cluster.replay.work import Work
from workloads.program import Program


def operations_of(program: Program, work: Work, calls: Calls) -> Operations:
    """Write the program's repeats out as the engine's columns; row = the program's op.

    Receives are passive: a send does not wait until somebody looks for it. Exchanges that stay
    inside a rank are work.
    """
    own, repeats = program.operations, program.repeats
    joined = meets(program)
    kind = np.full(len(own), int(Kind.WORK), np.int64)
    for code, meeting in ((SEND, Kind.SEND), (RECV, Kind.RECV), (COLLECTIVE, Kind.COLLECTIVE)):
        kind[joined & (own.kind == code)] = int(meeting)
    prepared = np.where(kind == Kind.RECV, 0, work.dispatch_ps)
    collective, message = kind == Kind.COLLECTIVE, (kind == Kind.SEND) | (kind == Kind.RECV)

    def tiled(column: npt.NDArray[Any]) -> Integers:
        return repeated(column.astype(np.int64), repeats)

    offsets, deps = repeated_deps(program)
    groups = [sorted(ranks) for ranks in program.groups]
    sizes = np.array([len(ranks) for ranks in groups], np.int64)
    return Operations(
        rank=tiled(own.rank),
        stream=tiled(own.stream),
        kind=tiled(kind),
        duration_ps=_durations(program, work, np.where(joined, prepared, work.duration_ps)),
        transfer=tiled(calls.transfer),
        group=tiled(np.where(collective, own.group, -1)),
        peer=tiled(np.where(message, own.peer, -1)),
        tag=tiled(np.where(collective | message, own.tag, 0)),
        passive=tiled(kind == Kind.RECV),
        dep_offsets=offsets,
        deps=deps,
        group_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        group_ranks=np.array([rank for ranks in groups for rank in ranks], np.int64),
    )


def repeated(column: npt.NDArray[Any], times: int) -> npt.NDArray[Any]:
    """``np.tile`` of one dimension, several times as quick."""
    return np.broadcast_to(column, (times, len(column))).reshape(-1)


def repeated_deps(program: Program) -> tuple[Integers, Integers]:
    """Offsets and rows of all repeats; what would lie before the first is left out."""
    own, rows, repeats = program.operations, len(program.operations), program.repeats
    within = own.deps >= 0
    counts = np.diff(own.dep_offsets)
    owner = np.repeat(np.arange(rows), counts)
    first = np.bincount(owner[within], minlength=rows)
    offsets = np.zeros(rows * repeats + 1, np.int64)
    np.cumsum(first, out=offsets[1 : rows + 1])
    later = own.dep_offsets[1:] + len(own.deps) * np.arange(repeats - 1)[:, None]
    np.add(later, offsets[rows], out=offsets[rows + 1 :].reshape(repeats - 1, rows))
    deps = np.empty(int(offsets[-1]), np.int64)
    deps[: offsets[rows]] = own.deps[within]
    moved = deps[offsets[rows] :].reshape(repeats - 1, len(own.deps))
    np.add(own.deps, np.arange(1, repeats)[:, None] * rows, out=moved)
    return offsets, deps


def _durations(program: Program, work: Work, alone_ps: Integers) -> Integers:
    """[repeats x n] with what varies from repeat to repeat."""
    varies = program.operations.varies
    varied = varies >= 0
    durations = repeated(alone_ps, program.repeats).reshape(program.repeats, -1).copy()
    durations[:, varied] = work.varying_ps[:, varies[varied]]
    return durations.ravel()
