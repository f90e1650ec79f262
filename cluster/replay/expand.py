"""Expands collectives into messages that contend link by link.

A call becomes an entry and an exit on its own stream and, between them, round by round, sends and
receives on their own streams, so that those of one round are concurrent. A rank begins a round when
its own messages of its previous round have been sent and received.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.collectives import Messages
from cluster.replay.interface import Kind, Operations, ReplayError
from cluster.replay.matching import MatchedCalls, pair
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expanded:
    """The expanded program, and the rows of the original in it."""

    operations: Operations
    entry: Integers
    """[n] row in which the operation starts."""
    exit: Integers
    """[n] row in which it ends."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The rows of one position in a plan, from its entry to its exit."""

    position: int
    kind: Integers
    path_id: Integers
    """Stream beside the call's own, from 1; 0 is its own."""
    peer: Integers
    """Position, -1 for none."""
    round: Integers
    transfer: Integers
    dep_counts: Integers
    deps: Integers
    """Rows of the part."""
    duration_ps: Integers


def expand(operations: Operations, plans: Mapping[int, Messages]) -> Expanded:
    """Replace every collective whose transfer is in ``plans`` by the messages of its plan.

    Raises
    ------
    ReplayError
        Calls do not match, or not all ranks of a group make the call, or one is passive.
    """
    matched_calls = pair(operations)
    parts, calls = _parts(operations, matched_calls, plans)
    sizes = np.ones(operations.rows, np.int64)
    for part, rows in zip(parts, calls, strict=True):
        sizes[rows] = len(part.kind)
    first = np.cumsum(sizes) - sizes
    offsets, deps = _dependencies(operations, parts, calls, first, sizes)
    longer = Operations(
        **_columns(operations, matched_calls, parts, calls, first, sizes),
        dep_offsets=offsets,
        deps=deps,
        group_offsets=operations.group_offsets,
        group_ranks=operations.group_ranks,
        repeats=operations.repeats,
        varies=_varies(operations, first, sizes),
        varying_ps=operations.varying_ps,
    )
    return Expanded(operations=longer, entry=first, exit=first + sizes - 1)


def _parts(
    operations: Operations, matched_calls: MatchedCalls, plans: Mapping[int, Messages]
) -> tuple[list[_Part], list[Integers]]:
    """The parts of all used plans, and the rows of each part."""
    joint = np.flatnonzero(operations.kind == Kind.COLLECTIVE)
    transfer_of = matched_calls.transfer[matched_calls.of[joint]]
    joint = joint[np.isin(transfer_of, np.array(list(plans), np.int64))]
    _check_complete(operations, matched_calls, joint)
    transfer_of, place = (
        matched_calls.transfer[matched_calls.of[joint]],
        _positions(operations, joint),
    )
    order = np.lexsort([place, transfer_of])
    kinds = np.stack([transfer_of, place], axis=1)[order]
    heads = np.flatnonzero(np.diff(kinds, axis=0, prepend=-1).any(axis=1))
    parts = [_part(plans[transfer], position) for transfer, position in kinds[heads].tolist()]
    return parts, np.split(joint[order], heads[1:]) if parts else []


def _check_complete(operations: Operations, matched_calls: MatchedCalls, rows: Integers) -> None:
    sizes = np.diff(operations.group_offsets)[operations.group[rows]]
    present = np.diff(matched_calls.member_offsets)[matched_calls.of[rows]]
    wrong = (sizes != present) | (operations.passive[rows] == 1)
    if wrong.any():
        row = int(rows[np.argmax(wrong)])
        raise ReplayError(
            f"the call of operation {row} (rank {operations.rank[row]}) cannot become messages: "
            "every rank of its group must make it, and none passively"
        )


def _positions(operations: Operations, rows: Integers) -> Integers:
    """Position of each row's rank in its group."""
    beyond = int(max(operations.rank.max(initial=0), operations.group_ranks.max(initial=0))) + 1
    sizes = np.diff(operations.group_offsets)
    known = np.repeat(np.arange(len(sizes)), sizes) * beyond + operations.group_ranks
    group = operations.group[rows]
    place: Integers = np.searchsorted(known, group * beyond + operations.rank[rows])
    return place - operations.group_offsets[group]


