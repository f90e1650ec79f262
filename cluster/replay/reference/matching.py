"""Matches communication calls by their order in the program, before simulated time starts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from cluster.replay.interface import Kind, Operations, ReplayError
from cluster.replay.reference.operation import Operation, Queue

Key: TypeAlias = tuple[str, int, int, int]
"""The common key of the members of one matched call: kind, group or ranks, and tag."""


@dataclass(slots=True, eq=False, kw_only=True)
class MatchedCall:
    """The members of one collective, or the two ends of one message."""

    call: str
    """Description of the call."""
    members: list[Operation]
    missing: list[int]
    """Ranks that never make the call."""
    number: int = -1
    transfer: int = -1
    awaited: int = 0
    """Drivers that have not arrived yet, the missing ones included."""
    begin_ps: int | None = None
    finish_ps: int | None = None

    @property
    def drivers(self) -> list[Operation]:
        return [member for member in self.members if not member.passive]

    @property
    def home(self) -> Queue:
        return min(driver.queue for driver in self.drivers)


@dataclass(slots=True)
class _Calls:
    """The first, second, ... call of one key, each with its members so far."""

    made: Counter[tuple[int, Kind]] = field(default_factory=Counter)
    matched_calls: list[list[Operation]] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        """The k-th call of one rank (and of one end of a message) belongs to the k-th matched
        call."""
        caller = (operation.rank, operation.kind)
        call = self.made[caller]
        self.made[caller] += 1
        if call == len(self.matched_calls):
            self.matched_calls.append([])
        self.matched_calls[call].append(operation)


def pair(operations: list[Operation], columns: Operations) -> list[MatchedCall]:
    """All matched calls, numbered by their lowest row."""
    groups = _groups(columns)
    keyed: dict[Key, _Calls] = {}
    for operation in operations:
        if operation.kind != Kind.WORK:
            keyed.setdefault(_key(operation), _Calls()).add(operation)
    matched_calls = [
        _matched_call(key, call, members, groups)
        for key, calls in keyed.items()
        for call, members in enumerate(calls.matched_calls)
    ]
    matched_calls.sort(key=lambda matched_call: matched_call.members[0].row)
    for number, matched_call in enumerate(matched_calls):
        matched_call.number = number
    return matched_calls


def _groups(columns: Operations) -> list[list[int]]:
    offsets, ranks = columns.group_offsets.tolist(), columns.group_ranks.tolist()
    return [ranks[low:high] for low, high in pairwise(offsets)]


def _key(operation: Operation) -> Key:
    if operation.kind == Kind.COLLECTIVE:
        return "collective", operation.group, -1, operation.tag
    if operation.kind == Kind.SEND:
        return "message", operation.rank, operation.peer, operation.tag
    return "message", operation.peer, operation.rank, operation.tag


def _matched_call(
    key: Key, call: int, members: list[Operation], groups: list[list[int]]
) -> MatchedCall:
    word, first, second, tag = key
    if word == "collective":
        words = f"call {call} of group {first}, tag {tag}"
        present = {member.rank for member in members}
        missing = [rank for rank in groups[first] if rank not in present]
        _refuse(members, lambda member: member.rank not in groups[first], "is not in its group")
    else:
        words = f"message {call} from rank {first} to rank {second}, tag {tag}"
        kinds = {member.kind for member in members}
        ends = {Kind.SEND: first, Kind.RECV: second}
        missing = [rank for kind, rank in ends.items() if kind not in kinds]
        _refuse(members, lambda m: m.passive and m.kind == Kind.SEND, "is a passive send")
    matched_call = MatchedCall(call=words, members=members, missing=missing)
    matched_call.awaited = len(matched_call.drivers) + len(missing)
    if not matched_call.awaited:
        raise ReplayError(f"{words}: every member is passive, so that it would never begin")
    named = {member.transfer for member in members if member.transfer >= 0}
    if len(named) > 1:
        raise ReplayError(f"{words}: its members name different transfers {sorted(named)}")
    matched_call.transfer = named.pop() if named else -1
    return matched_call


def _refuse(members: list[Operation], wrong: Callable[[Operation], bool], what: str) -> None:
    for member in members:
        if wrong(member):
            raise ReplayError(f"row {member.row} (rank {member.rank}) {what}")
