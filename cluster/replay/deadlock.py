"""Explains a deadlock: the waiting operations and the cycle that they form."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cluster.replay.interface import Kind, Operations
from cluster.replay.matching import MatchedCalls
from corsair_common.units import Flags, Integers

MOST_LINES = 12
"""Most waiting operations and steps of a cycle that are listed."""


def explain(operations: Operations, matched_calls: MatchedCalls, there: Flags, ended: Flags) -> str:
    """Describe what the first waiting operation of every stream waits for.

    ``there`` are the operations that wait for others in their matched call, ``ended`` the finished
    ones.
    """
    knot = _Knot(
        operations=operations,
        matched_calls=matched_calls,
        there=there,
        ended=ended,
        before=_before(operations),
    )
    heads = knot.heads()
    lines = [f"  {knot.name(row)} waits for {knot.reasons(row)}" for row in heads[:MOST_LINES]]
    if len(heads) > MOST_LINES:
        lines.append(f"  and {len(heads) - MOST_LINES} more streams wait")
    cycle = knot.cycle(heads)
    if cycle:
        names = [knot.name(row) for row in cycle[:MOST_LINES]]
        more = [f"{len(cycle) - MOST_LINES} more"] if len(cycle) > MOST_LINES else []
        lines.append("  a cycle: " + " -> ".join([*names, *more, knot.name(cycle[0])]))
    left = int((~ended).sum())
    return "\n".join([f"deadlock: {left} of {len(ended)} operations never end", *lines])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Knot:
    """The operations of a run that got stuck."""

    operations: Operations
    matched_calls: MatchedCalls
    there: Flags
    ended: Flags
    before: Integers
    """[n] the row before in the same stream, -1 for the first."""

    def heads(self) -> list[int]:
        """The first row of every stream that has not ended."""
        rows = np.flatnonzero(~self.ended)
        first = np.unique(_queue(self.operations)[rows], return_index=True)[1]
        return [int(row) for row in rows[first]]

    def name(self, row: int) -> str:
        rank = f"operation {row} (rank {self.operations.rank[row]}"
        return f"{rank}, {self._call(row)})"

    def reasons(self, row: int) -> str:
        """What a row waits for, as text."""
        found = [self.name(other) for other in self._rows(row)]
        if self.there[row]:
            found += [f"rank {rank}, which makes no such call" for rank in self._absent(row)]
        more = [f"{len(found) - MOST_LINES} more"] if len(found) > MOST_LINES else []
        return ", ".join([*found[:MOST_LINES], *more])

    def cycle(self, heads: list[int]) -> list[int]:
        """A cycle of rows, each waiting for the next; empty if there is none."""
        finished: set[int] = set()
        for head in heads:
            path: list[int] = []
            places: dict[int, int] = {}
            branches: list[Iterator[int]] = [iter([head])]
            while branches:
                row = next(branches[-1], None)
                if row is None:
                    branches.pop()
                    if path:
                        done = path.pop()
                        del places[done]
                        finished.add(done)
                elif row in places:
                    return path[places[row] :]
                elif row not in finished:
                    places[row] = len(path)
                    path.append(row)
                    branches.append(iter(self._rows(row)))
        return []

    def _rows(self, row: int) -> list[int]:
        """Rows that block this one."""
        if self.there[row]:
            members = self._members(row)
            return [
                int(other)
                for other in members
                if not (self.there[other] or self.ended[other] or self.operations.passive[other])
            ]
        offsets = self.operations.dep_offsets
        deps = self.operations.deps[offsets[row] : offsets[row + 1]]
        found = [int(other) for other in deps if not self.ended[other]]
        before = int(self.before[row])
        return found if before < 0 or self.ended[before] else [before, *found]

    def _members(self, row: int) -> Integers:
        matched_call = self.matched_calls.of[row]
        offsets = self.matched_calls.member_offsets
        return self.matched_calls.members[offsets[matched_call] : offsets[matched_call + 1]]

    def _absent(self, row: int) -> list[int]:
        """Ranks that never make this call."""
        members = self._members(row)
        if self.operations.kind[row] == Kind.COLLECTIVE:
            group, offsets = self.operations.group[row], self.operations.group_offsets
            wanted = self.operations.group_ranks[offsets[group] : offsets[group + 1]]
            return [int(rank) for rank in np.setdiff1d(wanted, self.operations.rank[members])]
        return [int(self.operations.peer[row])] if len(members) == 1 else []

    def _call(self, row: int) -> str:
        kind = Kind(int(self.operations.kind[row]))
        tag = f"tag {self.operations.tag[row]}"
        if kind == Kind.WORK:
            return f"work on stream {self.operations.stream[row]}"
        if kind == Kind.COLLECTIVE:
            return f"collective of group {self.operations.group[row]}, {tag}"
        towards = "to" if kind == Kind.SEND else "from"
        return f"{kind.name.lower()} {towards} rank {self.operations.peer[row]}, {tag}"


def _queue(operations: Operations) -> Integers:
    """[n] a number for each (rank, stream), in their order."""
    return operations.rank * (int(operations.stream.max(initial=0)) + 1) + operations.stream


def _before(operations: Operations) -> Integers:
    queue = _queue(operations)
    order = np.argsort(queue, kind="stable")
    before = np.full(len(queue), -1, np.int64)
    same = np.diff(queue[order]) == 0
    before[order[1:][same]] = order[:-1][same]
    return before
