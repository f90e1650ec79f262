"""Converts a priced program to the engine's input."""

import numpy as np

from cluster.replay.collective_calls import COLLECTIVE, RECV, SEND, Calls, is_matched
from cluster.replay.interface import Kind, Operations
from cluster.replay.loop_unroll import even
from cluster.replay.op_durations import Work
from workloads.program import Program


def operations_of(program: Program, work: Work, calls: Calls) -> Operations:
    """The program's template and repeats as the engine's columns; operation = the program's op.

    Receives are passive: a send does not wait for its receive to be posted. Exchanges inside a rank
    are work.

    Raises
    ------
    ReplayError
        Calls that cannot be matched.
    """
    own = program.operations
    joined = is_matched(program)
    kind = np.full(len(own), int(Kind.WORK), np.int64)
    for code, matched_call in ((SEND, Kind.SEND), (RECV, Kind.RECV), (COLLECTIVE, Kind.COLLECTIVE)):
        kind[joined & (own.kind == code)] = int(matched_call)
    prepared = np.where(kind == Kind.RECV, 0, work.dispatch_ps)
    collective, message = kind == Kind.COLLECTIVE, (kind == Kind.SEND) | (kind == Kind.RECV)
    groups = [sorted(ranks) for ranks in program.groups]
    sizes = np.array([len(ranks) for ranks in groups], np.int64)
    return even(
        Operations(
            rank=own.rank.astype(np.int64),
            stream=own.stream.astype(np.int64),
            kind=kind,
            duration_ps=np.where(joined, prepared, work.duration_ps).astype(np.int64),
            transfer=calls.transfer.astype(np.int64),
            group=np.where(collective, own.group, -1).astype(np.int64),
            peer=np.where(message, own.peer, -1).astype(np.int64),
            tag=np.where(collective | message, own.tag, 0).astype(np.int64),
            passive=(kind == Kind.RECV).astype(np.int64),
            dep_offsets=own.dep_offsets,
            deps=own.deps,
            group_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            group_ranks=np.array([rank for ranks in groups for rank in ranks], np.int64),
            repeats=program.repeats,
            varies=own.varies.astype(np.int64),
            varying_ps=np.ascontiguousarray(work.varying_ps, np.int64),
        )
    )
