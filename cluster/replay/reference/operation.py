"""One row of the program: what it waits for, and when things happened to it."""

from dataclasses import dataclass, field
from typing import TypeAlias

from cluster.replay.problem import Kind, Operations

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
    """Of communication: when it was prepared."""
    end_ps: int | None = None

    @property
    def queue(self) -> Queue:
        return self.rank, self.stream

    def must_follow(self, other: "Operation") -> None:
        other.followers.append(self)
        self.waits_for += 1


def read_operations(columns: Operations) -> list[Operation]:
    """The rows, each knowing the row before it on its stream and the rows it depends on."""
    operations = [
        Operation(
            row=row,
            rank=rank,
            stream=stream,
            kind=Kind(kind),
            duration_ps=duration_ps,
            transfer=transfer,
            group=group,
            peer=peer,
            tag=tag,
            passive=passive == 1,
        )
        for row, (
            rank,
            stream,
            kind,
            duration_ps,
            transfer,
            group,
            peer,
            tag,
            passive,
        ) in enumerate(
            zip(
                columns.rank.tolist(),
                columns.stream.tolist(),
                columns.kind.tolist(),
                columns.duration_ps.tolist(),
                columns.transfer.tolist(),
                columns.group.tolist(),
                columns.peer.tolist(),
                columns.tag.tolist(),
                columns.passive.tolist(),
                strict=True,
            )
        )
    ]
    last: dict[Queue, Operation] = {}
    offsets, deps = columns.dep_offsets.tolist(), columns.deps.tolist()
    for operation in operations:
        operation.before = last.get(operation.queue)
        last[operation.queue] = operation
        if operation.before is not None:
            operation.must_follow(operation.before)
        for dep in deps[offsets[operation.row] : offsets[operation.row + 1]]:
            operation.deps.append(operations[dep])
            operation.must_follow(operations[dep])
    return operations
