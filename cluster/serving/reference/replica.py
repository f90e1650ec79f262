"""A replica: its queue and partial prefills, its slots, their stages, and its KV blocks."""

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

from cluster.serving.interface import Limits
from cluster.serving.reference.blocks import BlockPool
from cluster.serving.reference.request import Request


@dataclass(slots=True, eq=False)
class Step:
    """One batch: the scheduled tokens of each of its requests."""

    number: int
    """Of its replica."""
    budget: int
    """Remaining token budget."""
    rows: dict[Request, int] = field(default_factory=dict)
    decoding: set[Request] = field(default_factory=set)
    """Decode rows, which feed back one generated token."""
    prompts: list[Request] = field(default_factory=list)
    """The other rows, in scheduling order."""
    emitting: list[Request] = field(default_factory=list)
    drafts: dict[Request, int] = field(default_factory=dict)
    """Drafts that it verifies, of each request that has any."""
    accepted: dict[Request, int] = field(default_factory=dict)
    """Those of them that are right."""
    padded: dict[Request, int] = field(default_factory=dict)
    """Tokens of padding of rows."""
    chunks: list[tuple[Request, int, int]] = field(default_factory=list)
    """Of prompts: the first token, 0 after an admission, and the one past the last; 0 and 0 for a
    preemption."""
    preempted: bool = False
    """Whether a request was preempted while this step was scheduled."""
    end_ps: int = 0
    drafted_ps: int = 0
    """Time at which the drafts that were made after it are back; 0 if they have no own cards."""

    def emits(self, request: Request) -> int:
        """Tokens that a request emits at its end, never beyond its last."""
        left = request.output - request.done_output - request.pending
        return min(1 + self.accepted.get(request, 0), left)


@dataclass(slots=True, eq=False)
class Slot:
    """One of the batches that alternate on the stages (a microbatch)."""

    number: int
    max_members: int
    members: list[Request] = field(default_factory=list)
    """Requests in decode, oldest first."""
    ready_ps: int | None = None
    """Earliest start of its next step; None while it is idle or waits for a batch in flight."""
    finish_ps: int | None = None
    """Time at which the end of its oldest batch in flight is processed."""
    in_flight: deque[Step] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return self.ready_ps is None and self.finish_ps is None


class Replica:
    """One copy of the model."""

    def __init__(self, number: int, stages: int, limits: Limits) -> None:
        self.number = number
        self.max_num_seqs = limits.max_num_seqs
        max_members = -(-limits.max_num_seqs // stages)
        self.slots = [Slot(slot, max_members) for slot in range(stages)]
        self.queue: list[Request] = []
        """Waiting, in the order of their arrivals."""
        self.partial_prefills: list[Request] = []
        """Running, with prompt tokens left to schedule, in the order of their admission."""
        self.free_ps = [limits.ready_ps] * (stages + 1)
        """End of the scheduled work of each stage, and last of the drafts' own cards."""
        self.pool = BlockPool(limits)
        self.pulling = 0
        """Requests routed here whose KV has not arrived."""
        self.loading: list[Request] = []
        """Requests whose blocks are loaded from tiers."""
        self.tier_free_ps = [0] * len(limits.kv_tiers)
        """End of the loads of each tier."""
        self.short_for: Request | None = None
        """The oldest running request while it lacks a block."""
        self.steps = 0
        """Steps started."""
        self.admitted = 0
        """Admissions, including those after a preemption."""

    @property
    def running(self) -> list[Request]:
        members = [member for slot in self.slots for member in slot.members]
        return members + self.partial_prefills

    @property
    def unfinished(self) -> int:
        return len(self.queue) + len(self.loading) + len(self.running)

    def is_oldest(self, request: Request) -> bool:
        """Whether no running request arrived earlier."""
        return all(request.age <= other.age for other in self.running)

    def enqueue(self, request: Request) -> None:
        """Insert ``request`` into the queue by its age."""
        insort(self.queue, request, key=lambda each: each.age)

    def has_work_for(self, slot: Slot) -> bool:
        """Whether there is work for a step of ``slot``."""
        return bool(slot.members or self.queue or self.partial_prefills)

    def wake(self, now_ps: int, but: Slot | None = None) -> None:
        """Set every idle slot with work to ready."""
        for slot in self.slots:
            if slot is not but and slot.idle and self.has_work_for(slot):
                slot.ready_ps = now_ps

    def next_ready(self) -> Slot | None:
        """The next ready slot, now or later."""
        ready = [slot for slot in self.slots if slot.ready_ps is not None]
        return min(ready, key=lambda slot: (slot.ready_ps, slot.number), default=None)

    def next_start_ps(self, *, asynchronous: bool) -> int | None:
        """Time of the next scheduling; None if no slot is ready.

        Stage 0 must be free then, unless scheduling is asynchronous.
        """
        slot = self.next_ready()
        if slot is None or slot.ready_ps is None:
            return None
        return slot.ready_ps if asynchronous else max(self.free_ps[0], slot.ready_ps)
