"""Explains a deadlock: the waiting operations, the missing calls, and the cycle."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from cluster.replay.interface import Kind
from cluster.replay.reference.matching import MatchedCall
from cluster.replay.reference.operation import Operation

MOST_NAMED = 8
"""Limit per kind; further ones are counted."""


def explain(operations: Sequence[Operation], matched_calls: Sequence[MatchedCall]) -> str:
    """Describe it in one line. ``operations`` are all, ended or not."""
    meeting_of = {
        member: matched_call for matched_call in matched_calls for member in matched_call.members
    }
    waiting = [operation for operation in operations if operation.end_ps is None]
    by_rank = groupby(sorted(waiting, key=lambda o: (o.rank, o.row)), key=lambda o: o.rank)
    ranks = [
        f"rank {rank}: " + _listed([_waits(operation, meeting_of) for operation in rows])
        for rank, rows in by_rank
    ]
    unmade = [
        f"{matched_call.call} is never made by rank {rank}"
        for matched_call in matched_calls
        for rank in matched_call.missing
    ]
    cycle = find_cycle(waiting, meeting_of)
    return "; ".join(
        [
            f"deadlock: {len(waiting)} of {len(operations)} operations wait forever",
            *([_listed(unmade)] if unmade else []),
            *(["a cycle: " + " waits for ".join(map(_name, cycle))] if cycle else []),
            _listed(ranks, "; "),
        ]
    )


def find_cycle(
    waiting: Sequence[Operation], meeting_of: dict[Operation, MatchedCall]
) -> list[Operation]:
    """A cycle of waiting operations, the first repeated at the end; empty if there is none."""
    seen: set[Operation] = set()
    for root in waiting:
        if root in seen:
            continue
        seen.add(root)
        path = {root: awaited_by(root, meeting_of)}
        while path:
            operation, following = next(reversed(path.items()))
            other = next(following, None)
            if other is None:
                del path[operation]
            elif other in path:
                way = list(path)
                return [*way[way.index(other) :], other]
            elif other not in seen:
                seen.add(other)
                path[other] = awaited_by(other, meeting_of)
    return []


def awaited_by(
    operation: Operation, meeting_of: dict[Operation, MatchedCall]
) -> Iterator[Operation]:
    """The rows that block ``operation``."""
    if operation.start_ps is None:
        before = [] if operation.before is None else [operation.before]
        yield from (other for other in [*before, *operation.deps] if other.end_ps is None)
    else:
        drivers = meeting_of[operation].drivers
        yield from (driver for driver in drivers if driver.there_ps is None)


def _waits(operation: Operation, meeting_of: dict[Operation, MatchedCall]) -> str:
    if operation.start_ps is None:
        awaited = [_name(other) for other in awaited_by(operation, meeting_of)]
        return f"{_name(operation)} waits for {_listed(awaited)}"
    matched_call = meeting_of[operation]
    ranks = {driver.rank for driver in awaited_by(operation, meeting_of)} | {*matched_call.missing}
    absent = _listed([str(rank) for rank in sorted(ranks)])
    return f"{_name(operation)} waits in {matched_call.call} for rank {absent}"


def _name(operation: Operation) -> str:
    kind = "" if operation.kind == Kind.WORK else f" ({operation.kind.name.lower()})"
    return f"row {operation.row}{kind}"


def _listed(words: Sequence[str], between: str = ", ") -> str:
    more = [f"and {len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []
    return between.join([*words[:MOST_NAMED], *more])
