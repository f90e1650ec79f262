"""Inputs and outputs of both serving engines."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol, TypeAlias

import numpy as np

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.tables import Records
from corsair_common.units import NEVER, Integers


class Phase(IntEnum):
    """What a request enters at a step of its replica (dtype PHASE)."""

    WAITING = 0
    """In the queue, on arrival or after a preemption: the next step to start."""
    READING = 1
    """Admitted: the step with its first chunk."""
    DECODING = 2
    """Its prompt is computed: the step with its last chunk."""
    FINISHED = 3
    """The step that emitted its last token."""
    LOST = 4
    """Preempted: the last step that started before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Speculative decoding of a run (DESIGN.md); the names are vLLM's where it has one."""

    num_speculative_tokens: int
    """Drafts of every request that emits a token, at least 1."""
    num_lookahead_tokens: int = 0
    """Tokens beyond a row for which KV is allocated: the drafts', if the draft has KV."""
    max_num_new_slots_for_drafting: int = 0
    """Additional budget of each row: a separate draft model keeps a token that others shift out."""
    accepted: Integers
    """[draws] accepted drafts of a verification, 0 to ``num_speculative_tokens`` each. Verification
    j of a request is draw ``first_draw + j``, modulo their number."""


MOST_LOADS = 7
"""Loads of a key are counted to this: without a limit what was popular once would never go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvTier:
    """A memory below the KV blocks of a replica, which keeps what these lose."""

    blocks: int
    block_ps: int
    """Time to load one block, of all cards of the replica at once."""
    latency_ps: int = 0
    """Of a load, behind its blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of the scheduler and the size of the KV pool. Names as vLLM has them."""

    max_num_seqs: int
    """Running requests of a replica; a slot decodes ``ceil(max_num_seqs / stages)`` at most."""
    max_num_batched_tokens: int
    """Per step of a slot."""
    block_size: int
    """Tokens of a KV block."""
    blocks: int
    """KV blocks of one replica if no layer has a window; else those of layers with full context."""
    max_model_len: int
    router: str = "least_outstanding"
    router_weights: tuple[float, ...] = ()
    """Of a router with weights, in the order of ``routers.WEIGHTS``; empty: those."""
    concurrency: int = 0
    """Users of a closed loop; 0 means open loop: arrivals from the columns."""
    prefix_caching: bool = False
    kv_tiers: tuple[KvTier, ...] = ()
    """Below the blocks, the nearest first; with prefix caching only."""
    kv_write: str = "eviction"
    """When a block's KV goes to the first tier: at its ``eviction``, or ``through``, once it is
    computed."""
    kv_policy: str = "lru"
    """What a full tier drops: the key least recently used (``lru``), or that of those which were
    loaded least often (``value``)."""
    sram_blocks: int = 2**62
    """Number of these blocks in SRAM; the rest are in LPDDR."""
    windowed: KvCapacity | None = None
    """Capacity if layers free blocks behind a window; it replaces ``blocks`` and ``sram_blocks``.
    Never with prefix caching, which does not free them."""
    long_prefill_token_threshold: int = 0
    """Most tokens of a prompt in one step, if there are other requests; 0: no limit."""
    async_scheduling: bool = False
    """Schedule a batch while the previous one runs (one stage only)."""
    ready_ps: int = 0
    """No step starts before this: weights are still being loaded."""
    speculation: Speculation | None = None
    """Never with ``async_scheduling``."""

    @property
    def most_loads(self) -> int:
        """To which loads of a key in a tier are counted; 0: its loads do not matter."""
        return MOST_LOADS if self.kv_policy == "value" else 0

    @property
    def capacity(self) -> KvCapacity:
        """KV capacity, one inequality per constraint."""
        return self.windowed or KvCapacity.of_blocks(self.blocks, self.sram_blocks)

    @property
    def drafts(self) -> int:
        """Most tokens of a decode in one step, beside the one that it emits anyway."""
        return self.speculation.num_speculative_tokens if self.speculation else 0

    @property
    def lookahead(self) -> int:
        """Tokens beyond a row for which KV is allocated."""
        return self.speculation.num_lookahead_tokens if self.speculation else 0

    @property
    def draft_slots(self) -> int:
        """Additional budget of each row."""
        return self.speculation.max_num_new_slots_for_drafting if self.speculation else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The engines' request columns; the row number is arrival order and identity."""

    arrival_ps: Integers
    """[n] non-decreasing; ignored in a closed loop. Of a turn with a previous one: the earliest."""
    prompt_tokens: Integers
    output_tokens: Integers
    """At least 1 each."""
    router_choice: Integers
    """[n] replica of each request (for the routers DRAWN only; may be empty otherwise)."""
    key_offsets: Integers
    """[n + 1] into ``keys``; all zero without prefix caching."""
    keys: Integers
    """Dense ids of the first full KV blocks, chained: equal id means equal prefix. They may go on
    beyond the prompt, into an answer that another prompt repeats."""
    key_count: int
    """Ids lie in 0..key_count-1."""
    carried_tokens: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] prompt tokens whose KV arrives with the request, fewer than its prompt; empty: none."""
    first_draw: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] draw of a request's first verification (``Speculation.accepted``); empty: 0."""
    previous: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] row of the turn before in its session, an earlier row, or NEVER; empty: no sessions."""
    delay_ps: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] least time from the end of that turn to the arrival of this one; empty: none."""


