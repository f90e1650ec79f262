"""Data shared by pricing, the serving engines and the timeline: price tables and the step log."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers

Records: TypeAlias = npt.NDArray[Any]

LONGEST_PS = 10**15
"""Of one operation or exchange, a quarter of an hour: sums over layers stay in int64."""


class TooSlowError(ValueError):
    """Hardware so slow, or work so large, that its time exceeds the simulated range."""

    exit_code: ClassVar[int] = 3


KINDS = 4
"""Most kinds of layers of one model: the step log has columns for so many."""

MEASURES = (
    "decode_blocks",  # sum over decode rows of their 64-token KV blocks
    "prefill_blocks",  # sum over chunks of their blocks
    "prefill_passes",  # sum over chunks of blocks x tile passes
    "prefill_pairs",  # sum over chunks of query-key pairs
    "far_blocks",  # KV blocks that the step moves from or to the far memory
)
"""The sums of a step for attention, for each kind of layer; all but the last price it."""

DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PASSES, PREFILL_PAIRS, FAR_BLOCKS = range(len(MEASURES))

KIND = np.dtype(
    [
        ("window", np.int64),  # tokens of context; 0: full context; STATE: a state of fixed size
        ("clocks_per_query", np.int64),  # a chunk of q tokens has ceil(q x clocks_per_query /
        ("clocks_per_pass", np.int64),  # clocks_per_pass) tile passes
        ("picked", np.int64),  # most tokens that a query reads of those before it; 0: all
    ]
)
"""A kind of layers, or of products of them: equal window, picked tokens and query heads per KV
head. Kind 0 has full context, even if a model has no such layer.

A state (of linear attention, of Mamba-2) counts as one block of a sequence: a decode row and a
chunk see one, a chunk has ``ceil(q / 64)`` passes over it, and its tokens as pairs."""

_STEP = (
    "start_ps",  # start of the batch at the first stage
    "end_ps",  # end at the last stage: its tokens are emitted
    "replica",
    "slot",
    "tokens",  # scheduled in this step: decode rows and prefill tokens
    "prefill_tokens",
    "emitted",  # rows that went through the LM head
    "finished",  # requests with their last token in this step
    "running",  # requests of the slot, and partial prefills with a chunk in this step
    "waiting",  # requests queued at the replica after scheduling
    "prompt_request",  # the first with prompt tokens in this step; -1: none
    "used_blocks",  # KV of the replica in use after scheduling (units of KvCapacity)
)
MEASURED = len(_STEP)
"""Column of a log row at which its measures begin: those of kind 0, of kind 1, ..."""

_DRAFTS = ("drafting",)  # requests that emit, for which tokens are drafted; 0: no speculation

_REPEATS = (
    "more",  # how often the cycle repeats after this; 0: once
    "period_ps",  # of the step, if the cycle repeats
    "followers",  # further rows of the cycle, which follow at once, if it repeats
)

STEP = np.dtype(
    [
        (name, np.int64)
        for name in (
            *_STEP,
            *(f"{name}_{kind}" if kind else name for kind in range(KINDS) for name in MEASURES),
            *_REPEATS,
            *_DRAFTS,
        )
    ]
)
"""One row of the step log: one batch of one slot through all stages. Measures of kinds but the
first end in their number.

