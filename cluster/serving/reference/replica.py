"""A replica: its queue and half-read prompts, its slots, their stages, and its KV blocks."""

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

from cluster.serving.interface import Limits
from cluster.serving.reference.blocks import BlockPool
from cluster.serving.reference.request import Request


@dataclass(slots=True, eq=False)
class Step:
    """One batch: how many tokens each of its requests takes."""

    number: int
    """Of its replica."""
    budget: int
    """Tokens that may still be scheduled."""
    rows: dict[Request, int] = field(default_factory=dict)
    decoding: set[Request] = field(default_factory=set)
    """Those rows that feed back one generated token."""
    prompts: list[Request] = field(default_factory=list)
    """The other rows, in the order in which they were scheduled."""
    emitting: list[Request] = field(default_factory=list)
    preempted: bool = False
    """Somebody lost its blocks while this step was put together."""
    end_ps: int = 0


@dataclass(slots=True, eq=False)
class Slot:
    """One of the batches that take turns on the stages."""

    number: int
    seats: int
    members: list[Request] = field(default_factory=list)
    """Those whose tokens it decodes, oldest first."""
    ready_ps: int | None = None
    """Since when it may start; None while it is idle or waits for a batch in flight."""
    finish_ps: int | None = None
    """When the end of its oldest batch in flight is dealt with."""
    in_flight: deque[Step] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return self.ready_ps is None and self.finish_ps is None


class Replica:
    """One copy of the model."""

    def __init__(self, number: int, stages: int, limits: Limits) -> None:
        self.number = number
        self.max_num_seqs = limits.max_num_seqs
        seats = -(-limits.max_num_seqs // stages)
        self.slots = [Slot(slot, seats) for slot in range(stages)]
        self.queue: list[Request] = []
        """Waiting, in the order of their numbers."""
        self.half_read: list[Request] = []
        """Running, with prompt left to schedule, in the order of their admission."""
        self.free_ps = [limits.ready_ps] * stages
        """When each stage has done all that it has been given."""
        self.pool = BlockPool(limits)
        self.short_for: Request | None = None
        """The oldest running request, while it was left out of a step for want of a block."""
        self.steps = 0
        """Steps started."""
        self.admitted = 0
        """Admissions, those after a preemption included."""

    @property
    def running(self) -> list[Request]:
        members = [member for slot in self.slots for member in slot.members]
        return members + self.half_read

    @property
    def unfinished(self) -> int:
        return len(self.queue) + len(self.running)

    def is_oldest(self, request: Request) -> bool:
        """Does no running request have a lower number?"""
        return all(request.number <= other.number for other in self.running)

    def enqueue(self, request: Request) -> None:
        """Let ``request`` wait at its place."""
        insort(self.queue, request, key=lambda each: each.number)

    def has_work_for(self, slot: Slot) -> bool:
        """Is there anything that a step of ``slot`` might hold?"""
        return bool(slot.members or self.queue or self.half_read)

    def wake(self, now_ps: int, but: Slot | None = None) -> None:
        """Let every idle slot that has something to do try again."""
        for slot in self.slots:
            if slot is not but and slot.idle and self.has_work_for(slot):
                slot.ready_ps = now_ps

    def next_ready(self) -> Slot | None:
        """The ready slot whose turn it is, now or later."""
        ready = [slot for slot in self.slots if slot.ready_ps is not None]
        return min(ready, key=lambda slot: (slot.ready_ps, slot.number), default=None)

    def next_start_ps(self, *, asynchronous: bool) -> int | None:
        """When the next step is put together; None if no slot is ready.

        Stage 0 must be free then, unless batches are composed ahead.
        """
        slot = self.next_ready()
        if slot is None or slot.ready_ps is None:
            return None
        return slot.ready_ps if asynchronous else max(self.free_ps[0], slot.ready_ps)