def _part(plan: Messages, position: int) -> _Part:
    """Entry; for each round receives, sends and a row that waits for them; exit."""
    entry = (int(Kind.WORK), 0, -1, 0, -1, 0)
    rows = [entry]
    deps: list[list[int]] = [[]]
    joined = 0
    for number in np.unique(plan.round).tolist():
        now = plan.round == number
        begun = len(rows)
        received = plan.source[now & (plan.target == position)].tolist()
        rows.extend((int(Kind.RECV), 1, source, number, -1, 0) for source in received)
        for path_id, message in enumerate(np.flatnonzero(now & (plan.source == position)), 2):
            transfer = int(plan.transfer[message])
            rows.append((int(Kind.SEND), path_id, int(plan.target[message]), number, transfer, 0))
        if len(rows) > begun:
            deps += [[joined] for _ in range(begun, len(rows))]
            deps.append(list(range(begun, len(rows))))
            joined = len(rows)
            after_ps = int(plan.after_ps[number]) if received else 0
            rows.append((int(Kind.WORK), 1, -1, number, -1, after_ps))
    rows.append(entry)
    deps.append([joined])
    kind, path_id, peer, turn, transfer, duration_ps = np.array(rows, np.int64).T
    return _Part(
        position=position,
        kind=kind,
        path_id=path_id,
        peer=peer,
        round=turn,
        transfer=transfer,
        dep_counts=np.array([len(waited) for waited in deps], np.int64),
        deps=np.array([dep for waited in deps for dep in waited], np.int64),
        duration_ps=duration_ps,
    )


def _columns(
    operations: Operations,
    matched_calls: MatchedCalls,
    parts: list[_Part],
    calls: list[Integers],
    first: Integers,
    sizes: Integers,
) -> dict[str, Integers]:
    """All columns but the dependencies; tags beyond all others keep calls and rounds apart."""
    names = ("rank", "stream", "kind", "duration_ps", "transfer", "group", "peer", "tag", "passive")
    owner = np.repeat(np.arange(len(sizes)), sizes)
    columns: dict[str, Integers] = {name: getattr(operations, name)[owner] for name in names}
    log_streams = 1 + max((int(part.path_id.max()) for part in parts), default=0)
    rounds = 1 + max((int(part.round.max()) for part in parts), default=0)
    streams = int(operations.stream.max(initial=0)) + 1
    tags = int(operations.tag.max(initial=0)) + 1
    for part, made in zip(parts, calls, strict=True):
        at = first[made][:, None] + np.arange(len(part.kind))
        peers = operations.group_offsets[operations.group[made]][:, None] + part.peer
        path_id = streams + operations.stream[made][:, None] * log_streams + part.path_id
        columns["kind"][at] = part.kind
        columns["transfer"][at] = part.transfer
        columns["group"][at] = -1
        columns["peer"][at] = np.where(part.peer >= 0, operations.group_ranks[peers], -1)
        columns["duration_ps"][at[:, 1:]] = part.duration_ps[1:]
        columns["passive"][at] = part.kind == Kind.RECV
        columns["tag"][at] = tags + matched_calls.of[made][:, None] * rounds + part.round
        columns["stream"][at] = np.where(part.path_id > 0, path_id, columns["stream"][at])
    return columns


def _varies(operations: Operations, first: Integers, sizes: Integers) -> Integers:
    """Only the preparation varies by repeat; it is at the entry."""
    if not len(operations.varies):
        return operations.varies
    varies = np.full(int(sizes.sum()), -1, np.int64)
    varies[first] = operations.varies
    return varies


def _dependencies(
    operations: Operations,
    parts: list[_Part],
    calls: list[Integers],
    first: Integers,
    sizes: Integers,
) -> tuple[Integers, Integers]:
    """A row's dependencies move to its entry, and refer to the exits of those rows."""
    own = np.diff(operations.dep_offsets)
    counts = np.zeros(int(sizes.sum()), np.int64)
    counts[first] = own
    for part, made in zip(parts, calls, strict=True):
        at = first[made][:, None] + np.arange(1, len(part.kind))
        counts[at] = part.dep_counts[1:]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    deps = np.empty(int(offsets[-1]), np.int64)
    shift = np.repeat(offsets[first] - operations.dep_offsets[:-1], own)
    leave = (first + sizes - 1)[operations.deps]  # below 0 it counts from the end, as it should
    leave[operations.deps < 0] -= len(counts)
    deps[np.arange(len(operations.deps)) + shift] = leave
    for part, made in zip(parts, calls, strict=True):
        entries = first[made][:, None]
        deps[offsets[entries + 1] + np.arange(len(part.deps))] = entries + part.deps
    return offsets, deps