A cycle of steps, one of each slot that decodes, that repeats is written once (docs/decisions/0047):
step i of repetition c is row i with times later by ``c period_ps``, c = 0..more. ``expanded``
writes them out."""


def as_integers(log: Records) -> Integers:
    """[n, columns] a step log as integers, measures from MEASURED on.

    A view if its rows are contiguous; with one memory layout for any number of rows, so that
    kernels are compiled once.
    """
    rows = np.ascontiguousarray(log, STEP)
    return rows.view(np.int64).reshape(len(rows), len(STEP.names or ()))


def expanded(log: Records) -> Records:
    """The log with every step in a row of its own, in start order per replica.

    ``log`` ends with a whole cycle; it is returned as it is if no cycle repeats.
    """
    if not log["more"].any():
        return log
    which = np.repeat(np.arange(len(log)), log["more"] + 1)
    first = np.cumsum(log["more"] + 1) - log["more"] - 1
    repetition = np.arange(len(which)) - first[which]
    ends = log["followers"] == 0
    cycle = np.cumsum(ends) - ends
    order = np.lexsort((which, repetition, cycle[which]))
    rows = log[which[order]]
    for name in ("start_ps", "end_ps"):
        rows[name] += repetition[order] * rows["period_ps"]
    for name in _REPEATS:
        rows[name] = 0
    return rows


PHASE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "request",
            "replica",
            "slot",  # in which it decodes or decoded; -1: in none
            "row",  # step of its replica, counted from 0 in the order of their starts
            "kind",  # cluster.serving.interface.Phase
        )
    ]
)
"""A request enters another phase at a step of its replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTables:
    """All durations of serving steps, in int64 picoseconds.

    ``c`` runs over price classes (stages that cost the same share one), ``t`` over scheduled tokens
    0..max_num_batched_tokens, ``s`` over emitting rows 0..max_num_seqs. Entry 0 is 0 except
    that of ``head_ps``.

    The work of a step of ``t`` tokens at a stage of class ``c`` lasts::

        max(floor_ps[c, t] + fetch_ps(far_block_ps[c], measures),
            linear_ps[c, t] + collective_ps[c, t] + attention_ps(attention[c], measures))
        + head_ps[c, emitted]

    if the device fetches ahead (``ahead``); else the blocks from its far memory are read first and
    ``fetch_ps`` is added to the second line instead.

    and the next stage may begin ``send_ps[c, t]`` after its end.
    """

    linear_ps: Integers
    """[c, t] linear layers, vector work and every dispatch of the stage."""
    collective_ps: Integers
    """[c, t] all collectives of the stage, including the all-gather of received activations."""
    floor_ps: Integers
    """[c, t] the LPDDR stream, a lower bound of the stage's time; 0 if weights are in SRAM."""
    send_ps: Integers
    """[c, t] from the end of this stage to the earliest start of the next; 0 at the last."""
    head_ps: Integers
    """[c, s] LM head and sampling at the last stage; host time of every step at the first, also in
    entry 0."""
    attention: Records
    """[c, op] products of attention (``cluster.perf_model.attention.ATTENTION``)."""
    far_block_ps: npt.NDArray[np.float64]
    """[c, kind] time of the far memory for one KV block of all layers of the kind."""
    linear_by_bound_ps: Integers
    """[c, t, bound] the split of ``linear_ps`` in the order of ``bounds``."""
    head_by_bound_ps: Integers
    """[c, s, bound]"""
    collective_bytes: Integers
    """[c, t, tier] bytes of each card of the group on each tier of the class's group."""
    send_bytes: Integers
    """[c, t] bytes that each card sends to its peer in the next stage."""
    token_counts: Integers
    """[c, t, COUNTS] counts of the linear layers of the stage on each of its cards
    (``cluster.perf_model.devices.dimc.counters``)."""
    head_counts: Integers
    """[c, s, COUNTS]"""
    attention_counts: Integers
    """[c, kind x MEASURES, COUNTS] of one unit of each measure."""
    stage_class: Integers
    """[replica, stage] class of this stage."""
    return_ps: Integers
    """[replica] from the last stage's end to the slot's next start: return of the sampled token."""
    kinds: Records
    """[kind] kinds of layers (dtype KIND), at most KINDS."""
    bounds: tuple[str, ...]
    """Bounds of an operation's time, in the order of every ``by_bound`` axis."""
    far_bound: int
    """Position in ``bounds`` of the far memory; unused without one."""
    ahead: bool = False
    """Whether KV from the far memory is fetched ahead of use."""
    memories: tuple[str, ...] = ("sram", "lpddr")
    """Names of the device's near memory, and of its far one if it has one."""
    host_ps: int = 0
    """Least host time before the start of an asynchronously scheduled batch."""
    host_rows_ps: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    """[s] host time in ``head_ps`` of first stages; empty: none."""
    host_bound: int = 0
    """Position in ``bounds`` of that time."""
    collective_by_tier_ps: Integers = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    """[c, t, tier] the split of ``collective_ps``; empty: not split."""
    head_by_tier_ps: Integers = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    """[c, s, tier] the collectives of ``head_ps``; empty: not split."""
    tiers: tuple[str, ...] = ()
    """Names of the tiers of links."""
    draft_stages: int = 0
    """1: the last column of ``stage_class`` is a class of drafting, of no other stage, whose
    ``head_ps`` is by the requests for which tokens are drafted; 0: no speculation, or free drafts.
    """
    draft_kinds: int = 0
    """The last kinds of layers, which are the draft's: every row that emits counts in
    ``decode_blocks``, beside what it counts for the first pass."""
    draft_apart: bool = False
    """Whether drafting has cards of its own, else those of the last stage."""

    @property
    def stages(self) -> int:
        """Pipeline stages of the model itself."""
        return int(self.stage_class.shape[1]) - self.draft_stages

    @property
    def replicas(self) -> int:
        return int(self.stage_class.shape[0])


def without_drafting(prices: PriceTables) -> PriceTables:
    """The stages of the model alone."""
    own = prices.stage_class[:, : prices.stages].copy()
    return replace(prices, stage_class=own, draft_stages=0, draft_apart=False)


def alike_attention(prices: PriceTables) -> Integers:
    """[c] the first class with the same products of attention, and times of far blocks."""
    first: dict[tuple[bytes, bytes], int] = {}
    each = zip(prices.attention, prices.far_block_ps, strict=True)
    keys = [(products.tobytes(), far_block_ps.tobytes()) for products, far_block_ps in each]
    return np.array([first.setdefault(key, c) for c, key in enumerate(keys)], np.int64)