def chosen(arrivals: Arrivals, rows: Integers) -> Arrivals:
    """These rows of the arrivals, in this order."""
    counts = np.diff(arrivals.key_offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    first = np.repeat(arrivals.key_offsets[:-1][rows] - offsets[:-1], counts)

    def of(column: Integers) -> Integers:
        return column[rows] if len(column) else column

    previous = arrivals.previous
    if len(previous):  # turns of one session stay together
        place = np.full(len(previous) + 1, NEVER, np.int64)  # the last is that of NEVER
        place[rows] = np.arange(len(rows))
        previous = place[previous[rows]]

    return replace(
        arrivals,
        arrival_ps=of(arrivals.arrival_ps),
        prompt_tokens=of(arrivals.prompt_tokens),
        output_tokens=of(arrivals.output_tokens),
        router_choice=of(arrivals.router_choice),
        key_offsets=offsets,
        keys=arrivals.keys[first + np.arange(offsets[-1])],
        carried_tokens=of(arrivals.carried_tokens),
        first_draw=of(arrivals.first_draw),
        previous=previous,
        delay_ps=of(arrivals.delay_ps),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One row per request, in the order of the arrivals; times in picoseconds or NEVER."""

    arrival_ps: Integers
    first_scheduled_ps: Integers
    first_token_ps: Integers
    finish_ps: Integers
    replica: Integers
    slot: Integers
    """Last slot in which it decoded; NEVER if it was refused."""
    preemptions: Integers
    cached_tokens: Integers
    """Prompt tokens found in the prefix cache at first admission."""
    status: Integers
    itl_count: Integers
    """[bins] histogram of inter-token latencies, edges as in cluster.serving.histogram."""
    accepted_count: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[k + 1] verifications by the number of drafts that they accepted; empty: no speculation."""
    draft_tokens: int = 0
    """Drafts verified."""
    end_ps: int
    """End of the last step."""


class Observer(Protocol):
    """Observes a run between windows; it does not affect the run."""

    def started(self, total_requests: int) -> None: ...

    def advanced(self, now_ps: int, done: int, tokens: int) -> None: ...

    def finished(self) -> None: ...


OnLog: TypeAlias = Callable[[Records, Records], None]
"""Receives each window of the step log as it is written, and the phases of requests (dtype PHASE)
that began in it; it must copy stored rows."""
OnSteps: TypeAlias = Callable[[Records], None]
"""Receives each window of the step log (dtype STEP, in start order per replica); it must copy
stored rows."""
