"""One row of the program: its dependencies and its times."""

from dataclasses import dataclass, field
from typing import TypeAlias

from cluster.replay.interface import Kind, Operations

Queue: TypeAlias = tuple[int, int]
"""A stream of a rank."""


@dataclass(slots=True, eq=False, kw_only=True)
class Operation:
    """A row, with the rows that it waits for and those that wait for it."""

    row: int
    rank: int
    stream: int
    kind: Kind
    duration_ps: int
    transfer: int
    group: int
    peer: int
    tag: int
    passive: bool

    before: "Operation | None" = None
    """The row before it on its stream."""
    deps: list["Operation"] = field(default_factory=list)
    followers: list["Operation"] = field(default_factory=list)
    """Rows that wait for its end, as often as they name it."""
    waits_for: int = 0
    """Ends that it still waits for."""

    start_ps: int | None = None
    there_ps: int | None = None
    """Of communication: the end of its preparation."""
    end_ps: int | None = None

    @property
    def queue(self) -> Queue:
        return self.rank, self.stream

    def must_follow(self, other: "Operation") -> None:
        other.followers.append(self)
        self.waits_for += 1


def read_operations(columns: Operations) -> list[Operation]:
    """All repeats; each operation has its predecessor on its stream and its dependencies."""
    operations = [
        _operation(columns, repeat, row)
        for repeat in range(columns.repeats)
        for row in range(len(columns.rank))
    ]
    last: dict[Queue, Operation] = {}
    offsets, deps = columns.dep_offsets.tolist(), columns.deps.tolist()
    for operation in operations:
        operation.before = last.get(operation.queue)
        last[operation.queue] = operation
        if operation.before is not None:
            operation.must_follow(operation.before)
        repeat, row = divmod(operation.row, len(columns.rank))
        for dep in deps[offsets[row] : offsets[row + 1]]:
            other = repeat * len(columns.rank) + dep
            if other >= 0:
                operation.deps.append(operations[other])
                operation.must_follow(operations[other])
    return operations


def _operation(columns: Operations, repeat: int, row: int) -> Operation:
    duration_ps = columns.duration_ps[row]
    if len(columns.varies) and columns.varies[row] >= 0:
        duration_ps = columns.varying_ps[repeat, columns.varies[row]]
    return Operation(
        row=repeat * len(columns.rank) + row,
        rank=int(columns.rank[row]),
        stream=int(columns.stream[row]),
        kind=Kind(int(columns.kind[row])),
        duration_ps=int(duration_ps),
        transfer=int(columns.transfer[row]),
        group=int(columns.group[row]),
        peer=int(columns.peer[row]),
        tag=int(columns.tag[row]),
        passive=int(columns.passive[row]) == 1,
    )
