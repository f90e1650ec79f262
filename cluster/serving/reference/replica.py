"""A replica: its slots, the stages that they share, and its KV blocks."""

from collections import deque
from dataclasses import dataclass, field

from cluster.serving.problem import Limits
from cluster.serving.reference.blocks import BlockPool
from cluster.serving.reference.request import Request


@dataclass(slots=True, eq=False)
class Step:
    """One batch: how many tokens each of its requests takes."""

    budget: int
    """Tokens that may still be scheduled."""
    rows: dict[Request, int] = field(default_factory=dict)
    decoding: set[Request] = field(default_factory=set)
    """Those rows that feed back one generated token."""
    preempted: bool = False
    """Somebody lost its blocks while this step was put together."""


@dataclass(slots=True, eq=False)
class Slot:
    """One of the batches that take turns on the stages."""

    number: int
    seats: int
    members: list[Request] = field(default_factory=list)
    """Running, in the order of their numbers."""
    queue: deque[Request] = field(default_factory=deque)
    ready_ps: int | None = None
    """Since when it may start; None while it is idle or in flight."""
    in_flight: Step | None = None

    @property
    def unfinished(self) -> int:
        return len(self.members) + len(self.queue)

    @property
    def idle(self) -> bool:
        return self.ready_ps is None and self.in_flight is None


class Replica:
    """One copy of the model."""

    def __init__(self, number: int, stages: int, limits: Limits) -> None:
        self.number = number
        seats, extra = divmod(limits.max_num_seqs, stages)
        self.slots = [Slot(slot, seats + (slot < extra)) for slot in range(stages)]
        self.free_ps = [limits.ready_ps] * stages
        """When each stage has done all that it has been given."""
        self.pool = BlockPool(limits.blocks, limits.block_size)
        self.short_for: Request | None = None
        """The oldest member, while it was left out of its last step for want of blocks."""

    @property
    def unfinished(self) -> int:
        return sum(slot.unfinished for slot in self.slots)

    @property
    def owed(self) -> int:
        """Blocks that running members were promised at their admission and do not hold yet."""
        return sum(
            max(0, member.target_blocks - len(member.blocks))
            for slot in self.slots
            for member in slot.members
        )

    def is_oldest(self, request: Request) -> bool:
        """Does no running member of any slot have a lower number?"""
        return all(request.number <= other.number for slot in self.slots for other in slot.members)

    def join(self, request: Request, now_ps: int) -> None:
        """Queue ``request`` at the slot that has the least to do."""
        slot = min(
            (slot for slot in self.slots if slot.seats), key=lambda s: (s.unfinished, s.number)
        )
        slot.queue.append(request)
        request.replica, request.slot = self.number, slot.number
        if slot.idle:
            slot.ready_ps = now_ps

    def wake(self, now_ps: int, *, but: Slot | None = None) -> None:
        """Let every idle slot that has something to do try again."""
        for slot in self.slots:
            if slot is not but and slot.idle and slot.unfinished:
                slot.ready_ps = now_ps

    def next_ready(self) -> Slot | None:
        """The ready slot whose turn it is, now or later."""
        ready = [slot for slot in self.slots if slot.ready_ps is not None]
        return min(ready, key=lambda slot: (slot.ready_ps, slot.number), default=None)

    def next_start_ps(self) -> int | None:
        """When stage 0 is free and a slot is ready; None if no slot is."""
        slot = self.next_ready()
        if slot is None or slot.ready_ps is None:
            return None
        return max(self.free_ps[0], slot.ready_ps)
